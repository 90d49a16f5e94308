"""Linear systems, inverses, least squares and determinants.

Gradients: Giles (2008), An extended collection of matrix derivative results; of the
pseudo-inverse Golub and Pereyra (1973), The differentiation of pseudo-inverses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.dtypes import part_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.complex_numbers import complex
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_solves as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    check_dtype,
    check_info,
    check_matrix,
    check_square,
    epsilon,
    identity,
)
from tetragrad.tensor.linalg.factorisations import lu_unpack, reduced_svd
from tetragrad.tensor.promotion import broadcast_shapes

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

_SINGULAR = "the matrix is singular: the diagonal element {} of U is zero"


class SolveResult(NamedTuple):
    """The solution, and for each matrix 0 or the number of the first zero pivot."""

    result: Tensor
    info: Tensor


class InverseResult(NamedTuple):
    """The inverse, and for each matrix 0 or the number of the first zero pivot."""

    inverse: Tensor
    info: Tensor


class SlogdetResult(NamedTuple):
    """The sign of the determinant, and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor


class LstsqResult(NamedTuple):
    """The solution, the squared distances, the rank and the singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


# --- systems -------------------------------------------------------------------------


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X with A X = B (X A = B unless ``left``).

    B is a vector, or a batch of them, if its shape is A's without the last dimension
    or it has one dimension; else its columns are the right-hand sides. Batches
    broadcast. Gradient: ∂B = A⁻ᴴ ∂X and ∂A = −∂B Xᴴ.

    Args:
        A: (…, n, n).
        B: (…, n) or (…, n, k).

    Raises:
        LinAlgError: A is singular.

    >>> tetragrad.linalg.solve(Tensor([[2.0, 0.0], [0.0, 4.0]]), Tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    return solve_ex(A, B, left=left, check_errors=True).result


def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> SolveResult:
    """``solve`` that says in ``info`` which matrices are singular."""
    check_square("solve", A)
    _check_same_dtype("solve", A, B)
    is_vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    right = B.unsqueeze(-1) if is_vector else B
    if not left:
        if is_vector:
            raise ShapeError(
                "linalg.solve(left=False) of a vector: X A = B needs rows",
                hint="pass B.unsqueeze(0)",
            )
        A, right = A.mT, right.mT
    _check_rows("solve", A, right)
    A, right = _broadcast_batch(A, right)
    result, info = host.call_now(_SOLVE, A, right)
    if check_errors:
        check_info("solve", info, _SINGULAR)
    if is_vector:
        return SolveResult(result.squeeze(-1), info)
    return SolveResult(result if left else result.mT, info)


def _check_same_dtype(name: str, A: Tensor, B: Tensor) -> None:
    check_dtype(name, B)
    if A.dtype is not B.dtype:
        raise DTypeError(
            f"linalg.{name}() of A in {A.dtype} and B in {B.dtype}",
            hint="convert one of them: B.to(A.dtype)",
        )


def _check_rows(name: str, A: Tensor, right: Tensor) -> None:
    if right.ndim < 2 or right.shape[-2] != A.shape[-2]:
        raise ShapeError(
            f"linalg.{name}() of A {A.shape} and B {right.shape}: B needs as many rows "
            f"as A, {A.shape[-2]}"
        )


def _broadcast_batch(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Both with all dimensions of the batch."""
    batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])


def _describe_solve(matrix: Operand, right: Operand) -> tuple[Operand, ...]:
    return right, Operand(matrix.shape[:-2], dtypes.int32)


def _solve_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A, of_X = call.inputs[0], call.upstream[0]
    assert of_X is not None
    of_B = host.call(_SOLVE, adjoint(A), of_X)[0]
    return -(of_B @ adjoint(call.outputs[0])), of_B


_SOLVE = host.define("linalg.solve", numpy_side.solve, _describe_solve, _solve_gradient)


