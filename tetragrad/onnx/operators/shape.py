"""Shapes: reshape, transpose, slice, join, pad, and what makes new tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.onnx.graph import Node
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import (
    Host,
    Value,
    cast_tensor,
    element_type,
    to_tensor,
)
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.joining import cat


def shape_of(x: Value) -> tuple[int, ...]:
    """The sizes of a tensor or array."""
    assert isinstance(x, Tensor | np.ndarray)
    return tuple(x.shape)


def listed(array: Host) -> list[int]:
    """Whole numbers of a vector."""
    return [int(entry) for entry in array.ravel()]


@operator("Shape")
def shape(x: Value, *, start: int = 0, end: int | None = None) -> Host:
    return np.asarray(shape_of(x)[start:end], np.int64)


@operator("Size")
def size(x: Value) -> Host:
    return np.asarray(math.prod(shape_of(x)), np.int64)


@operator("Reshape")
def reshape(x: Tensor, shape: Host, *, allowzero: int = 0) -> Tensor:
    return x.reshape(resolved_shape(x.shape, listed(shape), bool(allowzero)))


def resolved_shape(
    old: Sequence[int], wanted: list[int], allows_zero: bool
) -> list[int]:
    """0 stands for the old size, unless zero is allowed; -1 for what is left."""
    if not allows_zero:
        wanted = [old[dim] if size == 0 else size for dim, size in enumerate(wanted)]
    if -1 in wanted:
        known = math.prod(size for size in wanted if size != -1)
        rest = math.prod(old) // known if known else 0
        wanted = [rest if size == -1 else size for size in wanted]
    return wanted


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose")
def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(*(reversed(range(x.ndim)) if perm is None else perm))


@operator("Squeeze")
def squeeze(x: Tensor, axes: Host | None = None) -> Tensor:
    if axes is None:
        return x.squeeze()
    dims = {dim % x.ndim for dim in listed(axes)}
    for dim in dims:
        if x.shape[dim] != 1:
            raise ShapeError(f"Squeeze of dimension {dim} of shape {x.shape}")
    return x.reshape([size for dim, size in enumerate(x.shape) if dim not in dims])


@operator("Unsqueeze")
def unsqueeze(x: Tensor, axes: Host) -> Tensor:
    ndim = x.ndim + axes.size
    dims = {dim % ndim for dim in listed(axes)}
    if len(dims) != axes.size:
        raise ShapeError(f"Unsqueeze with axes {listed(axes)}, one of them twice")
    sizes = iter(x.shape)
    return x.reshape([1 if dim in dims else next(sizes) for dim in range(ndim)])


@operator("Expand")
def expand(x: Tensor, shape: Host) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(listed(shape))))


@operator("Tile", since=6)
def tile(x: Tensor, repeats: Host) -> Tensor:
    return x.repeat(*listed(repeats)) if x.ndim else x


@operator("Tile", since=1)
def tile_1(x: Tensor, tiles: Host, axis: Host) -> Tensor:
    repeats = [1] * x.ndim
    repeats[int(axis.item())] = int(tiles.item())
    return x.repeat(*repeats)


@operator("Concat")
def concat(*values: Tensor, axis: int = 1) -> Tensor:
    return values[0] if len(values) == 1 else cat(list(values), axis)


@operator("Split")
def split(
    x: Tensor,
    split: Host | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    node: Node,
) -> tuple[Tensor, ...]:
    """Into parts of given sizes, or of one size and perhaps a smaller last one."""
    count = num_outputs or len(node.outputs)
    if split is None:
        size = -(-x.shape[axis] // count)
        rest = x.shape[axis] - size * (count - 1)
        sizes = [size] * (count - 1) + [rest]
    else:
        sizes = listed(split)
    if min(sizes, default=0) < 0 or sum(sizes) != x.shape[axis]:
        raise ShapeError(f"Split of {x.shape[axis]} elements into parts of {sizes}")
    return tuple(x.split(sizes, axis))


@operator("Slice", since=10)
def slice_(
    x: Tensor,
    starts: Host,
    ends: Host,
    axes: Host | None = None,
    steps: Host | None = None,
) -> Tensor:
    return x[slices(x.ndim, starts, ends, axes, steps)]


@operator("Slice", since=1)
def slice_1(x: Tensor, starts: Host, ends: Host, axes: Host | None = None) -> Tensor:
    return x[slices(x.ndim, starts, ends, axes, None)]


def slices(
    ndim: int, starts: Host, ends: Host, axes: Host | None, steps: Host | None
) -> tuple[slice, ...]:
    """Python slices, one a dimension; ONNX's bounds mean what Python's mean."""
    found = [slice(None)] * ndim
    dims = range(starts.size) if axes is None else listed(axes)
    by = [1] * starts.size if steps is None else listed(steps)
    for dim, start, end, step in zip(
        dims, listed(starts), listed(ends), by, strict=True
    ):
        if not -ndim <= dim < ndim or step == 0:
            raise ShapeError(f"Slice of dimension {dim} of {ndim} by steps of {step}")
        # Walking back, an end before the first element includes the first one.
        reaches_front = step < 0 and end < 0 and end < -(2**31) + 1
        found[dim] = slice(start, None if reaches_front else end, step)
    return tuple(found)


@operator("Pad", since=11)
def pad(
    x: Tensor,
    pads: Host,
    constant_value: Host | None = None,
    axes: Host | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    edges = _edges(x.ndim, listed(pads), None if axes is None else listed(axes))
    value = 0 if constant_value is None else constant_value.item()
    return padded(x, edges, mode, value)


@operator("Pad", since=1)
def pad_1(
    x: Tensor,
    pads: Host | None = None,
    paddings: Host | None = None,
    *,
    value: float = 0.0,
    mode: str = "constant",
) -> Tensor:
    given = paddings if pads is None else pads
    assert given is not None
    return padded(x, _edges(x.ndim, listed(given), None), mode, value)


def _edges(ndim: int, pads: list[int], axes: list[int] | None) -> list[tuple[int, int]]:
    """How much is added before and after each dimension."""
    dims = list(range(ndim)) if axes is None else [dim % ndim for dim in axes]
    if len(pads) != 2 * len(dims):
        raise ShapeError(f"Pad of {len(dims)} dimensions by {pads}")
    edges = [(0, 0)] * ndim
    for place, dim in enumerate(dims):
        edges[dim] = (pads[place], pads[place + len(dims)])
    return edges


def padded(
    x: Tensor, edges: Sequence[tuple[int, int]], mode: str, value: Any = 0
) -> Tensor:
    """The tensor with elements added around it, or taken off where negative."""
    if mode == "constant":
        flat = [size for pair in reversed(edges) for size in pair]
        return x.pad(flat, value=value)
    for dim, (before, after) in enumerate(edges):
        if before or after:
            x = _extended(x, dim, _reach(x.shape[dim], before, after, mode))
    return x


def _extended(x: Tensor, dim: int, places: np.ndarray) -> Tensor:
    """The elements at these places of a dimension, in runs: movement, no lookup."""
    runs = []
    start = 0
    while start < len(places):
        stop = _end_of_run(places, start)
        runs.append(_run(x, dim, places[start:stop]))
        start = stop
    return cat(runs, dim)


def _end_of_run(places: np.ndarray, start: int) -> int:
    """Where places stop to go up by one, to go down by one, or to stay."""
    steps = np.diff(places[start:])
    if not len(steps) or abs(steps[0]) > 1:
        return start + 1
    changes = np.flatnonzero(steps != steps[0])
    return start + 1 + int(changes[0] if len(changes) else len(steps))


def _run(x: Tensor, dim: int, places: np.ndarray) -> Tensor:
    first, last = int(places[0]), int(places[-1])
    part = x.cut(dim, min(first, last), max(first, last) + 1)
    if last < first:
        return part.flip(dim)
    sizes = list(x.shape)
    sizes[dim] = len(places)
    return part if part.shape[dim] == len(places) else part.expand(sizes)


def _reach(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """The element that stands at each place of a padded dimension."""
    places = np.arange(-before, size + after)
    if size == 0:
        raise ShapeError(f"Pad with mode {mode!r} of a dimension without elements")
    if mode == "edge":
        return places.clip(0, size - 1)
    if mode == "wrap":
        return places % size
    if mode == "reflect":
        period = max(2 * (size - 1), 1)
        places = np.abs(places) % period
        return np.where(places < size, places, period - places)
    raise ShapeError(f"there is no Pad mode {mode!r}")


@operator("ConstantOfShape")
def constant_of_shape(shape: Host, *, value: Host | None = None) -> Value:
    filler = np.zeros(1, np.float32) if value is None else value
    return filled(listed(shape), filler)


def filled(shape: Sequence[int], filler: Host) -> Value:
    """One value everywhere, without memory if a device has its type."""
    if filler.dtype not in {entry.numpy for entry in dtypes.ARITHMETIC}:
        return np.full(shape, filler.item(), filler.dtype)
    return to_tensor(filler.reshape(())).expand(list(shape))


@operator("Range")
def range_(start: Host, limit: Host, delta: Host, *, stash_type: int = 1) -> Value:
    return host_range(start, limit, delta)


def host_range(start: Host, limit: Host, delta: Host) -> Value:
    """start, start + delta, …, computed on the device if there are many."""
    first, step = start.item(), delta.item()
    exact = np.float64 if start.dtype.kind != "i" else object
    reach = np.asarray(limit, exact).item() - np.asarray(start, exact).item()
    count = max(0, math.ceil(reach / step))
    if count <= 1024:
        return (np.arange(count) * step + first).astype(start.dtype)
    places = Tensor.arange(count)
    work = dtypes.int64 if start.dtype.kind in "iu" else dtypes.float64
    return cast_tensor(places.to(work) * step + first, start.dtype)


@operator("EyeLike")
def eye_like(x: Value, *, dtype: int | None = None, k: int = 0) -> Tensor:
    rows, columns = shape_of(x)
    difference = Tensor.arange(columns) - Tensor.arange(rows).unsqueeze(1)
    wanted = to_tensor(x).dtype.numpy if dtype is None else element_type(dtype)
    return cast_tensor(difference.eq(k), wanted)


@operator("Trilu")
def trilu(x: Tensor, k: Host | None = None, *, upper: int = 1) -> Tensor:
    diagonal = 0 if k is None else int(k.item())
    # Beyond the matrix it does not matter how far.
    limit = max(x.shape[-2:])
    diagonal = min(max(diagonal, -limit), limit)
    return x.triu(diagonal) if upper else x.tril(diagonal)


@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    batch, channels, height, width = x.shape
    inner = channels // blocksize**2
    if mode == "DCR":
        apart = x.reshape(batch, blocksize, blocksize, inner, height, width)
        apart = apart.permute(0, 3, 4, 1, 5, 2)
    else:
        apart = x.reshape(batch, inner, blocksize, blocksize, height, width)
        apart = apart.permute(0, 1, 4, 2, 5, 3)
    return apart.reshape(batch, inner, height * blocksize, width * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    batch, channels, height, width = x.shape
    rows, columns = height // blocksize, width // blocksize
    apart = x.reshape(batch, channels, rows, blocksize, columns, blocksize)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return apart.permute(order).reshape(batch, channels * blocksize**2, rows, columns)


@operator("Constant")
def constant(**attributes: Any) -> Value:
    return constant_value(**attributes)


def constant_value(**attributes: Any) -> Value:
    """The value that a Constant node brings, in one of its eight attributes."""
    ((name, value),) = attributes.items()
    kinds: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}
    kinds |= {"value_string": object, "value_strings": object}
    return np.asarray(value, kinds[name]) if name in kinds else value


@operator("ReverseSequence")
def reverse_sequence(
    x: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    """The first so many steps of each sequence backwards, the rest as they are."""
    steps = x.shape[time_axis]
    place = Tensor.arange(steps).unsqueeze(0)
    lengths = sequence_lens.to(dtypes.int64).unsqueeze(1)
    source = where(place < lengths, lengths - 1 - place, place)
    moved = x.movedim((batch_axis, time_axis), (0, 1))
    spread = source.reshape(*source.shape, *(1,) * (x.ndim - 2)).expand(moved.shape)
    return moved.gather(1, spread).movedim((0, 1), (batch_axis, time_axis))
