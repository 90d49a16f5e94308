"""From graph to kernel: follow coordinates from the outputs back to the loads.

Before: a group of graph nodes to compute, and the set of nodes that are in memory.
After: one canonical kernel whose loads have affine addresses, with the nodes that
fill its slots. Elementwise ops become expressions, movement disappears into
addresses, reductions bind loop axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen, replace
from tetragrad.graph.elementwise import Cast, Elementwise, Eq, Where
from tetragrad.graph.extents import NO_EXTENTS, Extents
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    Iota,
    LaunchValue,
    SizeValue,
    is_given_at_launch,
)
from tetragrad.graph.markers import Marker
from tetragrad.graph.movement import Movement, Reshape
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.reduce import Max, Reduce, Sum
from tetragrad.kernel import recognise, simplify
from tetragrad.kernel.affine import ZERO, Affine, SplitAxis, axis_form, of_atom
from tetragrad.kernel.bounds import Domain
from tetragrad.kernel.coordinates import Coordinates, covering_axes, linear, origin
from tetragrad.kernel.expression import (
    Expression,
    Given,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Remainder,
    Scalar,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot
from tetragrad.kernel.layouts.orders import ROW_MAJOR, Layouts, permuted
from tetragrad.kernel.memory import ALIGNMENT
from tetragrad.kernel.shared_axes import share_axes
from tetragrad.kernel.simplify import as_form
from tetragrad.kernel.substitution import move_loads, simplify_guard

MAXIMUM_SPLITS = 64


@frozen
class Lowered:
    """A kernel and what its arguments are.

    ``offsets`` says from which element on the kernel sees each input, so that equal
    work on different slices of a buffer is one kernel.
    """

    kernel: Kernel
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    scalars: tuple[LaunchValue, ...]
    offsets: tuple[int, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What fills the kernel's slots."""
        return (*self.inputs, *self.outputs)


def lower(
    roots: Sequence[Node],
    in_memory: Set[Node],
    extents: Extents = NO_EXTENTS,
    layouts: Layouts = ROW_MAJOR,
) -> Lowered:
    """The kernel that computes all roots, loading from nodes that are in memory.

    All roots have one shape, or are reductions to one shape. Axes are split on
    demand: where a reshape needs an axis as two, lowering starts again with it so.
    """
    splits: dict[Any, list[int]] = {}
    for _ in range(MAXIMUM_SPLITS):
        lowering = _Lowering(in_memory - set(roots), splits, extents, layouts)
        try:
            return lowering.run(roots)
        except SplitAxis as request:
            lowering.split(request)
    raise AssertionError(f"lowering of {roots} does not settle")


def _expressions_of(outputs: Sequence[Output]) -> list[Expression]:
    """The values of outputs, and what their addresses and guards are made of."""
    found = [output.value for output in outputs]
    for output in outputs:
        for form in (output.address, *output.guard):
            found += [atom for atom, _ in form.terms if not isinstance(atom, int)]
    return found


def _moved(output: Output, starts: Mapping[int, int]) -> Output:
    """The output with its loads counted from the start of what is read."""

    def form(old: Affine) -> Affine:
        return old.substitute({}, lambda atom: move_loads(atom, starts))

    return replace(
        output,
        value=move_loads(output.value, starts),
        address=form(output.address),
        guard=tuple(form(entry) for entry in output.guard),
    )


Request = tuple[Node, Coordinates, Guard]


@frozen(slots=True)
class Step:
    """One element's demands, and how to finish it once they are known."""

    needs: tuple[Request, ...]
    finish: Callable[[Sequence[Expression]], Expression]


def _given(value: Expression) -> Step:
    return Step((), lambda values: value)