def inv(A: Tensor) -> Tensor:
    """The inverse; prefer ``solve``, which is faster and more exact.

    Gradient: −A⁻ᴴ ∂ A⁻ᴴ.

    Raises:
        LinAlgError: A is singular.

    >>> tetragrad.linalg.inv(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return inv_ex(A, check_errors=True).inverse


def inv_ex(A: Tensor, *, check_errors: bool = False) -> InverseResult:
    """``inv`` that says in ``info`` which matrices are singular."""
    check_square("inv", A)
    inverse, info = host.call_now(_INVERSE, A)
    if check_errors:
        check_info("inv", info, _SINGULAR)
    return InverseResult(inverse, info)


def _describe_inverse(matrix: Operand) -> tuple[Operand, ...]:
    return matrix, Operand(matrix.shape[:-2], dtypes.int32)


def _inverse_gradient(call: Received) -> tuple[Tensor | None, ...]:
    turned, upstream = adjoint(call.outputs[0]), call.upstream[0]
    assert upstream is not None
    return (-(turned @ upstream @ turned),)


_INVERSE = host.define(
    "linalg.inv", numpy_side.inverse, _describe_inverse, _inverse_gradient
)


# --- triangular systems ---------------------------------------------------------------


def solve_triangular(
    A: Tensor,
    B: Tensor,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    """The X with A X = B (X A = B unless ``left``) for a triangular matrix.

    The other triangle is not read, nor is the diagonal if ``unitriangular``, which
    says that it is 1. A zero on the diagonal gives infinities and NaN.

    >>> A = Tensor([[2.0, 0.0], [2.0, 1.0]])
    >>> tetragrad.linalg.solve_triangular(A, Tensor([[2.0], [3.0]]), upper=False)
    tensor([[1.],
            [1.]])
    """
    check_square("solve_triangular", A)
    _check_same_dtype("solve_triangular", A, B)
    if not left:
        turned = solve_triangular(
            A.mT, B.mT, upper=not upper, unitriangular=unitriangular
        )
        return turned.mT
    _check_rows("solve_triangular", A, B)
    A, B = _broadcast_batch(A, B)
    return host.call_now(_TRIANGULAR, A, B, options=(upper, unitriangular))[0]


def triangular(A: Tensor, B: Tensor, upper: bool, unit: bool = False) -> Tensor:
    """The same without checks, computed when it is needed: for gradients."""
    return host.call(_TRIANGULAR, A, B, options=(upper, unit))[0]


def _describe_triangular(
    matrix: Operand, right: Operand, upper: bool, unit: bool
) -> tuple[Operand, ...]:
    return (right,)


def _triangular_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A, of_X = call.inputs[0], call.upstream[0]
    upper, unit = call.options
    assert of_X is not None
    of_B = triangular(adjoint(A), of_X, not upper, unit)
    product = -(of_B @ adjoint(call.outputs[0]))
    away = 1 if unit else 0
    return (product.triu(away) if upper else product.tril(-away)), of_B


_TRIANGULAR = host.define(
    "linalg.solve_triangular",
    numpy_side.solve_triangular,
    _describe_triangular,
    _triangular_gradient,
)


def triangular_solve(
    self: Tensor,
    A: Tensor,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> tuple[Tensor, Tensor]:
    """The X with A X = self for triangular A, and A: PyTorch's older spelling."""
    matrix, is_upper = (A.mT, not upper) if transpose else (A, upper)
    solution = solve_triangular(
        matrix, self, upper=is_upper, unitriangular=unitriangular
    )
    return solution, A


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """The X with A X = B, from the Cholesky factor of A.

    >>> L = tetragrad.linalg.cholesky(Tensor([[4.0, 0.0], [0.0, 1.0]]))
    >>> tetragrad.cholesky_solve(Tensor([[4.0], [3.0]]), L)
    tensor([[1.],
            [3.]])
    """
    first, second = (adjoint(L), L) if upper else (L, adjoint(L))
    between = solve_triangular(first, B, upper=False)
    return solve_triangular(second, between, upper=True)


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor."""
    check_square("cholesky_inverse", L)
    return cholesky_solve(identity(L.shape[-1], L), L, upper)


def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """The X with A X = B, from what ``lu_factor`` gave for A.

    Args:
        left: False solves X A = B.
        adjoint: solve with Aᴴ in place of A.

    >>> LU, pivots = tetragrad.linalg.lu_factor(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> tetragrad.linalg.lu_solve(LU, pivots, Tensor([[2.0], [2.0]]))
    tensor([[1.0000],
            [0.5000]])
    """
    check_square("lu_solve", LU)
    if not left:
        turned = lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint)
        return _adjoint(turned)
    _check_rows("lu_solve", LU, B)
    P = lu_unpack(LU, pivots).P
    if adjoint:
        between = solve_triangular(_adjoint(LU), B, upper=False)
        last = solve_triangular(_adjoint(LU), between, upper=True, unitriangular=True)
        return P @ last
    turned = P.mT @ B
    between = solve_triangular(LU, turned, upper=False, unitriangular=True)
    return solve_triangular(LU, between, upper=True)


_adjoint = adjoint


def ldl_solve(
    LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False
) -> Tensor:
    """The X with A X = B, from what ``ldl_factor`` gave for A.

    Its gradient goes to B only.
    """
    check_square("ldl_solve", LD)
    _check_rows("ldl_solve", LD, B)
    batch = broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    LD, B = _broadcast_batch(LD, B)
    pivots = pivots.expand(*batch, pivots.shape[-1])
    return host.call_now(_LDL_SOLVE, LD, pivots, B, options=(bool(hermitian),))[0]


def _describe_ldl_solve(
    packed: Operand, pivots: Operand, right: Operand, hermitian: bool
) -> tuple[Operand, ...]:
    return (right,)


def _ldl_solve_gradient(call: Received) -> tuple[Tensor | None, ...]:
    LD, pivots, _ = call.inputs
    of_X = call.upstream[0]
    assert of_X is not None
    # A is symmetric, so that Aᴴ is A, or its conjugate where it is not Hermitian.
    plain = call.options == (True,) or not LD.is_complex()
    turned = of_X if plain else of_X.conj()
    of_B = host.call(_LDL_SOLVE, LD, pivots, turned, options=call.options)[0]
    return None, None, of_B if plain else of_B.conj()


_LDL_SOLVE = host.define(
    "linalg.ldl_solve",
    numpy_side.solve_ldl,
    _describe_ldl_solve,
    _ldl_solve_gradient,
)


# --- least squares --------------------------------------------------------------------


def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> LstsqResult:
    """The shortest X that minimises ‖A X − B‖.

    Computed from the singular values: those up to ``rcond`` times the largest count
    as zero. The gradient is that of pinv(A) B.

    Args:
        A: (…, m, n).
        B: (…, m, k), or (…, m) for vectors.
        rcond: machine precision times max(m, n) if left out.
        driver: accepted for PyTorch's sake; "gels", "gelsy", "gelsd" and "gelss"
            give one result.

    Returns:
        The solution (…, n, k); the squared distances (…, k), empty unless all A have
        full rank and more rows than columns; the rank; the singular values.

    >>> A = Tensor([[1.0], [1.0]])
    >>> tetragrad.linalg.lstsq(A, Tensor([[1.0], [3.0]])).solution.round(decimals=3)
    tensor([[2.]])
    """
    check_matrix("lstsq", A)
    _check_same_dtype("lstsq", A, B)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ShapeError(
            f"linalg.lstsq(driver={driver!r})",
            hint="use 'gels', 'gelsy', 'gelsd' or 'gelss', or leave it out",
        )
    is_vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    right = B.unsqueeze(-1) if is_vector else B
    _check_rows("lstsq", A, right)
    A, right = _broadcast_batch(A, right)
    rows, columns = A.shape[-2:]
    limit = epsilon(A) * max(rows, columns) if rcond is None else float(rcond)
    solution, rank, values = host.call_now(_LSTSQ, A, right, options=(limit,))
    residuals = _residuals(A, right, solution, rank)
    if is_vector:
        solution = solution.squeeze(-1)
        residuals = residuals.squeeze(-1) if residuals.ndim else residuals
    if driver in ("gels", "gelsy"):
        values = values.tensor_class.empty(0, dtype=values.dtype, device=A.device)
    return LstsqResult(solution, residuals, rank, values)


def _residuals(A: Tensor, right: Tensor, solution: Tensor, rank: Tensor) -> Tensor:
    rows, columns = A.shape[-2:]
    if rows <= columns or not (rank.read() == columns).all():
        real = part_dtype(A.dtype)
        return A.tensor_class.empty(0, dtype=real, device=A.device)
    distance = (A @ solution - right).abs()
    return (distance * distance).sum(-2)


def _describe_lstsq(
    matrix: Operand, right: Operand, rcond: float
) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (
        Operand((*batch, columns, right.shape[-1]), matrix.dtype),
        Operand(tuple(batch), dtypes.int64),
        Operand((*batch, min(rows, columns)), part_dtype(matrix.dtype)),
    )


def _lstsq_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A, B = call.inputs
    of_X, _, of_values = call.upstream
    if of_values is not None:
        U, _, Vh = reduced_svd(A)
        return (U * of_values.unsqueeze(-2)) @ Vh, None
    assert of_X is not None
    inverted = _pinv_node(A, 0.0, call.options[0], False)
    of_inverse = of_X @ adjoint(B)
    return _through_pinv(A, inverted, of_inverse), adjoint(inverted) @ of_X


_LSTSQ = host.define(
    "linalg.lstsq", numpy_side.least_squares, _describe_lstsq, _lstsq_gradient
)


def pinv(
    A: Tensor,
    rcond: Any = None,
    *,
    atol: Any = None,
    rtol: Any = None,
    hermitian: bool = False,
) -> Tensor:
    """Moore and Penrose's inverse, which exists for every matrix.

    Singular values up to max(atol, rtol × the largest) count as zero; rtol is
    machine precision times max(m, n) if neither is given. The gradient holds where
    the rank does not change (Golub and Pereyra 1973).

    >>> tetragrad.linalg.pinv(Tensor([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    check_matrix("pinv", A)
    if hermitian:
        check_square("pinv", A)
    tolerances = tolerances_of(A, atol, rcond if rtol is None else rtol)
    return host.call_now(_PINV, A, *tolerances, options=(bool(hermitian),))[0]


def tolerances_of(A: Tensor, atol: Any, rtol: Any) -> tuple[Tensor, Tensor]:
    """Absolute and relative tolerance, one for each matrix of the batch."""
    if rtol is None:
        default = 0.0 if _is_positive(atol) else epsilon(A) * max(A.shape[-2:])
    else:
        default = rtol
    return _spread(A, 0.0 if atol is None else atol), _spread(A, default)


def _is_positive(atol: Any) -> bool:
    if atol is None:
        return False
    return bool((atol > 0).read().any()) if hasattr(atol, "read") else atol > 0


def _spread(A: Tensor, value: Any) -> Tensor:
    """A number or a tensor of them, in the batch's shape and A's real dtype."""
    dtype = part_dtype(A.dtype)
    if hasattr(value, "read"):
        return value.detach().to(dtype).expand(*A.shape[:-2])
    return A.tensor_class.full(A.shape[:-2], value, dtype=dtype, device=A.device)


def _describe_pinv(
    matrix: Operand, atol: Operand, rtol: Operand, hermitian: bool
) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (Operand((*batch, columns, rows), matrix.dtype),)


def _pinv_node(A: Tensor, atol: float, rtol: float, hermitian: bool) -> Tensor:
    tolerances = _spread(A, atol), _spread(A, rtol)
    return host.call(_PINV, A, *tolerances, options=(hermitian,))[0]


def _pinv_gradient(call: Received) -> tuple[Tensor | None, ...]:
    upstream = call.upstream[0]
    assert upstream is not None
    return _through_pinv(call.inputs[0], call.outputs[0], upstream), None, None


def _through_pinv(A: Tensor, inverted: Tensor, upstream: Tensor) -> Tensor:
    """−Pᴴ∂Pᴴ + (I − A P) ∂ᴴ P Pᴴ + Pᴴ P ∂ᴴ (I − P A), for P = pinv(A)."""
    turned, received = adjoint(inverted), adjoint(upstream)
    left = received @ inverted
    left = left - A @ (inverted @ left)
    right = inverted @ received
    right = right - (right @ inverted) @ A
    return left @ turned + turned @ right - turned @ upstream @ turned


_PINV = host.define(
    "linalg.pinv", numpy_side.pseudo_inverse, _describe_pinv, _pinv_gradient
)


# --- determinants ---------------------------------------------------------------------


def det(A: Tensor) -> Tensor:
    """The determinant; its gradient, the cofactors, exists for singular A too.

    >>> tetragrad.linalg.det(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor(8.)
    """
    check_square("det", A)
    return host.call_now(_DET, A)[0]


def slogdet(A: Tensor) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value.

    Use it where the determinant itself is too large or too small. For a singular A
    they are 0 and −inf. Gradient of the logarithm: A⁻ᴴ.

    >>> tetragrad.linalg.slogdet(Tensor([[0.0, 1.0], [1.0, 0.0]])).sign
    tensor(-1.)
    """
    check_square("slogdet", A)
    return SlogdetResult(*host.call_now(_SLOGDET, A))


def logdet(A: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative.

    >>> tetragrad.logdet(Tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor(0.)
    """
    sign, logarithm = slogdet(A)
    if A.is_complex():
        return sign.log() + logarithm
    return logarithm.masked_fill(sign < 0, float("nan"))


def _describe_det(matrix: Operand) -> tuple[Operand, ...]:
    return (Operand(matrix.shape[:-2], matrix.dtype),)


def _describe_slogdet(matrix: Operand) -> tuple[Operand, ...]:
    batch = matrix.shape[:-2]
    return Operand(batch, matrix.dtype), Operand(batch, part_dtype(matrix.dtype))


def _describe_cofactors(matrix: Operand) -> tuple[Operand, ...]:
    return (matrix,)


def _det_gradient(call: Received) -> tuple[Tensor | None, ...]:
    upstream = call.upstream[0]
    assert upstream is not None
    cofactors = host.call(_COFACTORS, *call.inputs)[0]
    return (upstream[..., None, None] * cofactors,)


def _cofactors_gradient(call: Received) -> tuple[Tensor | None, ...]:
    """Of det(A) A⁻ᴴ, for an A that is not singular: [⟨C, ∂⟩ A⁻ᴴ − A⁻ᴴ ∂ᴴ C]."""
    A, upstream = call.inputs[0], call.upstream[0]
    assert upstream is not None
    cofactors = call.outputs[0]
    turned = adjoint(host.call(_INVERSE, A)[0])
    share = (cofactors * upstream).sum((-2, -1), keepdim=True)
    return (share * turned - turned @ adjoint(upstream) @ cofactors,)


def _slogdet_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A = call.inputs[0]
    of_sign, of_logarithm = call.upstream
    if of_logarithm is None:
        # A real sign does not change; a complex one is a point of the unit circle.
        if not A.is_complex():
            return (A * 0,)
        assert of_sign is not None
        sign = call.outputs[0]
        turn = (of_sign.conj() * sign).imag
        factor = complex(turn * 0, -turn)
    else:
        factor = of_logarithm
    turned = adjoint(host.call(_INVERSE, A)[0])
    return (factor[..., None, None] * turned,)


_DET = host.define("linalg.det", numpy_side.determinant, _describe_det, _det_gradient)
_COFACTORS = host.define(
    "linalg.cofactors",
    numpy_side.cofactors,
    _describe_cofactors,
    _cofactors_gradient,
)
_SLOGDET = host.define(
    "linalg.slogdet", numpy_side.sign_and_log, _describe_slogdet, _slogdet_gradient
)
