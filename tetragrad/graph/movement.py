"""The movement ops: the same values at other positions, never computed.

Each class says in its docstring where an output element comes from. ``move`` is the
definition on NumPy arrays; ``gradient`` is the adjoint, which is movement again
(with a sum where several outputs read one input).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import ShapeError
from tetragrad.graph.leaves import Constant, constant
from tetragrad.graph.node import Node, OfOneSource, Shape, size_of
from tetragrad.graph.sizes import by_sizes, same_sizes

Bounds = tuple[tuple[int, int], ...]


class Movement(OfOneSource):
    """An op that places elements of its source elsewhere."""

    __slots__ = ()

    def move(self, array: np.ndarray) -> np.ndarray:
        """The definition, on a NumPy array."""
        raise NotImplementedError


def constant_of(node: Node) -> Constant | None:
    """The constant that a node is a broadcast of, if it is one."""
    if node.device is not None:
        return None  # It is made of what a device holds.
    while isinstance(node, Expand | Reshape):
        node = node.sources[0]
    return node if isinstance(node, Constant) else None


def moved_constant(
    movement: type[Movement], source: Node, *arguments: Any
) -> Node | None:
    """Moving a constant around leaves the constant, in another shape."""
    found = constant_of(source)
    if found is None:
        return None
    shape, _ = movement.infer(source, *arguments)
    return broadcast_to(found, shape)


class Reshape(Movement):
    """The same elements in row-major order under another shape."""

    __slots__ = ()
    fields = ("source", "new_shape")

    @classmethod
    def simplify(cls, source: Node, new_shape: Shape) -> Node | None:
        """To its own shape -> x; reshape(reshape(x)) -> reshape(x)."""
        if same_sizes(source.shape, new_shape):
            return source
        if isinstance(source, Reshape):
            return Reshape(source.source, new_shape)
        return moved_constant(cls, source, new_shape) if source.shape else None

    @classmethod
    def infer(cls, source: Node, new_shape: Shape) -> tuple[Shape, DType]:
        if size_of(new_shape) != source.numel:
            raise ShapeError(
                f"cannot reshape {source.shape} ({source.numel} elements) "
                f"to {new_shape} ({size_of(new_shape)} elements)"
            )
        return new_shape, source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.shape)

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Reshape(upstream, self.source.shape),)


class Permute(Movement):
    """Dimension ``order[i]`` of the source becomes dimension ``i``."""

    __slots__ = ()
    fields = ("source", "order")

    @classmethod
    def simplify(cls, source: Node, order: tuple[int, ...]) -> Node | None:
        """In order -> x; permute(permute(x)) -> permute(x)."""
        if order == tuple(range(len(order))):
            return source
        if isinstance(source, Permute):
            cls.infer(source, order)
            return Permute(source.source, tuple(source.order[dim] for dim in order))
        return moved_constant(cls, source, order)

    @classmethod
    def infer(cls, source: Node, order: tuple[int, ...]) -> tuple[Shape, DType]:
        if sorted(order) != list(range(source.ndim)):
            raise ShapeError(
                f"{order} is not an order of the {source.ndim} dimensions "
                f"of shape {source.shape}"
            )
        return tuple(source.shape[dim] for dim in order), source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(self.order)

    def gradient(self, upstream: Node) -> tuple[Node]:
        inverse = tuple(self.order.index(dim) for dim in range(self.ndim))
        return (Permute(upstream, inverse),)


class Expand(Movement):
    """Dimensions of size 1 repeat up to the new size."""

    __slots__ = ()
    fields = ("source", "new_shape")

    @classmethod
    def simplify(cls, source: Node, new_shape: Shape) -> Node | None:
        """To its own shape -> x; expand(expand(x)) -> expand(x)."""
        if same_sizes(source.shape, new_shape):
            return source
        if isinstance(source, Expand):
            cls.infer(
                source, new_shape
            )  # The inner source may fit where this does not.
            return Expand(source.source, new_shape)
        return None

    @classmethod
    def infer(cls, source: Node, new_shape: Shape) -> tuple[Shape, DType]:
        if not _expands(source.shape, new_shape):
            raise ShapeError(
                f"cannot expand shape {source.shape} to {new_shape}",
                hint="only dimensions of size 1 repeat",
            )
        return new_shape, source.dtype

    @property
    def expanded_dims(self) -> tuple[int, ...]:
        """The dimensions that repeat."""
        return _dims_that_differ(self.source.shape, self.shape)

    def move(self, array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array, self.shape)

    def gradient(self, upstream: Node) -> tuple[Node]:
        # Expand and Sum are each other's adjoint, so one must import the other late.
        from tetragrad.graph.elementwise import Neg
        from tetragrad.graph.reduce import Sum

        if isinstance(upstream, Neg):
            # So that a sum of a selection is seen to be one.
            return (Neg(Sum(upstream.operand, self.expanded_dims)),)
        return (Sum(upstream, self.expanded_dims),)


class Shrink(Movement):
    """Output ``i`` is source ``start + i``, for each dimension's (start, stop)."""

    __slots__ = ()
    fields = ("source", "bounds")

    @classmethod
    def simplify(cls, source: Node, bounds: Bounds) -> Node | None:
        """Everything -> x; shrink(shrink(x)) -> shrink(x)."""
        if same_sizes(bounds, _everything(source.shape)):
            return source
        if isinstance(source, Shrink):
            cls.infer(source, bounds)  # The inner source may fit where this does not.
            moved = tuple(
                (first + start, first + stop)
                for (first, _), (start, stop) in zip(source.bounds, bounds, strict=True)
            )
            return Shrink(source.source, moved)
        return moved_constant(cls, source, bounds)

    @classmethod
    def infer(cls, source: Node, bounds: Bounds) -> tuple[Shape, DType]:
        shape = _cut_shape(source.shape, bounds)
        if shape is None:
            raise ShapeError(f"cannot cut {bounds} out of shape {source.shape}")
        return shape, source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return array[tuple(slice(start, stop) for start, stop in self.bounds)]

    def gradient(self, upstream: Node) -> tuple[Node]:
        padding = tuple(
            (start, size - stop)
            for (start, stop), size in zip(self.bounds, self.source.shape, strict=True)
        )
        return (pad(upstream, padding, 0.0),)


