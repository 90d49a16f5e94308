"""What differs between two graphs of one outline: where slices begin, and integers.

``data[i : i + 64]`` is another graph for each ``i``, and so are ``x[i] = row`` and
``x + t`` for an integer ``t``: positions and integers shape code. A graph that differs
in them from one that was compiled before is compiled once more with those that differ
as buffers, and serves all that follow: a training loop over slices compiles two steps,
not one for each batch.

    shrink(buffer, i .. i + 64) + constant 3   ->   buffer' + buffer''

What is no slice of a buffer, or what is written, stays movement, and only where it
begins is in a buffer: elements are read at positions that are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tetragrad.backends.backend import Device
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.engine.schedule import Schedule
from tetragrad.engine.structure import (
    Structure,
    is_spread,
    padded_dims,
    places,
    results_of,
)
from tetragrad.graph.elementwise import Add, And, Eq, Lt, Sub, Where
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    Iota,
    constant,
    is_given_at_launch,
)
from tetragrad.graph.movement import (
    Flip,
    Movement,
    Pad,
    Permute,
    Reshape,
    Shrink,
    Stride,
    broadcast_to,
)
from tetragrad.graph.node import Node, Shape, walk
from tetragrad.graph.reduce import Max, Sum

#: Outlines that are remembered; the oldest is forgotten.
MAXIMUM_OUTLINES = 512
#: A slice whose elements lie apart is copied by the host up to this size.
LARGEST_COPY = 64 << 20

#: Movement that shows some or all elements of its source, each once.
_PLACED = (Flip, Permute, Reshape, Shrink, Stride)

Positions = frozenset[int]
#: Whether it is a slice, and its place among those or among the results.
Output = tuple[bool, int]
#: Makes a schedule, or finds it on disk.
Make = Callable[[Sequence[Node], Structure, Device, Settings], Schedule]


@frozen(slots=True)
class General:
    """A schedule for all graphs of an outline, and where its outputs come from.

    ``positions`` are the variants that it takes as buffers behind the graph's own. An
    output is a result of the schedule, or a slice that is only copied; results from
    ``computed`` on are of values that are held.
    """

    schedule: Schedule
    positions: tuple[int, ...]
    outputs: tuple[Output, ...]
    computed: int


class _Outline:
    """The variants of the first graph of an outline, and which differed since."""

    def __init__(self, values: tuple[Hashable, ...]) -> None:
        self.first = values
        self.differing: Positions = frozenset()
        self.generals: dict[Hashable, General | None] = {}


#: Outlines by the hash of the key that they share. Should two have the same, a variant
#: becomes a buffer that need not be one.
_outlines: dict[int, _Outline] = {}


def general_schedule(
    nodes: Sequence[Node],
    structure: Structure,
    on: Device,
    active: Settings,
    make: Make,
) -> General | None:
    """A schedule that also serves other graphs of the outline; None for the first.

    Args:
        nodes: the outputs.
        structure: theirs.
        on: where they will run.
        active: settings that change code.
        make: makes the schedule, if it is not known yet.
    """
    if not structure.variants:
        return None
    outline = _outline_of(hash((structure.key, on.name, active.code_key())), structure)
    outline.differing |= _differing(outline.first, structure, on)
    if not outline.differing:
        return None
    rest = tuple(
        None if position in outline.differing else value
        for position, value in enumerate(structure.values)
    )
    key = (structure.key, rest)
    if key not in outline.generals:
        positions = tuple(sorted(outline.differing))
        named = replace(structure, values=rest)
        outline.generals[key] = _compiled(nodes, named, positions, on, active, make)
    return outline.generals[key]


def arguments(
    structure: Structure, positions: Sequence[int], on: Device
) -> list[Buffer]:
    """The variants at some positions as buffers of their own."""
    return [_as_buffer(structure.variants[entry], on) for entry in positions]


def outlines() -> list[_Outline]:
    """All that are remembered: for tests."""
    return list(_outlines.values())


def forget() -> None:
    """Forget all outlines: for tests."""
    _outlines.clear()


def _outline_of(key: int, structure: Structure) -> _Outline:
    outline = _outlines.get(key)
    if outline is None or len(outline.first) != len(structure.values):
        outline = _outlines[key] = _Outline(structure.values)
        if len(_outlines) > MAXIMUM_OUTLINES:
            del _outlines[next(iter(_outlines))]
    return outline


def _differing(
    first: tuple[Hashable, ...], structure: Structure, on: Device
) -> Positions:
    return frozenset(
        position
        for position, value in enumerate(structure.values)
        if value != first[position] and _can_be_buffer(structure, position, on)
    )


def _can_be_buffer(structure: Structure, position: int, on: Device) -> bool:
    variant = structure.variants[position]
    if structure.extents and isinstance(variant, Shrink) and _is_moved(variant, on):
        return False  # What symbolic sizes are known of is known of this very node.
    return variant.numel > 0


# --- compiling ---------------------------------------------------------------------


def _compiled(
    nodes: Sequence[Node],
    structure: Structure,
    positions: tuple[int, ...],
    on: Device,
    active: Settings,
    make: Make,
) -> General | None:
    """Compile with buffers in place of some variants; None if that cannot be."""
    buffers = arguments(structure, positions, on)
    variants = [structure.variants[entry] for entry in positions]
    replaced = _replace(
        [*nodes, *structure.held], dict(zip(variants, buffers, strict=True)), on
    )
    outputs = [replaced.get(node, node) for node in nodes]
    results = results_of(outputs)
    known = {*structure.constants, *structure.buffers, *buffers}
    if any(_is_argument(node) and node not in known for node in walk(results)):
        return None  # What was replaced has made new ones.
    arguments_now = (*structure.buffers, *buffers)
    held = _held(structure.held, replaced, results)
    general = replace(structure, buffers=arguments_now, held=held)
    schedule = make(results, general, on, active)
    places: dict[Node, Output] = {node: (True, i) for i, node in enumerate(buffers)}
    places |= {node: (False, i) for i, node in enumerate(results)}
    computed = len(results)
    return General(schedule, positions, tuple(places[n] for n in outputs), computed)


def _is_argument(node: Node) -> bool:
    return isinstance(node, Buffer) or is_given_at_launch(node)


def _replace(
    nodes: Sequence[Node], variants: dict[Node, Buffer], on: Device
) -> dict[Node, Node]:
    """What the variants, and every node above them, become with buffers for them."""
    replaced: dict[Node, Node] = {
        node: buffer for node, buffer in variants.items() if not _is_moved(node, on)
    }
    for node in walk(nodes, stop=dict(replaced).__contains__):
        sources = tuple(replaced.get(entry, entry) for entry in node.sources)
        if isinstance(node, Pad) and node in variants:
            replaced[node] = _placed(node, sources[0], variants[node])
        elif isinstance(node, Shrink) and node in variants and node not in replaced:
            replaced[node] = _cut(node, sources[0], variants[node])
        elif sources != node.sources and node not in replaced:
            replaced[node] = node.replace_sources(sources)
    return replaced


def _placed(pad: Pad, source: Node, starts: Buffer) -> Node:
    """The same as a pad, with places from a buffer: first elements, and how many.

    pad(row, (i, rest))  ->  where(i <= iota < i + size, row[iota - i], fill)
    """
    is_there: Node | None = None
    if is_spread(pad.source):
        source = source.sources[0].sources[0]  # The one constant that it is.
    for number, dim in enumerate(padded_dims(pad)):
        size = pad.shape[dim]
        first, count = _element(starts, 2 * number), _element(starts, 2 * number + 1)
        wanted = Sub(Iota(size, dtypes.int64), broadcast_to(first, (size,)))
        if source.ndim and source.shape[dim] != 1:
            source = _at(source, wanted, dim)
        before = broadcast_to(constant(-1, dtypes.int64), (size,))
        is_here = And(Lt(before, wanted), Lt(wanted, broadcast_to(count, (size,))))
        here = _along(is_here, dim, pad.shape)
        is_there = here if is_there is None else And(is_there, here)
    assert is_there is not None
    fill = broadcast_to(pad.fill, pad.shape)
    return Where(is_there, broadcast_to(source, pad.shape), fill)


def _cut(cut: Shrink, source: Node, starts: Buffer) -> Node:
    """The same as a slice, with its first elements from a buffer.

    shrink(x, i .. i + size)  ->  x[iota + i]
    """
    for number, dim in enumerate(_cut_dims(cut)):
        size = cut.shape[dim]
        first = broadcast_to(_element(starts, number), (size,))
        source = _at(source, Add(Iota(size, dtypes.int64), first), dim)
    return source


def _element(starts: Buffer, number: int) -> Node:
    return Reshape(Shrink(starts, ((number, number + 1),)), ())


def _at(source: Node, wanted: Node, dim: int) -> Node:
    """The elements at some positions of a dimension; zero for one that is not there."""
    shape = (*source.shape[: dim + 1], wanted.numel, *source.shape[dim + 1 :])
    shape = (*shape[:dim], wanted.numel, source.shape[dim], *shape[dim + 2 :])
    size = (*source.shape[:dim], 1, *source.shape[dim:])
    spread = broadcast_to(Reshape(source, size), shape)
    positions = _along(Iota(source.shape[dim], dtypes.int64), dim + 1, shape)
    is_wanted = Eq(positions, _along(wanted, dim, shape))
    zeros = broadcast_to(constant(0, source.dtype), shape)
    reduce = Max if source.dtype.is_bool else Sum
    found = reduce(Where(is_wanted, spread, zeros), (dim + 1,))
    return Reshape(found, (*shape[: dim + 1], *shape[dim + 2 :]))


def _along(row: Node, dim: int, shape: Shape) -> Node:
    """A row along one dimension, repeated along the others."""
    aligned = [row.numel if entry == dim else 1 for entry in range(len(shape))]
    return broadcast_to(Reshape(row, tuple(aligned)), shape)


def _held(
    held: Sequence[Node], replaced: dict[Node, Node], results: Sequence[Node]
) -> tuple[Node, ...]:
    """The held nodes as they are now; each that is no value of its own stays behind."""
    taken = set(results)
    found = []
    for node in held:
        now = replaced.get(node, node)
        if now in taken or isinstance(now, Buffer):
            now = node
        taken.add(now)
        found.append(now)
    return tuple(found)


# --- values ------------------------------------------------------------------------


def _as_buffer(variant: Node, on: Device) -> Buffer:
    """A variant's value: shared where its elements lie together, else copied."""
    if isinstance(variant, Pad):
        where = [places(variant)[dim] for dim in padded_dims(variant)]
        return uploaded(np.array(where, np.int64).reshape(-1), dtypes.int64, on)
    if isinstance(variant, Shrink) and _is_moved(variant, on):
        starts = [variant.bounds[dim][0] for dim in _cut_dims(variant)]
        return uploaded(np.array(starts, np.int64), dtypes.int64, on)
    if isinstance(variant, Constant):
        return uploaded(variant.array, variant.dtype, on)
    found = _where(variant)
    if found is None:
        array = shown(variant, {})
        assert array is not None
        return uploaded(array, variant.dtype, on)
    whole, first = found
    memory = on.part(whole.memory, first * whole.dtype.itemsize, _nbytes(variant))
    return Buffer(memory, variant.shape, whole.dtype, on.name)


