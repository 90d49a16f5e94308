"""Products and functions of matrices that are written with tensor operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.core.errors import ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.host import Received
from tetragrad.tensor.joining import cat
from tetragrad.tensor.linalg import host_solves as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    check_matrix,
    check_square,
    identity,
)
from tetragrad.tensor.linalg.solving import inv, solve, solve_triangular
from tetragrad.tensor.promotion import broadcast_shapes, normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, as ``Tensor.matmul``.

    >>> tetragrad.linalg.matmul(Tensor([[1, 2]]), Tensor([[3], [4]]))
    tensor([[11]])
    """
    return input.matmul(other)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices, in the order that takes the fewest products.

    The first may be a row and the last a column, both with one dimension. The order
    is found by dynamic programming over all parenthesisations (Cormen et al.,
    Introduction to Algorithms, 15.2).

    >>> A, B = Tensor.ones(2, 3), Tensor.ones(3, 4)
    >>> tetragrad.linalg.multi_dot([A, B, Tensor.ones(4)])
    tensor([12., 12.])
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise ShapeError(f"linalg.multi_dot() of {len(chain)} tensors: it takes two")
    is_row, is_column = chain[0].ndim == 1, chain[-1].ndim == 1
    if is_row:
        chain[0] = chain[0].unsqueeze(0)
    if is_column:
        chain[-1] = chain[-1].unsqueeze(1)
    for place, tensor in enumerate(chain):
        if tensor.ndim != 2:
            raise ShapeError(
                f"linalg.multi_dot(): tensor {place} has shape {tensor.shape}, and "
                "only the first and the last may be vectors"
            )
        if place and chain[place - 1].shape[1] != tensor.shape[0]:
            raise ShapeError(
                f"linalg.multi_dot(): {chain[place - 1].shape} times {tensor.shape}"
            )
    sizes = [chain[0].shape[0], *(tensor.shape[1] for tensor in chain)]
    product = _multiply(chain, _best_splits(sizes), 0, len(chain) - 1)
    if is_row:
        product = product.squeeze(0)
    return product.squeeze(-1) if is_column else product


