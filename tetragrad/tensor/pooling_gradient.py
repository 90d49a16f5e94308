"""The gradient of max pooling where windows overlap, gathered by each input element.

The composition's own gradient makes all windows, which are larger than the input, and
adds them up where they overlap, one dimension after the other. An element instead asks
the few windows that it is in whether it is their largest:

    share_w = dy_w / (how many elements of window w equal its largest)
    dx_e = Σ_w share_w [x_e = y_w],  over the windows w with element e

Element e = stride i + phase is at place phase + padding - stride t of window i + t, so
the windows that it may be in are t = first … last for every i.
"""

from __future__ import annotations

from collections.abc import Callable

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import (
    Flip,
    Permute,
    Reshape,
    Shrink,
    Window,
    broadcast_to,
    pad,
)
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.reduce import Max, Sum
from tetragrad.tensor.reductions import drop_dims


@frozen(slots=True)
class Along:
    """The windows along one dimension of the input."""

    size: int
    kernel: int
    stride: int
    padding: int

    @property
    def first(self) -> int:
        """The first window that an element of group 0 may be in."""
        return -((self.kernel - 1 - self.padding) // self.stride)

    @property
    def last(self) -> int:
        """The last one."""
        return (self.stride - 1 + self.padding) // self.stride

    @property
    def count(self) -> int:
        """Windows that an element may be in."""
        return self.last - self.first + 1

    @property
    def groups(self) -> int:
        """Groups of ``stride`` elements."""
        return -(-self.size // self.stride)


@frozen(slots=True)
class MaxPoolRule:
    """The gradient of the source, whose windows ``cut`` gives."""

    source: Node
    cut: Callable[[Node], Node]
    first_dim: int
    along: tuple[Along, ...]

    def __call__(self, upstream: Node) -> tuple[Node]:
        largest, part = self._windows()
        shape = self._full_shape()
        source = broadcast_to(self._by_groups(self.source), shape)
        chosen: Node = ops.Eq(source, broadcast_to(self._seen(largest), shape))
        for number in self._numbers:
            inside = broadcast_to(self._inside(number), shape)
            chosen = ops.And(chosen, inside)
        # Parts are multiplied here: on the way out of the product that upstream may
        # be, every window would be read.
        share = ops.Mul(self._seen(upstream), self._seen(part))
        given = ops.Where(chosen, broadcast_to(share, shape), full_like(source, 0.0))
        found = Sum(given, tuple(self.first_dim + 3 * n + 2 for n in self._numbers))
        whole = (*self._lead, *(entry.groups * entry.stride for entry in self.along))
        bounds = [(0, size) for size in self.source.shape]
        return (Shrink(Reshape(found, whole), tuple(bounds)),)

    def _windows(self) -> tuple[Node, Node]:
        """The largest element of each window, and the part that each equal one gets."""
        windows = self.cut(self.source)
        dims = tuple(self.first_dim + 2 * n + 1 for n in self._numbers)
        largest = Max(windows, dims)
        equal = ops.Eq(windows, broadcast_to(largest, windows.shape))
        count = Sum(ops.Cast(equal, self.source.dtype), dims)
        part = ops.Div(full_like(count, 1.0), count)
        return drop_dims(largest, dims), drop_dims(part, dims)

    # --- shapes: group, phase and window for each dimension -------------------------

    @property
    def _numbers(self) -> range:
        return range(len(self.along))

    @property
    def _lead(self) -> Shape:
        return self.source.shape[: self.first_dim]

    def _shape(self, *sizes: tuple[int, ...]) -> Shape:
        return (*self._lead, *(size for triple in sizes for size in triple))

    def _full_shape(self) -> Shape:
        each = [(entry.groups, entry.stride, entry.count) for entry in self.along]
        return self._shape(*each)

    def _by_groups(self, node: Node) -> Node:
        """The input's elements, by group and phase."""
        edges = [(0, entry.groups * entry.stride - entry.size) for entry in self.along]
        padded = pad(node, (((0, 0),) * self.first_dim + tuple(edges)), 0)
        each = [(entry.groups, entry.stride, 1) for entry in self.along]
        return Reshape(padded, self._shape(*each))

    def _seen(self, node: Node) -> Node:
        """A value of each window, by group and window; 0 where there is no window."""
        for number, entry in enumerate(self.along):
            dim = self.first_dim + 2 * number
            windows, needed = node.shape[dim], entry.groups + entry.last
            edges = [(0, 0)] * node.ndim
            edges[dim] = (-entry.first, max(0, needed - windows))
            node = pad(node, tuple(edges), 0)
            bounds = [(0, size) for size in node.shape]
            bounds[dim] = (0, entry.groups + entry.count - 1)
            node = Window(Shrink(node, tuple(bounds)), dim, entry.count, 1, 1)
        each = [(entry.groups, 1, entry.count) for entry in self.along]
        return Reshape(node, self._shape(*each))

    def _inside(self, number: int) -> Node:
        """Whether the element is in the window, along one dimension."""
        entry = self.along[number]
        places = broadcast_to(constant(True, dtypes.bool_), (entry.kernel,))
        before = entry.stride * entry.last - entry.padding
        after = entry.stride * entry.count - before - entry.kernel
        places = pad(places, ((before, after),), False)
        places = Reshape(places, (entry.count, entry.stride))
        by_phase = Permute(Flip(places, (0,)), (1, 0))
        dim = self.first_dim + 3 * number + 1
        shape = [1] * (self.first_dim + 3 * len(self.along))
        shape[dim : dim + 2] = by_phase.shape
        return Reshape(by_phase, tuple(shape))
