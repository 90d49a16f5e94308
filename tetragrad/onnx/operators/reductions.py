"""Sums, means and extremes over dimensions, and where the extremes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host
from tetragrad.tensor import Tensor

Dims = tuple[int, ...]


def _register(name: str, function: Callable[[Tensor, Dims, bool], Tensor]) -> None:
    @operator(name)
    def compute(
        x: Tensor,
        axes: Host | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        dims = () if axes is None else tuple(int(dim) % x.ndim for dim in axes.ravel())
        if not dims and noop_with_empty_axes:
            return _elementwise(name, x, function)
        dims = dims or tuple(range(x.ndim))
        return function(x, dims, bool(keepdims)).to(x.dtype)


def _elementwise(name: str, x: Tensor, function: Callable[..., Tensor]) -> Tensor:
    """No dimension is reduced, but what the reduction does to elements is done."""
    if name in _PLAIN:
        return x
    return function(x.unsqueeze(-1), (x.ndim,), False).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """Floats, so that the mean or the norm of integers has a fraction."""
    return x if x.dtype.is_floating_point else x.to(dtypes.float64)


def _prod(x: Tensor, dims: Dims, keep: bool) -> Tensor:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


def _extreme(x: Tensor, dims: Dims, keep: bool, largest: bool) -> Tensor:
    """Of nothing it is the worst value there is."""
    if all(x.shape[dim] for dim in dims):
        return x.amax(dims, keep) if largest else x.amin(dims, keep)
    bound = dtypes.lowest(x.dtype) if largest else dtypes.highest(x.dtype)
    sizes = [1 if dim in dims else size for dim, size in enumerate(x.shape)]
    kept = [size for dim, size in enumerate(sizes) if keep or dim not in dims]
    return Tensor.full(kept, bound, dtype=x.dtype)


_PLAIN = frozenset(("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceSum"))

_REDUCTIONS: dict[str, Callable[[Tensor, Dims, bool], Tensor]] = {
    "ReduceSum": lambda x, dims, keep: x.sum(dims, keep),
    "ReduceMean": lambda x, dims, keep: _wide(x).mean(dims, keep),
    "ReduceProd": _prod,
    "ReduceMax": lambda x, dims, keep: _extreme(x, dims, keep, True),
    "ReduceMin": lambda x, dims, keep: _extreme(x, dims, keep, False),
    "ReduceL1": lambda x, dims, keep: x.abs().sum(dims, keep),
    "ReduceL2": lambda x, dims, keep: _wide(x).square().sum(dims, keep).sqrt(),
    "ReduceSumSquare": lambda x, dims, keep: x.square().sum(dims, keep),
    "ReduceLogSum": lambda x, dims, keep: _wide(x).sum(dims, keep).log(),
    "ReduceLogSumExp": lambda x, dims, keep: _log_sum_exp(x, dims, keep),
}


def _log_sum_exp(x: Tensor, dims: Dims, keep: bool) -> Tensor:
    if not all(x.shape[dim] for dim in dims):
        return x.sum(dims, keep).log()
    return _wide(x).logsumexp(dims, keep)


for _name, _function in _REDUCTIONS.items():
    _register(_name, _function)


@operator("ArgMax")
def arg_max(
    x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Tensor:
    return _arg_extreme(Tensor.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(
    x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Tensor:
    return _arg_extreme(Tensor.argmin, x, axis, keepdims, select_last_index)


def _arg_extreme(function: Any, x: Tensor, axis: int, keep: int, last: int) -> Tensor:
    if not last:
        return function(x, axis, keepdim=bool(keep))
    found = function(x.flip(axis), axis, keepdim=bool(keep))
    return x.shape[axis] - 1 - found
