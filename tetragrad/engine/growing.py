"""Graphs that differ in their sizes alone: after two of them, one that serves all.

A text that grows by a token, a batch of sequences as long as the longest of them: every
length is another graph. From the third on it is asked how the sizes and integers of one
graph follow from those of another. If all are sums and multiples of a few, those few
become symbols (``graph/sizes.py``), and the graph is compiled for all their values::

    sizes of three graphs            what they are of n
    5, 6, 5, 320                     n, n + 1, n, 64 n
    6, 7, 6, 384
    7, 8, 7, 448

Nothing rests on the guess: a graph is served only if every size of it is what the form
says. One that is not, or that comes back often enough to be worth kernels of its own,
is compiled as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from tetragrad.backends.backend import Device
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.engine.affine_sizes import Form, Forms, forms_of, values_of
from tetragrad.engine.schedule import Schedule
from tetragrad.engine.structure import Structure, results_of, structure_of
from tetragrad.graph.extents import layout_shape
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    Iota,
    LaunchValue,
    SizeValue,
    is_given_at_launch,
    launch_signature,
    number,
    value_of_size,
)
from tetragrad.graph.movement import Expand, Pad, Reshape, Shrink, Skew
from tetragrad.graph.node import Node, Shape, size_of, walk
from tetragrad.graph.sizes import Bound, Size, Symbol, is_one
from tetragrad.graph.symbolic import FixedSize, at_maximum

#: Families of graphs that are remembered; the oldest is forgotten.
MAXIMUM_FAMILIES = 128
#: Different sizes of one family that are remembered.
MOST_REMEMBERED = 64
#: Schedules of one family, for more symbols or larger maxima, before it is given up.
MOST_GROWN = 8
#: Sizes that were asked for more often than this are worth kernels of their own.
OFTEN = 8
#: A symbol's maximum is a power of 4, so that a growing text is compiled three times on
#: its way to a thousand tokens. It is one of 2 beyond, and where buffers have so many
#: bytes, as memory is laid out for it.
LONG = 1024
LARGE = 1 << 20
#: Bytes beyond its size that a result may keep rather than be copied.
LITTLE_WASTE = 1 << 20

#: Makes a schedule, or finds it on disk.
Make = Callable[[Sequence[Node], Structure, Device, Settings], Schedule]


@frozen(slots=True)
class Grown:
    """A schedule for all graphs of a family up to some sizes, and what it takes.

    ``leaves`` are positions among a graph's buffers with the bytes that each is laid
    out in, ``constants`` positions among its own or sizes, and ``results`` the place of
    each output among those of the schedule. ``totals`` are symbols for how many
    elements the buffers and then the outputs have.
    """

    schedule: Schedule
    forms: Forms
    symbols: tuple[Symbol, ...]
    leaves: tuple[tuple[int, int], ...]
    constants: tuple[int | Size, ...]
    results: tuple[int, ...]
    totals: tuple[Symbol, ...]

    def serves(self, values: Sequence[int]) -> bool:
        """Whether the symbols may have these values."""
        pairs = zip(self.symbols, values, strict=True)
        return all(1 <= value <= symbol.maximum for symbol, value in pairs)


class _Family:
    """Graphs of equal operations: how often each sizes were asked for, and by what."""

    def __init__(self) -> None:
        self.asked: dict[tuple[int, ...], int] = {}
        self.grown: list[Grown] = []
        self.is_given_up = False


_families: dict[Hashable, _Family] = {}


def grown_schedule(
    nodes: Sequence[Node],
    structure: Structure,
    on: Device,
    active: Settings,
    make: Make,
) -> tuple[Grown, tuple[int, ...]] | None:
    """A schedule that serves a graph and others, with the values of its symbols.

    None for the first graphs of a family, and where there is none for all.
    """
    if structure.extents:
        return None
    key, sizes = _sketch(nodes)
    family = _family_of((key, on.name, active.code_key()))
    if family.is_given_up:
        return None
    times = family.asked.pop(sizes, 0) + 1
    family.asked[sizes] = times
    if len(family.asked) > MOST_REMEMBERED:
        del family.asked[next(iter(family.asked))]
    if times > OFTEN:
        return None
    for grown in family.grown:
        values = values_of(grown.forms, sizes)
        if values is not None and grown.serves(values):
            return grown, values
    return _added(family, nodes, structure, sizes, on, active, make)


def forget() -> None:
    """Forget all families: for tests."""
    _families.clear()


def _family_of(key: Hashable) -> _Family:
    family = _families.get(key)
    if family is None:
        family = _families[key] = _Family()
        if len(_families) > MAXIMUM_FAMILIES:
            del _families[next(iter(_families))]
    return family


def _added(
    family: _Family,
    nodes: Sequence[Node],
    structure: Structure,
    sizes: tuple[int, ...],
    on: Device,
    active: Settings,
    make: Make,
) -> tuple[Grown, tuple[int, ...]] | None:
    """Compile for all graphs whose sizes follow as here; None if it is not seen how."""
    forms = forms_of(sizes, list(family.asked))
    values = None if forms is None else values_of(forms, sizes)
    if forms is None or values is None:
        return None
    try:
        grown = _compiled(nodes, structure, forms, values, on, active, make)
    except FixedSize:
        family.is_given_up = True
        return None
    family.grown.append(grown)
    family.is_given_up = len(family.grown) > MOST_GROWN
    return grown, values


# --- what tells graphs of a family apart ----------------------------------------------


def _sketch(nodes: Sequence[Node]) -> tuple[Hashable, tuple[int, ...]]:
    """What a graph computes, without its sizes; and these in the order of the walk."""
    numbers: dict[Node, int] = {}
    parts: list[Any] = []
    sizes: list[int] = []
    for node in walk(nodes):
        numbers[node] = len(numbers)
        parts.append(type(node))
        found = _sizes_of(node)
        if found is not None:
            sizes += found
            parts.append((node.dtype, node.device, node.ndim))
            parts += [numbers[source] for source in node.sources]
        elif is_given_at_launch(node):
            parts.append(launch_signature(node))
        else:
            parts += [
                numbers[entry] if isinstance(entry, Node) else entry
                for entry in node.arguments
            ]
    parts.append(tuple([numbers[node] for node in nodes]))
    return tuple(parts), tuple(sizes)


def _sizes_of(node: Node) -> Sequence[int] | None:
    """The arguments of a node that may follow from a size."""
    if isinstance(node, Buffer | Reshape | Expand):
        return node.shape
    if isinstance(node, Shrink | Pad):
        return tuple(chain.from_iterable(node.arguments[1]))
    if isinstance(node, Iota):
        return (node.size,)
    if isinstance(node, Skew):
        return node.dim, node.step, node.start, node.length
    if isinstance(node, Constant) and node.dtype.is_integer:
        return (node.value,)
    return None


def _with_sizes(node: Node, sources: tuple[Node, ...], sizes: Shape) -> Node:
    """The same node with other sizes."""
    if isinstance(node, Iota):
        return Iota(*sizes, node.dtype)
    if isinstance(node, Constant):
        return number(sizes[0], node.dtype)
    if isinstance(node, Skew):
        return Skew(sources[0], *sizes)
    if isinstance(node, Shrink | Pad):
        if not all(isinstance(fill, Constant) for fill in sources[1:]):
            raise FixedSize("what a pad is filled with is a size")
        pairs = tuple(zip(sizes[::2], sizes[1::2], strict=True))
        return type(node)(sources[0], pairs, *sources[1:])
    return type(node)(sources[0], sizes)


# --- compiling ------------------------------------------------------------------------


def _compiled(
    nodes: Sequence[Node],
    structure: Structure,
    forms: Forms,
    values: Sequence[int],
    on: Device,
    active: Settings,
    make: Make,
) -> Grown:
    """Compile a graph with symbols for sizes; raises FixedSize if that cannot be."""
    is_large = max(map(_nbytes, (*structure.buffers, *nodes))) > LARGE
    symbols = tuple(
        Symbol(f"size{place}", _maximum(value, is_large))
        for place, value in enumerate(values)
    )
    bounds = [Bound(*pair) for pair in zip(symbols, values, strict=True)]
    with _sizes_in_use():
        graph = _Graph([_size(form, bounds) for form in forms.all])
        outputs = graph.rebuilt(nodes)
        general = at_maximum([graph.packed(node) for node in outputs])
        laid_out = [_at_maximum(leaf) for leaf in graph.buffers]
    results = results_of(general.nodes)
    whole = structure_of(results, (), general.extents)
    leaves = {leaf: place for place, leaf in enumerate(laid_out)}
    constants = {node: place for place, node in enumerate(structure.constants)}
    taken = [_taken(node, constants) for node in whole.constants]
    is_known = len(leaves) == len(laid_out) and leaves.keys() >= {*whole.buffers}
    if not is_known or len(results) != len(general.nodes) or None in taken:
        raise FixedSize("the graph with symbols reads or gives something else")
    return Grown(
        make(results, whole, on, active),
        forms,
        symbols,
        tuple((leaves[leaf], _nbytes(leaf)) for leaf in whole.buffers),
        tuple(entry for entry in taken if entry is not None),
        tuple(map(results.index, general.nodes)),
        tuple(graph.totals),
    )


def _size(form: Form, bounds: Sequence[Bound]) -> int:
    terms, constant = form
    if not terms:
        return constant
    return Size(tuple((bounds[place], factor) for place, factor in terms), constant)


def _maximum(value: int, is_large: bool) -> int:
    maximum = 16
    while maximum < value:
        maximum *= 2 if is_large or maximum >= LONG else 4
    return maximum


@contextmanager
def _sizes_in_use() -> Iterator[None]:
    """Inside, nodes are told apart by their symbols; outside, nobody has any."""
    before, Size.in_use = Size.in_use, True
    try:
        yield
    finally:
        Size.in_use = before


class _Graph:
    """A graph with symbols in the making: its buffers, and how long they all are.

    The elements of buffers and results come first in memory, whatever the symbols are
    bound to. Where more than the outermost dimension varies, that takes a row.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.buffers: list[Buffer] = []
        self.totals: list[Symbol] = []

    def rebuilt(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes with these sizes for theirs."""
        done: dict[Node, Node] = {}
        first = 0
        for node in walk(nodes):
            sources = tuple([done[source] for source in node.sources])
            found = _sizes_of(node)
            if found is None:
                done[node] = node.replace_sources(sources) if sources else node
                continue
            mine = tuple(self.sizes[first : first + len(found)])
            first += len(found)
            if isinstance(node, Buffer):
                done[node] = self._leaf(node, mine)
            else:
                done[node] = _with_sizes(node, sources, mine)
        return [done[node] for node in nodes]

    def packed(self, node: Node) -> Node:
        """A result with its elements first in memory."""
        return Reshape(node, self._packed_shape(node.shape))

    def _leaf(self, buffer: Buffer, shape: Shape) -> Node:
        memory, dtype, home = buffer.memory, buffer.dtype, buffer.buffer_device
        packed = Buffer(memory, self._packed_shape(shape), dtype, home)
        self.buffers.append(packed)
        return Reshape(packed, shape)

    def _packed_shape(self, shape: Shape) -> Shape:
        maximum = size_of(layout_shape(shape))
        total = Symbol(f"total{len(self.totals)}", max(maximum, 1))
        self.totals.append(total)
        symbolic = [dim for dim, size in enumerate(shape) if isinstance(size, Size)]
        is_first = all(map(is_one, shape[: symbolic[0]])) if symbolic else True
        if is_first and len(symbolic) <= 1:
            return shape
        return (Size(((Bound(total, size_of(shape)), 1),), 0),)


def _at_maximum(buffer: Buffer) -> Buffer:
    shape = layout_shape(buffer.shape)
    return Buffer(buffer.memory, shape, buffer.dtype, buffer.buffer_device)


def _taken(node: LaunchValue, known: dict[LaunchValue, int]) -> int | Size | None:
    """Where the value of a general graph's constant comes from."""
    if isinstance(node, SizeValue):
        return Size(*node.form)
    return known.get(node)


# --- running --------------------------------------------------------------------------


def arguments(
    grown: Grown,
    values: Sequence[int],
    nodes: Sequence[Node],
    structure: Structure,
    on: Device,
) -> tuple[list[Buffer], list[LaunchValue]]:
    """The buffers and constants of a graph as the schedule of its family takes them."""
    totals = [node.numel for node in (*structure.buffers, *nodes)]
    bounds = {
        symbol: Bound(symbol, value)
        for symbol, value in zip(
            (*grown.symbols, *grown.totals), (*values, *totals), strict=True
        )
    }
    leaves = [
        _roomy(structure.buffers[place], nbytes, on) for place, nbytes in grown.leaves
    ]
    constants = [
        value_of_size(_rebound(entry, bounds))
        if isinstance(entry, Size)
        else structure.constants[entry]
        for entry in grown.constants
    ]
    return leaves, constants


def _rebound(size: Size, bounds: dict[Symbol, Bound]) -> Size:
    terms = tuple((bounds[bound.symbol], factor) for bound, factor in size.terms)
    return Size(terms, size.constant)


def _roomy(buffer: Buffer, nbytes: int, on: Device) -> Buffer:
    """The buffer in memory of a size that may be read, whatever stands there."""
    if buffer.memory.nbytes >= nbytes:
        return buffer
    memory = on.copied_part(buffer.memory, 0, _nbytes(buffer), room=nbytes)
    return Buffer(memory, buffer.shape, buffer.dtype, on.name)


def outputs(
    grown: Grown, results: Sequence[Buffer], nodes: Sequence[Node], on: Device
) -> list[Buffer]:
    """What was asked for, out of what the schedule gave."""
    found = []
    for node, place in zip(nodes, grown.results, strict=True):
        memory = results[place].memory
        if memory.nbytes > _nbytes(node) + LITTLE_WASTE:
            memory = on.copied_part(memory, 0, _nbytes(node))
        found.append(Buffer(memory, node.shape, node.dtype, on.name))
    return found


def _nbytes(node: Node) -> int:
    return node.numel * node.dtype.itemsize
