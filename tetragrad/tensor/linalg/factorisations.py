"""A matrix as a product of simpler ones: Cholesky, QR, LU and LDLᵀ.

Gradients follow Giles (2008), An extended collection of matrix derivative results,
unless another source is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.errors import GradientError, ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_factorisations as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    check_info,
    check_matrix,
    check_square,
    identity,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class CholeskyResult(NamedTuple):
    """The factor, and for each matrix 0 or the order of the first bad minor."""

    L: Tensor
    info: Tensor


class QRResult(NamedTuple):
    """Orthonormal columns and a triangular matrix."""

    Q: Tensor
    R: Tensor


class LUFactorResult(NamedTuple):
    """L and U in one matrix, and the rows that were exchanged, counted from 1."""

    LU: Tensor
    pivots: Tensor


class LUFactorExResult(NamedTuple):
    """The same with 0, or the number of the first zero pivot, for each matrix."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


class LUResult(NamedTuple):
    """A permutation, a lower and an upper triangular matrix, with A = P L U."""

    P: Tensor
    L: Tensor
    U: Tensor


class LDLResult(NamedTuple):
    """L and the blocks of D in one matrix, and LAPACK's pivots."""

    LD: Tensor
    pivots: Tensor


class LDLExResult(NamedTuple):
    """The same with 0, or the number of the first zero pivot, for each matrix."""

    LD: Tensor
    pivots: Tensor
    info: Tensor


