"""Reductions and normalisations of the elements that a mask names.

The names and arguments are those of ``torch.masked``: a mask is True where an element
counts, and broadcasts to the tensor. What does not count is replaced by the value that
changes nothing: 0 in a sum, -inf in a maximum. ``dim=None`` means all dimensions.

>>> from tetragrad import Tensor, masked
>>> masked.sum(Tensor([1.0, 2.0, 3.0]), 0, mask=Tensor([True, False, True]))
tensor(4.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, to_dtype
from tetragrad.core.errors import DTypeError
from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]


def _converted(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else input.to(to_dtype(dtype))


def _filled(input: Tensor, mask: Tensor | None, value: Any) -> Tensor:
    """The tensor with a value in place of the elements that do not count."""
    return input if mask is None else input.masked_fill(mask.logical_not(), value)


def _counts(input: Tensor, mask: Tensor | None, dim: Any, keepdim: bool) -> Tensor:
    """How many elements count in each reduction."""
    ones = input.ones_like(dtype=dtypes.int64)
    return _filled(ones, mask, 0).sum(dim, keepdim)


# --- reductions -----------------------------------------------------------------------


@frozen(eq=False)
class _Given:
    """What a reduction got: a tensor, what counts in it, and how to reduce it."""

    tensor: Tensor
    mask: Tensor | None
    dim: Any
    keepdim: bool

    def filled(self, value: float | Callable[[DType], float]) -> Tensor:
        """The tensor with a value, or its dtype's, where elements do not count."""
        value = value(self.tensor.dtype) if callable(value) else value
        return _filled(self.tensor, self.mask, value)


class _Reduction(Protocol):
    def __call__(
        self,
        input: Tensor,
        dim: Any = None,
        *,
        keepdim: bool = False,
        dtype: Any = None,
        mask: Tensor | None = None,
    ) -> Tensor: ...


def _reduction(reduced: Callable[[_Given], Tensor]) -> _Reduction:
    """A function with the arguments that most reductions have."""

    def function(
        input: Tensor,
        dim: Any = None,
        *,
        keepdim: bool = False,
        dtype: Any = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return reduced(_Given(_converted(input, dtype), mask, dim, keepdim))

    function.__name__ = function.__qualname__ = reduced.__name__
    function.__doc__ = reduced.__doc__
    return function


@_reduction
def sum(given: _Given) -> Tensor:
    """The sum of the elements that count."""
    return given.filled(0).sum(given.dim, given.keepdim)


@_reduction
def prod(given: _Given) -> Tensor:
    """The product of the elements that count."""
    return given.filled(1).prod(given.dim, given.keepdim)


@_reduction
def amax(given: _Given) -> Tensor:
    """The largest element that counts; of none, the lowest value of the dtype."""
    return given.filled(dtypes.lowest).amax(given.dim, given.keepdim)


@_reduction
def amin(given: _Given) -> Tensor:
    """The smallest element that counts; of none, the highest value of the dtype."""
    return given.filled(dtypes.highest).amin(given.dim, given.keepdim)


@_reduction
def argmax(given: _Given) -> Tensor:
    """Where the largest element that counts is, in the dtype of the elements."""
    found = given.filled(dtypes.lowest).argmax(given.dim, given.keepdim)
    return found.to(given.tensor.dtype)


@_reduction
def argmin(given: _Given) -> Tensor:
    """Where the smallest element that counts is, in the dtype of the elements."""
    found = given.filled(dtypes.highest).argmin(given.dim, given.keepdim)
    return found.to(given.tensor.dtype)


@_reduction
def logsumexp(given: _Given) -> Tensor:
    """log(Σ exp(x)) of the elements that count, in the dtype of the elements."""
    result = given.filled(dtypes.lowest).logsumexp(given.dim, given.keepdim)
    return result.to(given.tensor.dtype)


@_reduction
def mean(given: _Given) -> Tensor:
    """The mean of the elements that count; of none, NaN."""
    if given.mask is None:
        return given.tensor.mean(given.dim, given.keepdim)
    total = given.filled(0).sum(given.dim, given.keepdim)
    return total / _counts(given.tensor, given.mask, given.dim, given.keepdim)


def median(
    input: Tensor,
    dim: int = -1,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The middle one of the elements that count; of none, NaN."""
    given = _converted(input, dtype)
    if not given.dtype.is_floating_point:
        raise DTypeError(f"masked.median() of {given.dtype}", hint="write x.float()")
    return _filled(given, mask, math.nan).nanmedian(dim, keepdim).values


def norm(
    input: Tensor,
    ord: float = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The norm of the elements that count."""
    from tetragrad import linalg

    given = _converted(input, dtype)
    neutral = math.inf if ord < 0 else 0.0
    filled = _filled(given, mask, neutral)
    return linalg.vector_norm(filled, ord, dim, keepdim)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The variance of the elements that count.

    It divides by their number less ``correction``, 1 by default (0 if not
    ``unbiased``).
    """
    given = _converted(input, dtype)
    given = given if given.dtype.is_floating_point else given.float()
    counts = _counts(given, mask, dim, True)
    average = sum(given, dim, keepdim=True, mask=mask) / counts
    squares = _filled((given - average).square(), mask, 0)
    total = squares.sum(dim, keepdim)
    if correction is None:
        correction = 0 if unbiased is False else 1
    divisor = _counts(given, mask, dim, keepdim) - correction
    return total / divisor.clamp(min=0)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The standard deviation of the elements that count; arguments as of ``var``."""
    variance = var(
        input,
        dim,
        unbiased,
        correction=correction,
        keepdim=keepdim,
        dtype=dtype,
        mask=mask,
    )
    return variance.sqrt()


# --- functions of one dimension -------------------------------------------------------


def cumsum(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The running sum of the elements that count."""
    return _filled(_converted(input, dtype), mask, 0).cumsum(dim)


def cumprod(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The running product of the elements that count."""
    return _filled(_converted(input, dtype), mask, 1).cumprod(dim)


def softmax(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The softmax over the elements that count; the others get 0."""
    return _filled(_converted(input, dtype), mask, -math.inf).softmax(dim)


def log_softmax(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The logarithm of ``softmax``."""
    return _filled(_converted(input, dtype), mask, -math.inf).log_softmax(dim)


def softmin(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The softmax of the negative elements that count."""
    return _filled(_converted(input, dtype), mask, math.inf).softmin(dim)


def normalize(
    input: Tensor,
    ord: float,
    dim: int,
    *,
    eps: float = 1e-12,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The elements that count divided by their norm, or by ``eps`` if it is larger."""
    given = _converted(input, dtype)
    size = norm(given, ord, dim, keepdim=True, mask=mask)
    return _filled(given, mask, 0) / size.clamp(min=eps)


def logaddexp(
    input: Tensor,
    other: Tensor,
    *,
    dtype: Any = None,
    input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:
    """log(exp(x) + exp(y)) of what counts of both."""
    first = _filled(_converted(input, dtype), input_mask, -math.inf)
    return first.logaddexp(_filled(_converted(other, dtype), other_mask, -math.inf))
