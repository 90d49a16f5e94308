"""Stores that fill one another's gaps: written as whole vectors instead of scattered.

    Store(s0[2*i] = a) over i < 16;  Store(s0[2*i + 1] = b) over i < 16

become one store of 32 neighbouring elements a0 b0 a1 b1 …; likewise three and four.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.backends.cpu.emit.vector import Builder, Value
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load, walk
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import Statement, Store

#: Numbers of stores that are put together, the larger first.
WIDTHS = (4, 3, 2)


def groups_of_stores(body: Sequence[Statement]) -> Iterator[Sequence[Statement]]:
    """The statements in order: stores that belong together, others alone."""
    place = 0
    while place < len(body):
        width = 1
        if isinstance(body[place], Store):
            group = (n for n in WIDTHS if _belong(body[place : place + n], n))
            width = next(group, 1)
        yield body[place : place + width]
        place += width


def interleaved(builder: Builder, values: Sequence[Value]) -> list[Value]:
    """One element of each vector in turn, as one vector or several in order."""
    if len(values) == 4:
        even = _pairs(builder, values[0], values[2])
        odd = _pairs(builder, values[1], values[3])
        return [_pairs(builder, even, odd)]
    if len(values) == 2:
        return [_pairs(builder, *values)]
    lanes = values[0].lanes
    return [_chosen(builder, values, part * lanes) for part in range(len(values))]


def _pairs(builder: Builder, first: Value, second: Value) -> Value:
    pairs = [(lane, first.lanes + lane) for lane in range(first.lanes)]
    return builder.shuffle(first, second, [place for pair in pairs for place in pair])


def _chosen(builder: Builder, values: Sequence[Value], start: int) -> Value:
    """The vector of the interleaved elements from the ``start``-th on."""
    lanes, count = values[0].lanes, len(values)
    found = values[0]
    for number, value in enumerate(values):
        places = []
        for lane in range(lanes):
            source, owner = divmod(start + lane, count)
            if owner == number:
                places.append(lanes + source)
            else:
                # Those of the first vector are put in place with the second's.
                is_first = owner == 0 and number == 1
                places.append(source if is_first else lane)
        if number:
            found = builder.shuffle(found, value, places)
    return found


def _belong(stores: Sequence[Statement], width: int) -> bool:
    """Whether these are stores next to one another, whose lanes are ``width`` apart."""
    first = stores[0]
    if len(stores) < width or not isinstance(first, Store) or not first.axes:
        return False
    if first.address.coefficient(first.axes[-1][0]) != width:
        return False
    return all(
        isinstance(entry, Store) and _follows(first, entry, number)
        for number, entry in enumerate(stores)
    )


def _follows(first: Store, other: Store, distance: int) -> bool:
    """Whether two stores differ only in what they write, and by so many elements."""
    return (
        other.mode is Mode.STORE
        and (other.slot, other.axes, other.guard)
        == (first.slot, first.axes, first.guard)
        and other.address - first.address == Affine(distance)
        and not any(
            isinstance(entry, Load) and entry.slot == other.slot
            for entry in walk(other.value)
        )
    )