class Pad(Movement):
    """Output ``i`` is source ``i - before``, or the fill value outside of it."""

    __slots__ = ()
    fields = ("source", "padding", "fill")

    @classmethod
    def sources_of(cls, arguments: tuple[Any, ...]) -> tuple[Node, ...]:
        source, _, fill = arguments
        return source, fill

    @classmethod
    def simplify(cls, source: Node, padding: Bounds, fill: Constant) -> Node | None:
        """Nothing -> x; pad(pad(x)) with one fill -> pad(x)."""
        if not any(before or after for before, after in padding):
            return source
        if isinstance(source, Pad) and source.fill is fill:
            both = tuple(
                (inner[0] + outer[0], inner[1] + outer[1])
                for inner, outer in zip(source.padding, padding, strict=True)
            )
            return Pad(source.source, both, fill)
        return None

    @classmethod
    def infer(
        cls, source: Node, padding: Bounds, fill: Constant
    ) -> tuple[Shape, DType]:
        if len(padding) != source.ndim or min(map(min, padding)) < 0:
            raise ShapeError(
                f"padding {padding} does not fit shape {source.shape}",
                hint="give one pair of sizes >= 0 for each dimension",
            )
        shape = tuple(
            before + size + after
            for (before, after), size in zip(padding, source.shape, strict=True)
        )
        return shape, source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        result = np.full(self.shape, self.fill.array, self.dtype.numpy)
        inside = tuple(
            slice(before, before + size)
            for (before, _), size in zip(self.padding, self.source.shape, strict=True)
        )
        result[inside] = array
        return result

    def gradient(self, upstream: Node) -> tuple[Node, None]:
        bounds = tuple(
            (before, before + size)
            for (before, _), size in zip(self.padding, self.source.shape, strict=True)
        )
        return Shrink(upstream, bounds), None