def _best_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """For each stretch of the chain, after which matrix to split it."""
    count = len(sizes) - 1
    cost = {(place, place): 0 for place in range(count)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for first in range(count - length):
            last = first + length
            options = {
                middle: cost[first, middle]
                + cost[middle + 1, last]
                + sizes[first] * sizes[middle + 1] * sizes[last + 1]
                for middle in range(first, last)
            }
            best = min(options, key=options.__getitem__)
            split[first, last], cost[first, last] = best, options[best]
    return split


def _multiply(
    chain: list[Tensor], split: dict[tuple[int, int], int], first: int, last: int
) -> Tensor:
    if first == last:
        return chain[first]
    middle = split[first, last]
    left = _multiply(chain, split, first, middle)
    return left.matmul(_multiply(chain, split, middle + 1, last))


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied n times, by squaring; a negative n multiplies the inverse.

    >>> tetragrad.linalg.matrix_power(Tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        check_square("matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        # The elements do not matter, but a gradient of zeros reaches them.
        never = (A == A) & (A != A)
        return A.where(never, identity(A.shape[-1], A))
    result, square = None, A
    while n:
        if n & 1:
            result = square if result is None else result.matmul(square)
        n >>= 1
        if n:
            square = square.matmul(square)
    assert result is not None
    return result


def matrix_exp(A: Tensor) -> Tensor:
    """exp(A) = Σ Aᵏ / k!, by scaling and squaring (Higham 2005).

    Gradient: the upper right block of exp([[Aᴴ, ∂], [0, Aᴴ]]) (Higham 2008,
    Functions of Matrices, theorem 3.6).

    >>> tetragrad.linalg.matrix_exp(Tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    check_square("matrix_exp", A)
    return host.call_now(_EXPONENTIAL, A)[0]


def _describe_exponential(matrix: Operand) -> tuple[Operand, ...]:
    return (matrix,)


def _exponential_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A, upstream = adjoint(call.inputs[0]), call.upstream[0]
    assert upstream is not None
    size = A.shape[-1]
    upper, lower = cat([A, upstream], -1), cat([A * 0, A], -1)
    whole = host.call(_EXPONENTIAL, cat([upper, lower], -2))[0]
    return (whole[..., :size, size:],)


_EXPONENTIAL = host.define(
    "linalg.matrix_exp",
    numpy_side.exponential,
    _describe_exponential,
    _exponential_gradient,
)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product of vectors with three elements along ``dim``.

    >>> tetragrad.linalg.cross(Tensor([1.0, 0.0, 0.0]), Tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    shape = broadcast_shapes(input.shape, other.shape)
    axis = normal_dim(dim, len(shape))
    if input.ndim != other.ndim or shape[axis] != 3:
        raise ShapeError(
            f"linalg.cross() of shapes {input.shape} and {other.shape}: both need "
            f"3 elements along dimension {dim}, and as many dimensions"
        )
    a, b = input.expand(*shape), other.expand(*shape)
    ahead, behind = (a.roll(-1, axis), a.roll(-2, axis))
    return ahead * b.roll(-2, axis) - behind * b.roll(-1, axis)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Vandermonde's matrix: row i holds x[i] to the powers 0 to N - 1.

    >>> tetragrad.linalg.vander(Tensor([2, 3]), N=3)
    tensor([[1, 2, 4],
            [1, 3, 9]])
    """
    x = x if x.ndim else x.reshape(1)
    count = x.shape[-1] if N is None else N
    columns = [x.tensor_class.ones_like(x)]
    for _ in range(1, count):
        columns.append(columns[-1] * x)
    from tetragrad.tensor.joining import stack

    return stack(columns[:count], -1) if count else x.unsqueeze(-1)[..., :0]


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map between tensors: tensordot(inverse, A, ind) is 1.

    The first ``ind`` dimensions must have as many elements as the others.

    >>> tetragrad.linalg.tensorinv(Tensor.eye(6).reshape(2, 3, 6), 2).shape
    (6, 2, 3)
    """
    if not ind > 0:
        raise ShapeError(f"linalg.tensorinv(ind={ind}): it must be positive")
    front, back = A.shape[:ind], A.shape[ind:]
    if math.prod(front) != math.prod(back):
        raise ShapeError(
            f"linalg.tensorinv() of shape {A.shape} with ind={ind}: the first {ind} "
            f"dimensions have {math.prod(front)} elements, the others "
            f"{math.prod(back)}"
        )
    matrix = A.reshape(math.prod(front), math.prod(back))
    return inv(matrix).reshape(*back, *front)


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B, where A's first dimensions are B's.

    ``dims`` of A are moved to its end first. The shape of X is that of A without as
    many dimensions as B has.

    >>> A = Tensor.eye(6).reshape(2, 3, 2, 3)
    >>> tetragrad.linalg.tensorsolve(A, Tensor.ones(2, 3)).shape
    (2, 3)
    """
    if dims is not None:
        axes = [normal_dim(dim, A.ndim) for dim in dims]
        A = A.permute([dim for dim in range(A.ndim) if dim not in axes] + axes)
    shape = A.shape[B.ndim :]
    size = math.prod(shape)
    if size != B.numel() or A.numel() != size * size:
        raise ShapeError(
            f"linalg.tensorsolve() of A {A.shape} and B {B.shape}: A without its first "
            f"{B.ndim} dimensions must have as many elements as B, {B.numel()}"
        )
    return solve(A.reshape(size, size), B.reshape(size)).reshape(shape)


def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H₁ H₂ … for Hᵢ = I − τᵢ vᵢ vᵢᴴ (LAPACK's orgqr).

    vᵢ stands below the diagonal of A, with 1 on it. The product is I − V T Vᴴ with
    T = (I + D S)⁻¹ D, D = diag(τ), S the strict upper triangle of Vᴴ V (Joffrain et
    al. 2006, Accumulating Householder transformations, revisited).

    Args:
        A: (…, m, n) with m ≥ n.
        tau: (…, k) with k ≤ n.

    >>> R, factors = Tensor([[3.0], [4.0]]).geqrf()
    >>> tetragrad.linalg.householder_product(R, factors).abs()
    tensor([[0.6000],
            [0.8000]])
    """
    check_matrix("householder_product", A)
    rows, columns = A.shape[-2:]
    count = tau.shape[-1]
    if columns > rows or count > columns or tau.shape[:-1] != A.shape[:-2]:
        raise ShapeError(
            f"linalg.householder_product() of A {A.shape} and tau {tau.shape}: A may "
            "not be wide, and needs a column for each tau"
        )
    V, T = _reflectors(A[..., :count], tau)
    unit = identity(rows, A)[:, :columns]
    return unit - V @ (T @ adjoint(V)[..., :columns])


def _reflectors(A: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """V and T, with I − V T Vᴴ for the product of all reflectors."""
    rows, count = A.shape[-2:]
    V = A.tril(-1) + identity(rows, A)[:, :count]
    factors = tau.diag_embed()
    overlap = factors @ (adjoint(V) @ V).triu(1)
    return V, solve_triangular(overlap, factors, upper=True, unitriangular=True)


def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool, transpose: bool
) -> Tensor:
    """Q C, C Q, or with Qᴴ, for the whole Q of ``geqrf``'s reflectors."""
    check_matrix("ormqr", input)
    rows = other.shape[-2 if left else -1]
    if input.shape[-2] != rows or tau.shape[-1] > input.shape[-1]:
        raise ShapeError(
            f"ormqr() of input {input.shape}, tau {tau.shape} and other {other.shape}: "
            f"the input needs {rows} rows, and a column for each tau"
        )
    V, T = _reflectors(input[..., : tau.shape[-1]], tau)
    T = adjoint(T) if transpose else T
    if left:
        return other - V @ (T @ (adjoint(V) @ other))
    return other - ((other @ V) @ T) @ adjoint(V)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Σ conj(x) y along a dimension; the others broadcast.

    >>> tetragrad.linalg.vecdot(Tensor([[1, 2], [3, 4]]), Tensor([1, 1]))
    tensor([3, 7])
    """
    left = x.conj() if x.is_complex() else x
    return (left * y).sum(dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices.

    >>> tetragrad.linalg.diagonal(Tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    return A.diagonal(offset, dim1, dim2)
