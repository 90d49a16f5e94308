"""Linear systems and inverses.

Gradients: Giles (2008), An extended collection of matrix derivative results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_solves as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    broadcast_batch,
    check_info,
    check_rows,
    check_same_dtype,
    check_square,
    identity,
    is_vector_beside,
)
from tetragrad.tensor.linalg.factorisations import lu_unpack
from tetragrad.tensor.linalg.host_triangular import (
    solve_triangular as solve_triangular_arrays,
)
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
    """``solve`` that says in ``info`` which matrices are singular.

    >>> A = Tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> tetragrad.linalg.solve_ex(A, Tensor([2.0, 4.0])).result
    tensor([1., 1.])
    """
    check_square("solve", A)
    check_same_dtype("solve", A, B)
    is_vector = is_vector_beside(A, B)
    right = B.unsqueeze(-1) if is_vector else B
    if not left:
        if is_vector:
            raise ShapeError(
                "linalg.solve(left=False) of a vector: X A = B needs rows",
                hint="pass B.unsqueeze(0)",
            )
        A, right = A.mT, right.mT
    check_rows("solve", A, right)
    A, right = broadcast_batch(A, right)
    result, info = host.call_now(_SOLVE, A, right)
    if check_errors:
        check_info("solve", info, _SINGULAR)
    if is_vector:
        return SolveResult(result.squeeze(-1), info)
    return SolveResult(result if left else result.mT, info)


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
    """``inv`` that says in ``info`` which matrices are singular.

    >>> tetragrad.linalg.inv_ex(Tensor([[2.0, 0.0], [0.0, 4.0]])).inverse
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
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
    check_same_dtype("solve_triangular", A, B)
    if not left:
        turned = solve_triangular(
            A.mT, B.mT, upper=not upper, unitriangular=unitriangular
        )
        return turned.mT
    check_rows("solve_triangular", A, B)
    A, B = broadcast_batch(A, B)
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
    solve_triangular_arrays,
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

    As in PyTorch the gradient of L is that of A = L Lᴴ, both triangles of it.

    >>> L = tetragrad.linalg.cholesky(Tensor([[4.0, 0.0], [0.0, 1.0]]))
    >>> tetragrad.cholesky_solve(Tensor([[4.0], [3.0]]), L)
    tensor([[1.],
            [3.]])
    """
    check_square("cholesky_solve", L)
    check_same_dtype("cholesky_solve", L, B)
    check_rows("cholesky_solve", L, B)
    L, B = broadcast_batch(L, B)
    return host.call_now(_CHOLESKY_SOLVE, L, B, options=(bool(upper),))[0]


def _describe_cholesky_solve(
    factor: Operand, right: Operand, upper: bool
) -> tuple[Operand, ...]:
    return (right,)


def _cholesky_solve_gradient(call: Received) -> tuple[Tensor | None, ...]:
    """As though the whole of L were read: A = L Lᴴ has the gradient −∂B Xᴴ."""
    (L, _), (X,), (of_X,) = call.inputs, call.outputs, call.upstream
    assert of_X is not None
    of_B = host.call(_CHOLESKY_SOLVE, L, of_X, options=call.options)[0]
    product = of_B @ adjoint(X)
    both = product + adjoint(product)
    return -(L @ both if call.options == (True,) else both @ L), of_B


_CHOLESKY_SOLVE = host.define(
    "linalg.cholesky_solve",
    numpy_side.solve_cholesky,
    _describe_cholesky_solve,
    _cholesky_solve_gradient,
)


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
    check_rows("lu_solve", LU, B)
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

    >>> A = Tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> LD, pivots = tetragrad.linalg.ldl_factor(A)
    >>> tetragrad.linalg.ldl_solve(LD, pivots, Tensor([[2.0], [4.0]]))
    tensor([[1.],
            [1.]])
    """
    check_square("ldl_solve", LD)
    check_rows("ldl_solve", LD, B)
    batch = broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    LD, B = broadcast_batch(LD, B)
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
