"""Rows that wait in shared memory from one pass over them to the next.

A row that is gone over more than once stays on the chip. In registers, half-width
elements take twice the room that they take in memory, and what is on its way from
memory takes registers, too: of long rows, too few are then under way to keep memory
busy. Each thread copies its own part to shared memory as it is, without waiting and
without registers, and reads it again in every pass. No other thread reads it, so there
is nothing to wait for but the copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.emit.access import WIDEST_BYTES
from tetragrad.backends.cuda.emit.blocks import SharedMemory
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.emit.spread import WARP
from tetragrad.backends.cuda.emit.thread_counts import Widths
from tetragrad.backends.cuda.emit.tiles import (
    Collective,
    Spread,
    TileHomes,
    loads_along,
)
from tetragrad.tile.ir import Fold, Grid, Statement, Store

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.loads import Loads

#: Threads of a block whose rows wait in shared memory, at most, and those of all such
#: blocks on a multiprocessor: one computes while others load and store.
PARKING_THREADS, THREADS_TOGETHER = 512, 1536
#: The most elements that a thread holds in registers, and threads of such a block.
MOST_HELD, MOST_HOLDING = 32, 1024


class Parking:
    """Where each thread finds what it has loaded, by what it was loaded from."""

    def __init__(self, builder: Builder, shared: SharedMemory, threads: int) -> None:
        self.builder = builder
        self.shared = shared
        self.threads = threads
        self.places: dict[object, str] = {}
        #: Whether loads are copies to shared memory now.
        self.is_filling = False

    def fill(self, key: object, address: str, predicate: str) -> None:
        """Copy what one load of this thread would bring."""
        if key in self.places:
            return
        base = self.shared.room(self.threads * WIDEST_BYTES)
        index = self.builder.assign("b32", "mov.u32", "%tid.x")
        operands = f"{index}, {WIDEST_BYTES}, {base}"
        place = self.builder.assign("b32", "mad.lo.s32", operands)
        self.places[key] = f"[{place}]"
        condition = f"@{predicate} " if predicate else ""
        name = "cp.async.cg.shared.global"
        self.builder.line(f"{condition}{name} [{place}], {address}, {WIDEST_BYTES}")


def parks_rows(grid: Grid, homes: TileHomes, widths: Widths, threads: int) -> bool:
    """Whether the rows of a grid are too long for the registers of few blocks."""
    rows = _folds_of_rows(grid.body, homes)
    if not rows or homes.shared or widths.even != widths.full:
        return False
    longest = max(row.axes[-1][1] * _vectors(row) for row in rows)
    if longest <= MOST_HELD * threads and threads <= MOST_HOLDING:
        return False
    return bool(_read_again(grid.body, homes))


def parking_neighbours(threads: int, most: int) -> int:
    """Blocks among which the threads of a row are divided."""
    size = 1
    while size < most and threads // size > PARKING_THREADS:
        size *= 2
    return size if threads % (size * WARP) == 0 else 1


def parking_blocks(threads: int) -> int:
    """Blocks of so many threads that should be on a multiprocessor."""
    return max(1, THREADS_TOGETHER // threads)


def park_rows(loads: Loads, body: Sequence[Statement]) -> None:
    """Begin to copy what several passes read, and wait until it is there."""
    parking = loads.values.memory.parking
    assert parking is not None
    again = _read_again(body, loads.homes)
    parking.is_filling = True
    for statement in _folds_of_rows(body, loads.homes):
        found = [load for load in loads_along(statement) if load.slot in again]
        for run in loads.runs_of(statement) if found else ():
            point = loads.values.at(run, statement.guard)
            for load in found:
                point.evaluate(load)
    parking.is_filling = False
    loads.builder.line("cp.async.wait_all")


def _folds_of_rows(body: Sequence[Statement], homes: TileHomes) -> list[Fold]:
    """The passes over a row that each thread goes through as a whole."""
    return [
        entry
        for entry in body
        if isinstance(entry, Fold)
        and entry.axes
        and homes.spread(entry) is Spread.LANES
    ]


def _vectors(statement: Collective) -> int:
    count = 1
    for _, size in statement.axes[:-1]:
        count *= size
    return count


def _read_again(body: Sequence[Statement], homes: TileHomes) -> set[int]:
    """Slots that more than one pass over a row loads, and none stores."""
    times: dict[int, int] = {}
    stored: set[int] = set()
    for statement in body:
        if isinstance(statement, Store):
            stored.add(statement.slot)
        if not isinstance(statement, Fold | Store) or not statement.axes:
            continue
        if homes.spread(statement) is Spread.LANES:
            for slot in {load.slot for load in loads_along(statement)}:
                times[slot] = times.get(slot, 0) + 1
    return {slot for slot, count in times.items() if count > 1} - stored