def copy(buffer: Buffer, on: Device) -> Buffer:
    """A buffer of its own with the same elements."""
    memory = on.copied_part(buffer.memory, 0, _nbytes(buffer))
    return Buffer(memory, buffer.shape, buffer.dtype, on.name)


def uploaded(array: np.ndarray, dtype: DType, on: Device) -> Buffer:
    """An array's elements in a buffer of their own."""
    memory = on.allocate(array.nbytes)
    on.copy_in(memory, array)
    return Buffer(memory, array.shape, dtype, on.name)


def shown(node: Node, realized: Mapping[Node, Buffer]) -> np.ndarray | None:
    """The elements of a buffer, some or all, where the host can read them."""
    path: list[Movement] = []
    while not isinstance(node, Buffer):
        known = realized.get(node)
        if known is not None:
            node = known
        elif isinstance(node, _PLACED):
            path.append(node)
            node = node.source
        else:
            return None
    array: np.ndarray = node.memory.view(node.shape, node.dtype)
    for movement in reversed(path):
        array = movement.move(array)
    return array


def _where(variant: Node) -> tuple[Buffer, int] | None:
    """The buffer of a slice and its first element there, if all lie together."""
    start, node = 0, variant
    while not isinstance(node, Buffer):
        if not isinstance(node, Shrink | Reshape):
            return None
        first = _first_element(node) if isinstance(node, Shrink) else 0
        if first is None:
            return None
        start += first
        node = node.sources[0]
    return node, start