class Flip(Movement):
    """Output ``i`` is source ``size - 1 - i`` in the named dimensions."""

    __slots__ = ()
    fields = ("source", "dims")

    @classmethod
    def simplify(cls, source: Node, dims: tuple[int, ...]) -> Node | None:
        """Nothing to flip -> x; flip(flip(x)) flips the dims that only one names."""
        if all(source.shape[dim] == 1 for dim in dims):
            return source
        if isinstance(source, Flip):
            once = set(source.dims) ^ set(dims)
            return Flip(source.source, tuple(sorted(once)))
        return moved_constant(cls, source, dims)

    @classmethod
    def infer(cls, source: Node, dims: tuple[int, ...]) -> tuple[Shape, DType]:
        return source.shape, source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, self.dims)

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Flip(upstream, self.dims),)


class Stride(Movement):
    """Output ``i`` is source ``i * step``, for each dimension's step."""

    __slots__ = ()
    fields = ("source", "steps")

    @classmethod
    def simplify(cls, source: Node, steps: tuple[int, ...]) -> Node | None:
        """Steps of 1 -> x."""
        if all(step == 1 for step in steps):
            return source
        return moved_constant(cls, source, steps)

    @classmethod
    def infer(cls, source: Node, steps: tuple[int, ...]) -> tuple[Shape, DType]:
        if len(steps) != source.ndim or min(steps) < 1:
            raise ShapeError(
                f"steps {steps} do not fit shape {source.shape}",
                hint="give one step >= 1 for each dimension",
            )
        return _strided_shape(source.shape, steps), source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return array[tuple(slice(None, None, step) for step in self.steps)]

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (dilate(upstream, self.steps, self.source.shape),)


