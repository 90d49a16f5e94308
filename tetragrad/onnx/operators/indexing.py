"""Gather and scatter, and what else selects elements by index or value."""

from __future__ import annotations

import math

import numpy as np

from tetragrad.core import dtypes
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import STORED_ONLY, Host, Value, to_host, to_tensor
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where


@operator("Gather")
def gather(x: Value, indices: Value, *, axis: int = 0) -> Value:
    """An index that the host knows is a slice, or taken without looking it up."""
    if isinstance(x, np.ndarray) and x.dtype in STORED_ONLY:
        return np.asarray(np.take(x, to_host(indices), axis))
    tensor = to_tensor(x)
    axis %= tensor.ndim
    if isinstance(indices, np.ndarray) and indices.size == 1:
        place = int(indices.item()) % tensor.shape[axis]
        taken = tensor.narrow(axis, place, 1)
        return taken.reshape(_replaced(tensor.shape, axis, indices.shape))
    found = to_tensor(indices).to(dtypes.int64)
    taken = tensor.index_select(axis, found.reshape(-1))
    return taken.reshape(_replaced(tensor.shape, axis, found.shape))


def _replaced(
    shape: tuple[int, ...], axis: int, inner: tuple[int, ...]
) -> tuple[int, ...]:
    return (*shape[:axis], *inner, *shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x.gather(axis, indices)


@operator("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Each row of the indices names a place in the dimensions after the batch."""
    batch = math.prod(x.shape[:batch_dims])
    width = indices.shape[-1]
    chosen = x.shape[batch_dims : batch_dims + width]
    inner = x.shape[batch_dims + width :]
    places = _flat_places(indices, chosen).reshape(batch, -1)
    places = places + Tensor.arange(batch).unsqueeze(1) * math.prod(chosen)
    rows = x.reshape(-1, math.prod(inner))
    taken = rows.index_select(0, places.reshape(-1))
    return taken.reshape(*indices.shape[:-1], *inner)


def _flat_places(indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The row-major place of each row of indices; negative ones from the end."""
    found = indices.to(dtypes.int64)
    limits = Tensor(np.asarray(sizes, np.int64))
    found = where(found < 0, found + limits, found)
    strides = [math.prod(sizes[dim + 1 :]) for dim in range(len(sizes))]
    return (found * Tensor(np.asarray(strides, np.int64))).sum(-1)


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("ScatterElements")
def scatter_elements(
    x: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    reduction: str = "none",
) -> Tensor:
    indices = indices.to(dtypes.int64)
    if reduction == "none":
        return x.scatter(axis, indices, updates)
    return x.scatter_reduce(axis, indices, updates, _REDUCE[reduction])


@operator("Scatter")
def scatter(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    return x.scatter(axis, indices.to(dtypes.int64), updates)


@operator("ScatterND")
def scatter_nd(
    x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none"
) -> Tensor:
    width = indices.shape[-1]
    inner = math.prod(x.shape[width:])
    places = _flat_places(indices, x.shape[:width]).reshape(-1)
    rows = x.reshape(-1, inner)
    new = updates.reshape(-1, inner)
    if not new.numel():
        return x
    spread = places.unsqueeze(1).expand(new.shape)
    if reduction == "none":
        return rows.scatter(0, spread, new).reshape(x.shape)
    return rows.scatter_reduce(0, spread, new, _REDUCE[reduction]).reshape(x.shape)


@operator("TensorScatter")
def tensor_scatter(
    past: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Tensor:
    """Write new steps of each sample into a cache, from that sample's place on."""
    axis %= past.ndim
    count, size = update.shape[axis], past.shape[axis]
    steps = Tensor.arange(count).unsqueeze(0)
    if write_indices is not None:
        steps = steps + write_indices.to(dtypes.int64).unsqueeze(1)
    if mode == "circular":
        steps = steps % size
    shape = [1] * past.ndim
    shape[0], shape[axis] = steps.shape
    return past.scatter(axis, steps.reshape(shape).expand(update.shape), update)


@operator("OneHot")
def one_hot(indices: Tensor, depth: Host, values: Tensor, *, axis: int = -1) -> Tensor:
    """``values`` is (off, on); a negative index counts from the end."""
    count = int(depth.item())
    whole = indices.to(dtypes.int64)
    whole = where(whole < 0, whole + count, whole)
    axis = axis % (indices.ndim + 1)
    places = Tensor.arange(count).reshape(
        [count if dim == axis else 1 for dim in range(indices.ndim + 1)]
    )
    return where(whole.unsqueeze(axis).eq(places), values[1], values[0])


@operator("TopK", since=10)
def top_k(
    x: Tensor, k: Host, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    found = x.topk(int(k.item()), axis, bool(largest), True)
    return found.values, found.indices


@operator("TopK", since=1)
def top_k_1(x: Tensor, k: Host, *, axis: int = -1) -> tuple[Tensor, Tensor]:
    return top_k(x, k, axis=axis)


@operator("NonZero")
def nonzero(x: Host) -> Host:
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)


@operator("Compress")
def compress(x: Tensor, condition: Host, *, axis: int | None = None) -> Tensor:
    """The elements where the condition holds; how many these are, the host decides."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    places = np.flatnonzero(condition[: x.shape[axis]])
    return x.index_select(axis, Tensor(places.astype(np.int64)))


@operator("Unique")
def unique(
    x: Host, *, axis: int | None = None, sorted: int = 1
) -> tuple[Value, Value, Value, Value]:
    """Distinct elements or slices, on the host: their number is in the values."""
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        places = np.argsort(order)
        values = np.take(values, order, 0 if axis is None else axis)
        first, counts, inverse = first[order], counts[order], places[inverse]
    return (
        values,
        first.astype(np.int64),
        inverse.astype(np.int64),
        counts.astype(np.int64),
    )


@operator("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(x: Value, indices: Host) -> Value:
    if isinstance(x, np.ndarray):
        return x[..., indices.ravel()]
    assert isinstance(x, Tensor)
    return x.index_select(-1, Tensor(indices.ravel()))