def _is_moved(variant: Node, on: Device) -> bool:
    """Whether a variant stays movement, with positions from a buffer."""
    if isinstance(variant, Constant) or _where(variant) is not None:
        return False
    is_read = on.has_host_memory and _nbytes(variant) <= LARGEST_COPY
    return isinstance(variant, Pad) or not (is_read and _shows_buffer(variant))


def _shows_buffer(node: Node) -> bool:
    """Whether this is a buffer some of whose elements were chosen or moved."""
    while isinstance(node, _PLACED):
        node = node.source
    return isinstance(node, Buffer)


def _cut_dims(cut: Shrink) -> list[int]:
    """The dimensions in which a slice does not take everything."""
    sizes = zip(cut.shape, cut.source.shape, strict=True)
    return [dim for dim, (size, have) in enumerate(sizes) if size != have]


def _first_element(cut: Shrink) -> int | None:
    """Where a slice begins in row-major order; None if its elements lie apart."""
    first, step, is_whole = 0, 1, True
    for (start, stop), size in reversed(
        [*zip(cut.bounds, cut.source.shape, strict=True)]
    ):
        # In front of a dimension that was cut, there is only one position.
        if not is_whole and stop - start != 1:
            return None
        is_whole = is_whole and stop - start == size
        first += start * step
        step *= size
    return first


def _nbytes(node: Node) -> int:
    return node.numel * node.dtype.itemsize