class _Lowering:
    """One attempt at lowering, with the axis splits known so far."""

    def __init__(
        self,
        in_memory: Set[Node],
        splits: dict[Any, list[int]],
        extents: Extents,
        layouts: Layouts,
    ) -> None:
        self.in_memory = in_memory
        self.extents = extents
        self.layouts = layouts
        self.splits = splits
        self.sizes: list[int] = []
        self.axis_keys: list[tuple[Any, int]] = []
        self.axes_by_key: dict[Any, Affine] = {}
        self.slots: dict[Node, int] = {}
        self.scalars: dict[LaunchValue, int] = {}
        self.known: dict[tuple[Any, ...], Expression] = {}

    # --- outputs ---------------------------------------------------------------

    def run(self, roots: Sequence[Node]) -> Lowered:
        values = []
        # Roots share their axes; one reduced to size 1 keeps the axis as a shadow.
        domain = tuple(map(max, *(root.shape for root in roots), roots[0].shape))
        # Axes are in the order in which the first root lies in memory.
        forms = {
            dim: self.axis(("stored", dim), domain[dim])
            for dim in self.layouts.get(roots[0], range(len(domain)))
        }
        coordinates = tuple(forms[dim] for dim in range(len(domain)))
        for root in roots:
            values.append((root, coordinates, self.value_of(root, coordinates, ())))
        outputs = tuple(
            self.output(root, coordinates, value, len(self.slots) + position)
            for position, (root, coordinates, value) in enumerate(values)
        )
        if len(outputs) > 1:
            outputs = share_axes(outputs, self.sizes)
        parts = self.parts_read(outputs)
        starts = {slot: part.start for slot, part in enumerate(parts) if part.start}
        if starts:
            outputs = tuple(_moved(output, starts) for output in outputs)
        slots = [
            Slot(node.dtype, len(part))
            for node, part in zip(self.slots, parts, strict=True)
        ]
        slots += [Slot(root.dtype, root.numel) for root in roots]
        scalars = tuple(constant.dtype for constant in self.scalars)
        kernel = Kernel(tuple(self.sizes), tuple(slots), scalars, outputs)
        offsets = tuple(part.start for part in parts)
        inputs = tuple(self.slots)
        return Lowered(kernel, inputs, tuple(roots), tuple(self.scalars), offsets)

    def parts_read(self, outputs: Sequence[Output]) -> list[range]:
        """For each input, the elements from the first to the last that is read.

        All of it where an index from data decides what is read.
        """
        whole = [range(node.numel) for node in self.slots]
        parts: dict[int, range] = {}
        for entry in walk(*_expressions_of(outputs)):
            if not isinstance(entry, Load):
                continue
            found = whole[entry.slot]
            span = self.span(entry)
            if span is not None:
                low, high = span
                # What is left over stays in the address, where plans see it: a
                # buffer that is cut elsewhere is not aligned for whole vectors.
                is_vector = low != high
                unit = ALIGNMENT // entry.dtype.itemsize if is_vector else 1
                found = range(low - low % unit, min(high + 1, len(found)))
            known = parts.get(entry.slot, found)
            parts[entry.slot] = range(
                min(known.start, found.start), max(known.stop, found.stop)
            )
        return [parts.get(slot, everything) for slot, everything in enumerate(whole)]

    def span(self, load: Load) -> tuple[int, int] | None:
        """The first and last element that a load can read, if the host knows."""
        if load.guard:
            span = Domain(self.sizes, load.guard).span(load.address)
        else:
            certain = self.is_certain(load.address)
            span = load.address.range(self.sizes) if certain else None
        if span is None or span[0] < 0 or span[0] > span[1]:
            return None
        return span

    def output(
        self, root: Node, coordinates: Coordinates, value: Expression, slot: int
    ) -> Output:
        address = self.address(root, coordinates)
        axes = tuple(sorted(address.axes()))
        found = recognise.scatter(value, axes, self.sizes)
        if found is None:
            guard = self.needed(root, coordinates)
            return Output(slot, address, value, axes, guard)
        address = address.substitute({found.axis: found.position})
        kept = (axis for axis in axes if axis != found.axis)
        axes = tuple(sorted({*kept, *value.axes}))
        mode = {Sum: Mode.ADD, Max: Mode.MAX}[value.op]
        return Output(slot, address, found.value, axes, found.guard, mode)

    def needed(self, root: Node, coordinates: Coordinates) -> Guard:
        """The part of an output that anybody reads: up to the sizes of this run."""
        guard = []
        for dim, size in self.extents.get(root, ()):
            end = as_form(self.size(size))
            assert end is not None
            guard.append((end - coordinates[dim]).shift(-1))
        return simplify_guard(tuple(guard), self.sizes) or ()

    # --- axes ------------------------------------------------------------------

    def axis(self, key: Any, size: int) -> Affine:
        """The form that counts to ``size``: one loop axis, or several if split."""
        if size == 1:
            return ZERO
        found = self.axes_by_key.get(key)
        if found is not None:
            return found
        form, stride = ZERO, size
        for part, factor in enumerate(self.splits.get(key, [size])):
            stride //= factor
            form = form + axis_form(len(self.sizes)).scale(stride)
            self.sizes.append(factor)
            self.axis_keys.append((key, part))
        self.axes_by_key[key] = form
        return form

    def split(self, request: SplitAxis) -> None:
        """Remember that an axis must be two: size -> size // inner, inner."""
        key, part = self.axis_keys[request.axis]
        size = self.sizes[request.axis]
        if key not in self.splits:
            self.splits[key] = [math.prod(self._factors(key))]
        self.splits[key][part : part + 1] = [size // request.inner, request.inner]

    def _factors(self, key: Any) -> list[int]:
        pairs = zip(self.axis_keys, self.sizes, strict=True)
        return [size for (owner, _), size in pairs if owner == key]

    # --- values ----------------------------------------------------------------

    def value_of(
        self, node: Node, coordinates: Coordinates, guard: Guard
    ) -> Expression:
        """The element of ``node`` at the coordinates, needed where the guard holds.

        Depth first with a stack of our own: graphs are deeper than Python's.
        """
        goal = (node, coordinates, guard)
        stack: list[tuple[Request, Step | None]] = [(goal, None)]
        while stack:
            request, step = stack.pop()
            if request in self.known:
                continue
            if step is None:
                step = self.step(*request)
                missing = [entry for entry in step.needs if entry not in self.known]
                if missing:
                    stack.append((request, step))
                    stack.extend((entry, None) for entry in reversed(missing))
                    continue
            values = [self.known[entry] for entry in step.needs]
            self.known[request] = step.finish(values)
        return self.known[goal]

    def step(self, node: Node, coordinates: Coordinates, guard: Guard) -> Step:
        """What the element needs, and what it is made of those values."""
        if isinstance(node, Buffer) or node in self.in_memory:
            return _given(self.load(node, coordinates, guard))
        if node.numel == 0:
            return _given(literal(0, node.dtype))
        match node:
            case Elementwise():
                return self.elementwise(node, coordinates, guard)
            case Movement():
                return self.moved(node, coordinates, guard)
            case Reduce():
                return self.reduced(node, coordinates, guard)
            case Marker():
                needs = ((node.sources[0], coordinates, guard),)
                return Step(needs, lambda values: values[0])
            case Constant():
                return _given(self.constant(node))
            case SizeValue():
                return _given(self.size(node))
            case Iota():
                return _given(self.position(linear(node.shape, coordinates), node))
        raise AssertionError(f"no lowering for {node!r}")

    def is_reshape_of_memory(self, node: Node) -> bool:
        """Whether a node is something in memory under another shape."""
        if not isinstance(node, Reshape) or node.source in self.layouts:
            return False
        return isinstance(node.source, Buffer) or node.source in self.in_memory

    def load(
        self,
        node: Node,
        coordinates: Coordinates,
        guard: Guard,
        stored: Node | None = None,
    ) -> Expression:
        """An element of a node that is in memory, or is another ``stored`` one."""
        stored = stored or node
        slot = self.slots.setdefault(stored, len(self.slots))
        address = self.address(node, coordinates)
        if self.in_range(node.shape, coordinates):
            # Safe to read everywhere; where it is not wanted, a Select says so.
            return Load(slot, address, (), node.dtype)
        needed = simplify_guard(guard, self.sizes)
        if needed is None:
            return literal(0, node.dtype)
        return Load(slot, address, needed, node.dtype)

    def address(self, node: Node, coordinates: Coordinates) -> Affine:
        """Where an element of a node lies in memory."""
        order = self.layouts.get(node)
        if order is None:
            return linear(node.shape, coordinates)
        return linear(permuted(node.shape, order), permuted(coordinates, order))

    def in_range(self, shape: Shape, coordinates: Coordinates) -> bool:
        """Whether the coordinates are inside the shape for all values of the axes."""
        for size, form in zip(shape, coordinates, strict=True):
            if size == 1:
                continue
            low, high = form.range(self.sizes)
            if low < 0 or high >= size or not self.is_certain(form):
                return False
        return True

    def is_certain(self, form: Affine) -> bool:
        """Whether the ranges of a form's atoms hold without any guard.

        A quotient or remainder is in range only while what is divided is.
        """
        for atom, _ in form.terms:
            if isinstance(atom, Quotient | Remainder):
                low, high = atom.form.range(self.sizes)
                limit = atom.limit if isinstance(atom, Quotient) else high + 1
                inside = low >= 0 and high < atom.divisor * limit
                if not inside or not self.is_certain(atom.form):
                    return False
            elif isinstance(atom, Indexed) and not isinstance(atom, Given):
                return False
        return True

    def constant(self, node: Constant) -> Expression:
        """Structure stays in the kernel; other values are given at launch."""
        if not is_given_at_launch(node):
            return Literal(node.bits, node.dtype)
        slot = self.scalars.setdefault(node, len(self.scalars))
        return Scalar(slot, node.dtype)

    def position(self, form: Affine, node: Iota) -> Expression:
        """A place in an Iota; out of its range, where no guard holds, it is anything.

        There it may be negative, which an unsigned position cannot say.
        """
        if node.dtype.is_signed or form.range(self.sizes)[0] >= 0:
            return Position(form, node.dtype)
        wide = Position(form, dtypes.int64)
        return simplify.compute(Cast, node.dtype, (wide,), self.sizes)

    def size(self, node: SizeValue) -> Expression:
        """A size is a position: comparisons with it are guards, and limit loops."""
        slot = self.scalars.setdefault(node, len(self.scalars))
        value = Scalar(slot, node.dtype)
        index = Given(value, node.minimum, node.maximum)
        return Position(of_atom(index), node.dtype)

    def elementwise(
        self, node: Elementwise, coordinates: Coordinates, guard: Guard
    ) -> Step:
        needs = tuple((source, coordinates, guard) for source in node.sources)
        op, dtype = type(node), node.dtype

        def finish(values: Sequence[Expression]) -> Expression:
            return simplify.compute(op, dtype, tuple(values), self.sizes)

        return Step(needs, finish)

    def moved(self, node: Movement, coordinates: Coordinates, guard: Guard) -> Step:
        """Follow a movement to its source; outside of that there is the fill."""
        try:
            found = origin(node, coordinates, self.sizes)
        except SplitAxis:
            if self.is_reshape_of_memory(node):
                # In memory its elements lie as they did: no axis needs to be split.
                return _given(self.load(node, coordinates, guard, node.sources[0]))
            raise
        needed = simplify_guard(found.guard, self.sizes)
        fill: Expression = literal(0, node.dtype)
        if len(node.sources) == 2:
            fill = self.constant(node.fill)
        if needed is None:
            return _given(fill)
        both = (*guard, *(form for form in needed if form not in guard))
        needs = ((node.sources[0], found.coordinates, both),)
        if not needed:
            return Step(needs, lambda values: values[0])
        return Step(
            needs,
            lambda values: simplify.select(needed, values[0], fill, self.sizes),
        )

    def reduced(self, node: Reduce, coordinates: Coordinates, guard: Guard) -> Step:
        """Bind an axis for each reduced dimension, its shadow where there is one."""
        shape = node.source.shape
        if any(shape[dim] == 0 for dim in node.dims):
            return _given(literal(node.identity(node.dtype), node.dtype))
        kept = _without_shadows(coordinates, shape, node.dims)
        used = {axis for form in (*kept, *guard) for axis in form.axes()}
        inner = list(kept)
        bound: list[int] = []
        for dim in node.dims:
            if shape[dim] == 1:
                continue
            axes = covering_axes(coordinates[dim], shape[dim], self.sizes)
            inner[dim] = coordinates[dim]
            is_taken = used & set(axes) or set(axes) & set(bound)
            # A gather is recognised by the one axis that is compared with an index.
            if not axes or is_taken or (len(axes) > 1 and _is_one_hot(node)):
                key = (shape, node.dims, tuple(kept), dim)
                inner[dim] = self.axis(key, shape[dim])
                axes = covering_axes(inner[dim], shape[dim], self.sizes)
            bound.extend(axes)
        op, axes = type(node), tuple(bound)
        needs = ((node.source, tuple(inner), guard),)
        return Step(
            needs,
            lambda values: recognise.reduction(op, axes, values[0], self.sizes),
        )


def _is_one_hot(node: Reduce) -> bool:
    """Whether the reduction chooses an element: where(n == index, x_n, identity)."""
    source = node.source
    return isinstance(source, Where) and isinstance(source.condition, Eq)


def _without_shadows(
    coordinates: Coordinates, shape: Shape, dims: Sequence[int]
) -> Coordinates:
    """Coordinates of the dimensions that stay; those to be bound become 0."""
    return tuple(
        ZERO if dim in dims or shape[dim] == 1 else form
        for dim, form in enumerate(coordinates)
    )
