"""The linear algebra extension: ``xp.linalg.solve(A, b)``.

Source: "Linear Algebra Extension" of the Python array API standard 2025.12. Matrices
are the last two axes; the axes before them are stacks of matrices. Dtypes are real and
complex floating-point ones, unless a function says otherwise; others raise DTypeError.
Shapes that do not fit raise ShapeError, matrices for which there is no result
LinAlgError.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import TetragradError
from tetragrad.tensor import Tensor
from tetragrad.tensor.linalg import (
    determinants,
    factorisations,
    least_squares,
    norms,
    products,
    solving,
    spectra,
)
from tetragrad.tensor.movement import broadcast_tensors
from tetragrad.xp.array import Array
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import FLOATING, NUMERIC, operands
from tetragrad.xp.manipulation import Axes, axes_of
from tetragrad.xp.matrices import matmul, matrix_transpose, tensordot, vecdot
from tetragrad.xp.statistical import sum as sum_of

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


class EigResult(NamedTuple):
    """Eigenvalues in no order, and eigenvectors as columns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Ascending eigenvalues, and eigenvectors as columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Orthonormal columns and a triangular matrix."""

    Q: Array
    R: Array


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors as rows."""

    U: Array
    S: Array
    Vh: Array


class SlogdetResult(NamedTuple):
    """A determinant's sign (or direction), and the logarithm of its size."""

    sign: Array
    logabsdet: Array


def _matrices(name: str, x: Array) -> Tensor:
    tensor = tensor_of(x, name)
    FLOATING.check(tensor.dtype, name)
    return tensor


# --- factorisations -------------------------------------------------------------------


def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """The lower triangular L with x = L Lᴴ, or the upper U with x = Uᴴ U.

    >>> xp.linalg.cholesky(xp.asarray([[4.0, 0.0], [0.0, 9.0]]))
    Array([[2., 0.],
           [0., 3.]])

    Raises:
        LinAlgError: a matrix is not positive definite.
    """
    return wrap(factorisations.cholesky(_matrices("cholesky", x), upper=upper))


def qr(x: Array, /, *, mode: str = "reduced") -> QRResult:
    """Q with orthonormal columns and an upper triangular R with x = Q R.

    With "complete" Q is square, with "reduced" as narrow as x.

    >>> xp.linalg.qr(xp.ones((3, 2))).R.shape
    (2, 2)
    """
    if mode not in ("reduced", "complete"):
        raise TetragradError(f"qr(mode={mode!r})", hint="'reduced' or 'complete'")
    found = factorisations.qr(_matrices("qr", x), mode)
    return QRResult(wrap(found.Q), wrap(found.R))