def _strided_shape(shape: Shape, steps: tuple[int, ...]) -> Shape:
    return tuple(-(-size // step) for size, step in zip(shape, steps, strict=True))


class Window(Movement):
    """Dimension ``dim`` becomes two: output ``[i, k]`` is ``i*stride + k*dilation``.

    Sliding windows for convolution and pooling, as a view.
    """

    __slots__ = ()
    fields = ("source", "dim", "size", "stride", "dilation")

    @classmethod
    def simplify(
        cls, source: Node, dim: int, size: int, stride: int, dilation: int
    ) -> Node | None:
        """Windows onto a constant are the constant."""
        return moved_constant(cls, source, dim, size, stride, dilation)

    @classmethod
    def infer(
        cls, source: Node, dim: int, size: int, stride: int, dilation: int
    ) -> tuple[Shape, DType]:
        reach = (size - 1) * dilation + 1
        length = source.shape[dim]
        if min(size, stride, dilation) < 1 or reach > length:
            raise ShapeError(
                f"a window of {size} elements, {dilation} apart, spans {reach}; "
                f"dimension {dim} of {source.shape} has {length}",
                hint="pad the input, or use a smaller kernel or dilation",
            )
        count = (length - reach) // stride + 1
        before, after = source.shape[:dim], source.shape[dim + 1 :]
        return (*before, count, size, *after), source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        count, size = self.shape[self.dim : self.dim + 2]
        starts = np.arange(count)[:, None] * self.stride
        offsets = np.arange(size)[None, :] * self.dilation
        return np.take(array, starts + offsets, axis=self.dim)

    def gradient(self, upstream: Node) -> tuple[Node]:
        from tetragrad.graph.folding import fold

        length = self.source.shape[self.dim]
        return (fold(upstream, self.dim, self.stride, self.dilation, length),)


class Skew(Movement):
    """Output ``[p, k]`` is source ``[p + start - k*step, k]``, or 0 outside of it.

    ``dim`` and ``dim + 1`` are the two dimensions. A diagonal view: with it the
    adjoint of overlapping windows is a sum, not a scatter.
    """

    __slots__ = ()
    fields = ("source", "dim", "step", "start", "length")

    @classmethod
    def simplify(
        cls, source: Node, dim: int, step: int, start: int, length: int
    ) -> Node | None:
        """A window of one position is not skewed: some of the source, and zeros."""
        count, size = source.shape[dim : dim + 2]
        first, end = max(0, start), min(count, start + length)
        if size != 1 or first >= end:
            return None
        cut = tuple(
            (first, end) if axis == dim else (0, extent)
            for axis, extent in enumerate(source.shape)
        )
        before = first - start
        around = tuple(
            (before, length - before - (end - first)) if axis == dim else (0, 0)
            for axis in range(source.ndim)
        )
        return pad(Shrink(source, cut), around, 0)

    @classmethod
    def infer(
        cls, source: Node, dim: int, step: int, start: int, length: int
    ) -> tuple[Shape, DType]:
        before, after = source.shape[:dim], source.shape[dim + 1 :]
        return (*before, length, *after), source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        count, size = array.shape[self.dim : self.dim + 2]
        positions = np.arange(self.length)[:, None] + self.start
        positions = positions - np.arange(size)[None, :] * self.step
        inside = (positions >= 0) & (positions < count)
        moved = np.moveaxis(array, (self.dim, self.dim + 1), (0, 1))
        picked = moved[
            np.clip(positions, 0, max(count - 1, 0)), np.arange(size)[None, :]
        ]
        inside = inside.reshape(inside.shape + (1,) * (picked.ndim - 2))
        picked = np.where(inside, picked, np.zeros((), picked.dtype))
        return np.moveaxis(picked, (0, 1), (self.dim, self.dim + 1))

    def gradient(self, upstream: Node) -> tuple[Node]:
        count = self.source.shape[self.dim]
        return (Skew(upstream, self.dim, -self.step, -self.start, count),)


class Kept(Movement):
    """The source where it was, and in memory: nobody who reads it computes it again.

    For what many places read, each of them elsewhere, as a stage of a sort.
    """

    __slots__ = ()
    fields = ("source",)

    @classmethod
    def simplify(cls, source: Node) -> Node | None:
        """What needs no memory, or is kept already, stays what it is."""
        return source if source.device is None or isinstance(source, Kept) else None

    @classmethod
    def infer(cls, source: Node) -> tuple[Shape, DType]:
        return source.shape, source.dtype

    def move(self, array: np.ndarray) -> np.ndarray:
        return array

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (upstream,)


# --- what movement does to shapes --------------------------------------------------


@by_sizes
def _expands(old: Shape, new: Shape) -> bool:
    """Whether dimensions of size 1 repeat up to the new sizes."""
    return len(new) == len(old) and all(
        before in (after, 1) for before, after in zip(old, new, strict=True)
    )


@by_sizes
def _dims_that_differ(old: Shape, new: Shape) -> tuple[int, ...]:
    return tuple(
        dim
        for dim, (before, after) in enumerate(zip(old, new, strict=True))
        if not same_sizes(before, after)
    )


@by_sizes
def _cut_shape(shape: Shape, bounds: Bounds) -> Shape | None:
    """The shape of a part; None if the bounds do not lie in the whole."""
    fits = len(bounds) == len(shape) and all(
        0 <= start <= stop <= size
        for (start, stop), size in zip(bounds, shape, strict=True)
    )
    return tuple(stop - start for start, stop in bounds) if fits else None


@by_sizes
def _everything(shape: Shape) -> Bounds:
    return tuple((0, size) for size in shape)


# --- compositions ----------------------------------------------------------------


def broadcast_to(source: Node, shape: Shape) -> Node:
    """Repeat a value up to ``shape``, aligning dimensions from the right."""
    if same_sizes(source.shape, shape):
        return source
    missing = len(shape) - len(source.shape)
    if missing < 0:
        raise ShapeError(f"cannot broadcast shape {source.shape} to {shape}")
    if missing:
        source = Reshape(source, (1,) * missing + source.shape)
    return Expand(source, shape)


def pad(source: Node, padding: Bounds, value: Any) -> Node:
    """Surround the source with ``value``, converted to its dtype."""
    return Pad(source, padding, constant(value, source.dtype))


def dilate(source: Node, steps: tuple[int, ...], shape: Shape) -> Node:
    """Element ``i`` moves to ``i * step``, zeros between, up to ``shape``.

    The adjoint of Stride: split each dimension into (element, step), pad the second
    from 1 to ``step``, and join them.
    """
    split = tuple(entry for size in source.shape for entry in (size, 1))
    gaps = tuple(pair for step in steps for pair in ((0, 0), (0, step - 1)))
    spread = pad(Reshape(source, split), gaps, 0)
    joined = tuple(size * step for size, step in zip(source.shape, steps, strict=True))
    spread = Reshape(spread, joined)
    cut = tuple((0, min(old, new)) for old, new in zip(joined, shape, strict=True))
    spread = Shrink(spread, cut)
    rest = tuple((0, new - old) for old, new in zip(spread.shape, shape, strict=True))
    return pad(spread, rest, 0)
