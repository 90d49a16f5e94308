"""Norms of vectors and matrices, condition and rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import to_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.tensor.linalg.checks import check_matrix, check_square
from tetragrad.tensor.linalg.least_squares import tolerances_of
from tetragrad.tensor.linalg.solving import inv_ex
from tetragrad.tensor.linalg.spectra import eigvalsh, svdvals
from tetragrad.tensor.promotion import normal_dim, normal_dims

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Dims = int | Sequence[int] | None


def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over the given dimensions, or over all elements.

    ``ord`` may be inf (the largest magnitude), -inf (the smallest) and 0 (how many
    are not zero). At zero the gradient of the 2-norm is 0.

    Args:
        x: any shape, floating point or complex.
        dtype: convert to this dtype first.

    Raises:
        ShapeError: an empty sum for an ``ord`` that is negative or infinite.

    >>> tetragrad.linalg.vector_norm(Tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = _as_float("vector_norm", x, dtype)
    if isinstance(ord, str | bool):
        raise DTypeError(f"linalg.vector_norm(ord={ord!r}): it takes a number")
    dims = normal_dims(dim, x.ndim)
    count = math.prod(x.shape[entry] for entry in dims) if x.ndim else 1
    if not count and (ord < 0 or ord == math.inf):
        raise ShapeError(
            f"linalg.vector_norm(ord={ord}) of no elements, in shape {x.shape}",
            hint="the norm of nothing is only defined for finite, positive ord",
        )
    if not x.ndim:
        return x.reshape(1).norm(ord, 0)
    return x.norm(ord, dims, keepdim)


def matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """A norm of matrices.

    ========== ==========================================
    ord        norm
    ========== ==========================================
    "fro"      root of the sum of squares (Frobenius)
    "nuc"      sum of the singular values (nuclear)
    inf, -inf  largest, smallest sum of a row's magnitudes
    1, -1      the same for columns
    2, -2      largest, smallest singular value
    ========== ==========================================

    >>> tetragrad.linalg.matrix_norm(Tensor([[1.0, -7.0], [2.0, 3.0]]), 1)
    tensor(10.)
    """
    A = _as_float("matrix_norm", A, dtype)
    check_shape = A if A.ndim >= 2 else None
    if check_shape is None or len(tuple(dim)) != 2:
        raise ShapeError(
            f"linalg.matrix_norm() of shape {A.shape} over dimensions {tuple(dim)}: "
            "it takes a matrix, and two dimensions"
        )
    rows, columns = (normal_dim(entry, A.ndim) for entry in dim)
    if rows == columns:
        raise ShapeError(f"linalg.matrix_norm(dim={tuple(dim)}) names one twice")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        return _spectral_norm(A, ord, rows, columns, keepdim)
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise ShapeError(
            f"linalg.matrix_norm(ord={ord!r})",
            hint="use 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2",
        )
    summed, extreme = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = A.abs().sum(summed, keepdim=True)
    result = sums.amax(extreme, True) if ord > 0 else sums.amin(extreme, True)
    return result if keepdim else _without(result, rows, columns)


def _spectral_norm(
    A: Tensor, ord: float | str, rows: int, columns: int, keepdim: bool
) -> Tensor:
    values = svdvals(A.movedim((rows, columns), (-2, -1)))
    if ord == "nuc":
        result = values.sum(-1)
    else:
        assert not isinstance(ord, str)
        result = values.amax(-1) if ord > 0 else values.amin(-1)
    if not keepdim:
        return result
    first, second = sorted((rows, columns))
    return result.unsqueeze(first).unsqueeze(second)


def _without(tensor: Tensor, *dims: int) -> Tensor:
    kept = [size for dim, size in enumerate(tensor.shape) if dim not in dims]
    return tensor.reshape(kept)


def norm(
    A: Tensor,
    ord: float | str | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    """A vector norm or a matrix norm, as ``dim`` says.

    One dimension is a vector's and two are a matrix's. Without ``dim`` the tensor's
    own dimensions decide, and without ``ord`` too it is the root of the sum of all
    squares.

    >>> tetragrad.linalg.norm(Tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    if dim is not None:
        count = 1 if isinstance(dim, int) else len(dim)
    elif ord is None:
        return vector_norm(A, 2, None, keepdim, dtype=dtype)
    else:
        count = A.ndim
    if ord is None or (count == 1 and not isinstance(ord, str)):
        return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    if count != 2:
        raise ShapeError(
            f"linalg.norm(ord={ord!r}, dim={dim}) of shape {A.shape}: that is neither "
            "a vector nor a matrix",
            hint="pass dim with one or two dimensions",
        )
    dims = (-2, -1) if dim is None else tuple(dim)  # type: ignore[arg-type]
    return matrix_norm(A, ord, dims, keepdim, dtype=dtype)


def _as_float(name: str, tensor: Tensor, dtype: Any) -> Tensor:
    if dtype is not None:
        tensor = tensor.to(to_dtype(dtype))
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        raise DTypeError(
            f"linalg.{name}() of {tensor.dtype}: it takes floating-point numbers",
            hint="convert them first, x.float()",
        )
    return tensor


def cond(A: Tensor, p: float | str | None = None) -> Tensor:
    """How much an error in b grows in the solution of A x = b: ‖A‖ ‖A⁻¹‖.

    Without ``p`` (or 2) it is the largest over the smallest singular value; -2 is
    the inverse of that. For other norms a singular matrix gives inf.

    >>> tetragrad.linalg.cond(Tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor(2.)
    """
    check_matrix("cond", A)
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        values = svdvals(A)
        if not values.shape[-1]:
            return values.sum(-1)
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    check_square("cond", A)
    if not A.shape[-1]:
        return A.abs().sum((-2, -1))
    inverse, info = inv_ex(A)
    product = matrix_norm(A, p) * matrix_norm(inverse, p)
    return product.masked_fill(info != 0, math.inf)


def matrix_rank(
    A: Tensor,
    tol: Any = None,
    *,
    atol: Any = None,
    rtol: Any = None,
    hermitian: bool = False,
) -> Tensor:
    """How many singular values are above max(atol, rtol × the largest), as int64.

    ``rtol`` is machine precision times max(m, n) if no tolerance is given.

    >>> tetragrad.linalg.matrix_rank(Tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    check_matrix("matrix_rank", A)
    if hermitian:
        check_square("matrix_rank", A)
        values = eigvalsh(A.detach()).abs()
    else:
        values = svdvals(A.detach())
    if not values.shape[-1]:
        return values.sum(-1).long()
    absolute, relative = tolerances_of(A, tol if atol is None else atol, rtol)
    limit = (relative * values.amax(-1)).maximum(absolute)
    return (values > limit.unsqueeze(-1)).sum(-1)