# --- Cholesky ------------------------------------------------------------------------


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with A = L Lᴴ, for symmetric positive definite A.

    Only the lower triangle of A is read (the upper one if ``upper``, which gives
    U = Lᴴ). Gradient: L⁻ᴴ Φ(Lᴴ ∂L) L⁻¹, made symmetric (Giles 2008).

    Args:
        A: (…, n, n), float32, float64 or complex.
        upper: give the upper factor.

    Raises:
        LinAlgError: A is not positive definite; the message names the minor.
        ShapeError: A is not square.

    >>> tetragrad.linalg.cholesky(Tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return cholesky_ex(A, upper=upper, check_errors=True).L


def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> CholeskyResult:
    """``cholesky`` that says in ``info`` which matrices have no factor.

    >>> tetragrad.linalg.cholesky_ex(Tensor([[1.0, 0.0], [0.0, -1.0]])).info
    tensor(2, dtype=tetragrad.int32)
    """
    check_square("cholesky", A)
    lower, info = host.call_now(_CHOLESKY, adjoint(A) if upper else A)
    if check_errors:
        check_info(
            "cholesky",
            info,
            "the matrix is not positive definite: its leading minor of order {} is not",
        )
    return CholeskyResult(adjoint(lower) if upper else lower, info)


def _describe_cholesky(matrix: Operand) -> tuple[Operand, ...]:
    return matrix, Operand(matrix.shape[:-2], dtypes.int32)


def _cholesky_gradient(call: Received) -> tuple[Tensor | None, ...]:
    factor, upstream = call.outputs[0], call.upstream[0]
    assert upstream is not None
    inner = half_diagonal(adjoint(factor) @ upstream)
    inner = _triangular(adjoint(factor), inner, upper=True)
    whole = adjoint(_triangular(adjoint(factor), adjoint(inner), upper=True))
    return ((whole + adjoint(whole)) * 0.5,)


def half_diagonal(matrix: Tensor) -> Tensor:
    """The lower triangle, with half of the diagonal: Φ in Giles (2008)."""
    return (matrix.tril() + matrix.tril(-1)) * 0.5


def _triangular(matrix: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    from tetragrad.tensor.linalg.solving import triangular

    return triangular(matrix, right, upper)


_CHOLESKY = host.define(
    "linalg.cholesky", numpy_side.cholesky, _describe_cholesky, _cholesky_gradient
)


# --- QR ------------------------------------------------------------------------------


def qr(A: Tensor, mode: str = "reduced") -> QRResult:
    """Q with orthonormal columns and upper triangular R, with A = Q R.

    Gradient: Walter and Lehmann (2018), Algorithmic differentiation of linear algebra
    functions; for wide matrices Roberts and Roberts (2020), QR and LQ decomposition
    matrix backpropagation algorithms.

    Args:
        A: (…, m, n).
        mode: "reduced" gives Q of (m, k) and R of (k, n) with k = min(m, n),
            "complete" Q of (m, m) and R of (m, n), "r" only R and an empty Q.

    >>> tetragrad.linalg.qr(Tensor([[3.0, 1.0], [4.0, 2.0]])).R.abs()
    tensor([[5.0000, 2.2000],
            [0.0000, 0.4000]])
    """
    check_matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ShapeError(
            f"linalg.qr(mode={mode!r})", hint="use 'reduced', 'complete' or 'r'"
        )
    Q, R = host.call_now(_QR, A, options=(mode,))
    if mode == "r":
        return QRResult(A.tensor_class.empty(0, dtype=A.dtype, device=A.device), R)
    return QRResult(Q, R)


def _describe_qr(matrix: Operand, mode: str) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    inner = rows if mode == "complete" else min(rows, columns)
    return (
        Operand((*batch, rows, inner), matrix.dtype),
        Operand((*batch, inner, columns), matrix.dtype),
    )


def _qr_gradient(call: Received) -> tuple[Tensor | None, ...]:
    (A,), (Q, R), (of_Q, of_R) = call.inputs, call.outputs, call.upstream
    rows, columns = A.shape[-2:]
    if call.options == ("complete",) and rows > columns:
        raise GradientError(
            "linalg.qr(mode='complete') of a tall matrix has no gradient: the last "
            "columns of Q may be any orthonormal ones",
            hint="use mode='reduced'",
        )
    if rows >= columns:
        return (_tall_qr_gradient(Q, R, of_Q, of_R),)
    # A = [X, Y] and R = [S, T] with X = Q S and Y = Q T. Y's part is a product, and
    # as T = Qᴴ Y it also gives Q a gradient; X's part is a square QR.
    rest = A[..., rows:]
    of_rest = None
    if of_R is not None:
        of_rest = Q @ of_R[..., rows:]
        of_Q = rest @ adjoint(of_R[..., rows:])
        of_R = of_R[..., :rows]
    square = _tall_qr_gradient(Q, R[..., :rows], of_Q, of_R)
    if of_rest is None:
        of_rest = rest * 0
    return (_join_columns(square, of_rest),)


def _tall_qr_gradient(
    Q: Tensor, R: Tensor, of_Q: Tensor | None, of_R: Tensor | None
) -> Tensor:
    """[∂Q + Q sym(triu(∂R Rᴴ − Qᴴ ∂Q))] R⁻ᴴ; sym mirrors and halves the diagonal."""
    inner = Q * 0 if of_R is None and of_Q is None else None
    if of_R is not None:
        inner = of_R @ adjoint(R)
    if of_Q is not None:
        turned = adjoint(Q) @ of_Q
        inner = -turned if inner is None else inner - turned
    assert inner is not None
    upper = inner.triu()
    mirrored = upper + adjoint(inner.triu(1))
    diagonal = upper - inner.triu(1)
    mirrored = mirrored if not Q.is_complex() else mirrored - _imaginary(diagonal)
    total = Q @ mirrored
    if of_Q is not None:
        total = total + of_Q
    # X Rᴴ = total, as R Xᴴ = totalᴴ.
    return adjoint(_triangular(R, adjoint(total), upper=True))


def _imaginary(diagonal: Tensor) -> Tensor:
    """Half of what a Hermitian diagonal may not have."""
    return (diagonal - adjoint(diagonal)) * 0.5


def _join_columns(left: Tensor, right: Tensor) -> Tensor:
    from tetragrad.tensor.joining import cat

    return cat([left, right], -1)


_QR = host.define("linalg.qr", numpy_side.qr, _describe_qr, _qr_gradient)


def geqrf(A: Tensor) -> tuple[Tensor, Tensor]:
    """R with the reflectors of QR below its diagonal, and their factors (LAPACK).

    ``householder_product`` makes Q of them.
    """
    check_matrix("geqrf", A)
    packed, factors = host.call_now(_GEQRF, A)
    return packed, factors


def _describe_geqrf(matrix: Operand) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return matrix, Operand((*batch, min(rows, columns)), matrix.dtype)


_GEQRF = host.define("linalg.geqrf", numpy_side.householder, _describe_geqrf)


# --- LU ------------------------------------------------------------------------------


def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactorResult:
    """L and U of A = P L U in one matrix, and the pivots; for ``lu_solve``.

    Raises:
        LinAlgError: a pivot is exactly zero.

    >>> tetragrad.linalg.lu_factor(Tensor([[1.0, 2.0], [2.0, 2.0]])).pivots
    tensor([2, 2], dtype=tetragrad.int32)
    """
    packed, pivots, _ = lu_factor_ex(A, pivot=pivot, check_errors=True)
    return LUFactorResult(packed, pivots)


def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> LUFactorExResult:
    """``lu_factor`` that says in ``info`` which matrices have a zero pivot.

    >>> tetragrad.linalg.lu_factor_ex(Tensor([[2.0, 0.0], [0.0, 4.0]])).info
    tensor(0, dtype=tetragrad.int32)
    """
    check_matrix("lu_factor", A)
    packed, pivots, info = host.call_now(_LU, A, options=(bool(pivot),))
    if check_errors:
        check_info("lu_factor", info, "U[{0},{0}] is zero, and dividing by it fails")
    return LUFactorExResult(packed, pivots, info)


def lu(A: Tensor, *, pivot: bool = True) -> LUResult:
    """P, L and U with A = P L U: a permutation, and two triangular matrices.

    L of (…, m, k) has ones on its diagonal, U is (…, k, n), k = min(m, n).

    >>> P, L, U = tetragrad.linalg.lu(Tensor([[1.0, 2.0], [2.0, 2.0]]))
    >>> P @ L @ U
    tensor([[1., 2.],
            [2., 2.]])
    """
    packed, pivots, _ = lu_factor_ex(A, pivot=pivot)
    return LUResult(*lu_unpack(packed, pivots))


def lu_unpack(LU_data: Tensor, LU_pivots: Tensor) -> LUResult:
    """P, L and U from what ``lu_factor`` gives."""
    inner = min(LU_data.shape[-2:])
    lower = LU_data[..., :inner].tril(-1)
    lower = lower + identity(LU_data.shape[-2], LU_data)[:, :inner]
    upper = LU_data[..., :inner, :].triu()
    order = row_order(LU_pivots, LU_data.shape[-2])
    moved = order.unsqueeze(-2) == order.tensor_class.arange(
        LU_data.shape[-2], device=LU_data.device
    ).unsqueeze(-1)
    return LUResult(moved.to(LU_data.dtype), lower, upper)


def row_order(pivots: Tensor, rows: int) -> Tensor:
    """Which row of A is where in L U: A[order] = L U."""
    return host.call(_PERMUTATION, pivots, options=(rows,))[0]


def _describe_lu(matrix: Operand, pivot: bool) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (
        matrix,
        Operand((*batch, min(rows, columns)), dtypes.int32),
        Operand(tuple(batch), dtypes.int32),
    )


def _describe_permutation(pivots: Operand, rows: int) -> tuple[Operand, ...]:
    return (Operand((*pivots.shape[:-1], rows), dtypes.int64),)


def _lu_gradient(call: Received) -> tuple[Tensor | None, ...]:
    """Of one matrix that holds L and U: P L⁻ᴴ [tril(Lᴴ ∂L, −1) + triu(∂U Uᴴ)] U⁻ᴴ.

    A wide matrix has further columns in U, a tall one further rows in L.
    """
    packed, upstream = call.outputs[0], call.upstream[0]
    assert upstream is not None
    P, L, U = lu_unpack(packed, call.outputs[1])
    rows, columns = packed.shape[-2:]
    inner = min(rows, columns)
    of_L, of_U = upstream[..., :inner].tril(-1), upstream[..., :inner, :].triu()
    square_L, square_U = L[..., :inner, :], U[..., :inner]
    below = adjoint(square_L) @ of_L[..., :inner, :]
    above = of_U[..., :inner] @ adjoint(square_U)
    if columns > rows:
        below = below - of_U[..., inner:] @ adjoint(U[..., inner:])
    if rows > columns:
        above = above - adjoint(L[..., inner:, :]) @ of_L[..., inner:, :]
    middle = below.tril(-1) + above.triu()
    # X U⁻ᴴ is the solution of Y Uᴴ = X, as U Yᴴ = Xᴴ.
    total = adjoint(_triangular(square_U, adjoint(middle), upper=True))
    if columns > rows:
        total = _join_columns(total, of_U[..., inner:])
    total = _triangular(adjoint(square_L), total, upper=True)
    if rows > columns:
        further = adjoint(
            _triangular(square_U, adjoint(of_L[..., inner:, :]), upper=True)
        )
        total = adjoint(_join_columns(adjoint(total), adjoint(further)))
    return (P @ total,)


_LU = host.define("linalg.lu", numpy_side.lu, _describe_lu, _lu_gradient)
_PERMUTATION = host.define(
    "linalg.permutation", numpy_side.permutation, _describe_permutation
)


# --- LDLᵀ ----------------------------------------------------------------------------


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDLResult:
    """L D Lᵀ of a symmetric matrix that need not be definite; for ``ldl_solve``.

    Bunch and Kaufman (1977). It has no gradient.

    Raises:
        LinAlgError: a block of D is singular.

    >>> tetragrad.linalg.ldl_factor(Tensor([[2.0, 0.0], [0.0, 4.0]])).LD
    tensor([[2., 0.],
            [0., 4.]])
    """
    packed, pivots, _ = ldl_factor_ex(A, hermitian=hermitian, check_errors=True)
    return LDLResult(packed, pivots)


def ldl_factor_ex(
    A: Tensor, *, hermitian: bool = False, check_errors: bool = False
) -> LDLExResult:
    """``ldl_factor`` that says in ``info`` which matrices have a zero pivot.

    >>> tetragrad.linalg.ldl_factor_ex(Tensor([[2.0, 0.0], [0.0, 4.0]])).info
    tensor(0, dtype=tetragrad.int32)
    """
    check_square("ldl_factor", A)
    packed, pivots, info = host.call_now(_LDL, A, options=(bool(hermitian),))
    if check_errors:
        check_info("ldl_factor", info, "D[{0},{0}] is zero, and dividing by it fails")
    return LDLExResult(packed, pivots, info)


def _describe_ldl(matrix: Operand, hermitian: bool) -> tuple[Operand, ...]:
    return (
        matrix,
        Operand(matrix.shape[:-1], dtypes.int32),
        Operand(matrix.shape[:-2], dtypes.int32),
    )


_LDL = host.define("linalg.ldl", numpy_side.ldl, _describe_ldl)