def svd(x: Array, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition x = U diag(S) Vh; S descends.

    >>> xp.linalg.svd(xp.asarray([[3.0, 0.0], [0.0, 4.0]])).S
    Array([4., 3.])
    """
    found = spectra.svd(_matrices("svd", x), full_matrices)
    return SVDResult(*map(wrap, found))


def svdvals(x: Array, /) -> Array:
    """The singular values, descending.

    >>> xp.linalg.svdvals(xp.asarray([[3.0, 0.0], [0.0, 4.0]]))
    Array([4., 3.])
    """
    return wrap(spectra.svdvals(_matrices("svdvals", x)))


def eigh(x: Array, /) -> EighResult:
    """Eigenvalues and eigenvectors of Hermitian matrices; the lower triangle is read.

    >>> xp.linalg.eigh(xp.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Array([1., 2.])
    """
    found = spectra.eigh(_matrices("eigh", x))
    return EighResult(*map(wrap, found))


def eigvalsh(x: Array, /) -> Array:
    """The eigenvalues of Hermitian matrices, ascending.

    >>> xp.linalg.eigvalsh(xp.asarray([[2.0, 0.0], [0.0, 1.0]]))
    Array([1., 2.])
    """
    return wrap(spectra.eigvalsh(_matrices("eigvalsh", x)))


def eig(x: Array, /) -> EigResult:
    """Eigenvalues and eigenvectors of any square matrices; both complex.

    >>> xp.linalg.eig(xp.asarray([[0.0, -1.0], [1.0, 0.0]])).eigenvalues
    Array([0.+1.j, 0.-1.j])
    """
    found = spectra.eig(_matrices("eig", x))
    return EigResult(*map(wrap, found))


def eigvals(x: Array, /) -> Array:
    """The eigenvalues of any square matrices; complex.

    >>> xp.linalg.eigvals(xp.asarray([[0.0, -1.0], [1.0, 0.0]]))
    Array([0.+1.j, 0.-1.j])
    """
    return wrap(spectra.eigvals(_matrices("eigvals", x)))


# --- equations and determinants -------------------------------------------------------


def solve(x1: Array, x2: Array, /) -> Array:
    """The X with x1 X = x2: x2 is a vector, if it has one axis, else matrices.

    >>> xp.linalg.solve(xp.asarray([[2.0, 0.0], [0.0, 4.0]]), xp.ones(2))
    Array([0.5000, 0.2500])

    Raises:
        LinAlgError: a matrix is singular.
    """
    matrix, right = operands(x1, x2)
    FLOATING.check(matrix.dtype, "solve")
    if right.ndim == 1:
        return wrap(solving.solve(matrix, right.unsqueeze(-1)).squeeze(-1))
    batch = _common_batch(matrix, right)
    matrix = matrix.expand(*batch, *matrix.shape[-2:])
    return wrap(solving.solve(matrix, right.expand(*batch, *right.shape[-2:])))


def _common_batch(*tensors: Tensor) -> tuple[int, ...]:
    from tetragrad.xp.manipulation import broadcast_shapes

    return broadcast_shapes(*(tensor.shape[:-2] for tensor in tensors))


def inv(x: Array, /) -> Array:
    """The inverse.

    >>> xp.linalg.inv(xp.asarray([[2.0, 0.0], [0.0, 4.0]]))
    Array([[0.5000, 0.0000],
           [0.0000, 0.2500]])

    Raises:
        LinAlgError: a matrix is singular.
    """
    return wrap(solving.inv(_matrices("inv", x)))


def pinv(x: Array, /, *, rtol: float | Array | None = None) -> Array:
    """The pseudo-inverse; singular values up to rtol times the largest count as 0.

    >>> xp.linalg.pinv(xp.asarray([[2.0], [0.0]]))
    Array([[0.5000, 0.0000]])
    """
    return wrap(least_squares.pinv(_matrices("pinv", x), rtol=_plain(rtol)))


def _plain(value: Any) -> Any:
    return value.to_tensor() if isinstance(value, Array) else value


def det(x: Array, /) -> Array:
    """The determinant.

    >>> xp.linalg.det(xp.asarray([[2.0, 0.0], [0.0, 4.0]]))
    Array(8.)
    """
    return wrap(determinants.det(_matrices("det", x)))


def slogdet(x: Array, /) -> SlogdetResult:
    """The determinant's sign and the logarithm of its size, which cannot overflow.

    >>> xp.linalg.slogdet(xp.asarray([[2.0, 0.0], [0.0, -4.0]])).sign
    Array(-1.)
    """
    found = determinants.slogdet(_matrices("slogdet", x))
    return SlogdetResult(*map(wrap, found))


def matrix_rank(x: Array, /, *, rtol: float | Array | None = None) -> Array:
    """How many singular values are larger than rtol times the largest.

    >>> xp.linalg.matrix_rank(xp.ones((3, 2)))
    Array(1)

    Raises:
        ShapeError: the array has fewer than two axes.
    """
    return wrap(norms.matrix_rank(_matrices("matrix_rank", x), rtol=_plain(rtol)))


# --- norms ----------------------------------------------------------------------------


def matrix_norm(
    x: Array, /, *, keepdims: bool = False, ord: float | str | None = "fro"
) -> Array:
    """A norm of matrices: 'fro', 'nuc', 1, -1, 2, -2, inf or -inf.

    >>> xp.linalg.matrix_norm(xp.asarray([[3.0, 0.0], [0.0, 4.0]]))
    Array(5.)
    """
    tensor = _matrices("matrix_norm", x)
    order = "fro" if ord is None else ord
    return wrap(norms.matrix_norm(tensor, order, (-2, -1), keepdims))


def vector_norm(
    x: Array,
    /,
    *,
    axis: Axes | None = None,
    keepdims: bool = False,
    ord: float = 2,
) -> Array:
    """(Σ |x|^ord)^(1/ord); inf and -inf give the largest and smallest size.

    0 counts the elements that are not 0. Along several axes, or all if none is
    named, the elements are one vector.

    >>> xp.linalg.vector_norm(xp.asarray([3.0, 4.0]))
    Array(5.)
    """
    tensor = _matrices("vector_norm", x)
    axes = axes_of(axis, tensor.ndim)
    if axes:
        return wrap(norms.vector_norm(tensor, ord, axes, keepdims))
    # Each element is a vector of its own.
    alone = norms.vector_norm(tensor.unsqueeze(-1), ord, (tensor.ndim,))
    return wrap(alone.reshape(tensor.shape))


# --- products and parts ---------------------------------------------------------------


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of three elements; the other axes broadcast.

    Numeric dtypes. ``axis`` is negative: it counts from the end.

    >>> xp.linalg.cross(xp.asarray([1, 0, 0]), xp.asarray([0, 1, 0]))
    Array([0, 0, 1])

    Raises:
        ShapeError: the axis has not three elements.
    """
    lhs, rhs = broadcast_tensors(*operands(x1, x2))
    NUMERIC.check(lhs.dtype, "cross")
    return wrap(products.cross(lhs, rhs, dim=axis))


def outer(x1: Array, x2: Array, /) -> Array:
    """Every product of an element of one vector and one of the other; numeric dtypes.

    >>> xp.linalg.outer(xp.asarray([1, 2]), xp.asarray([3, 4]))
    Array([[3, 4],
           [6, 8]])
    """
    lhs, rhs = operands(x1, x2)
    NUMERIC.check(lhs.dtype, "outer")
    return wrap(lhs.outer(rhs))


def matrix_power(x: Array, n: int, /) -> Array:
    """The product of n copies of a matrix; of its inverse, if n is negative.

    >>> xp.linalg.matrix_power(xp.asarray([[2.0, 0.0], [0.0, 3.0]]), 3)
    Array([[ 8.,  0.],
           [ 0., 27.]])
    """
    return wrap(products.matrix_power(_matrices("matrix_power", x), n))


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """A diagonal of matrices: above the main one if ``offset`` is positive; all dtypes.

    >>> xp.linalg.diagonal(xp.asarray([[1, 2], [3, 4]]))
    Array([1, 4])
    """
    return wrap(tensor_of(x, "diagonal").diagonal(offset, -2, -1))


def trace(x: Array, /, *, offset: int = 0, dtype: DType | None = None) -> Array:
    """The sum of a diagonal; numeric dtypes, as in ``xp.sum``.

    >>> xp.linalg.trace(xp.asarray([[1, 2], [3, 4]]))
    Array(5)
    """
    return sum_of(diagonal(x, offset=offset), axis=-1, dtype=dtype)
