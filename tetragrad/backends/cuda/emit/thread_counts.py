"""How wide a grid's threads move memory, and how many threads run an iteration.

Threads of a warp should touch neighbours: a thread takes 16 bytes at once where rows
begin at multiples of that, and single elements where they begin anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from tetragrad.backends.cuda.emit.patches import THREADS as PATCH_THREADS
from tetragrad.backends.cuda.emit.spread import WARP, wanted_threads, warp_part
from tetragrad.backends.cuda.emit.tiles import (
    Collective,
    Spread,
    TileHomes,
    loads_along,
)
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Alloc,
    Fold,
    For,
    Grid,
    Mma,
    Program,
    Running,
    Space,
    Statement,
    Store,
    When,
    every_statement,
)

#: Threads of a block: for products that are wide enough, at most for what is dealt out
#: freely, and at all.
PRODUCT_THREADS = 128
FLAT_THREADS = 256
MOST_THREADS = 1024
#: Blocks of more threads than this become clusters of smaller blocks, which begin and
#: end at different times, so that one loads while another stores.
ALONE_THREADS = 1024
#: Where a row is kept, blocks have so many threads on a multiprocessor at least, or
#: loads would not overlap with stores. Without stores there is less to overlap with.
ROW_THREADS, UNSTORED_ROW_THREADS = 1024, 1536
#: Narrower blocks that keep more than one row have too few registers for so many.
WIDE_THREADS = 512
#: Threads of a block in a cluster, at least.
NEIGHBOUR_THREADS = 256
#: Neighbours that a thread combines at least where values run along lanes.
RUNNING_WIDTH = 4
#: The bytes that a thread moves at once.
RUN_BYTES = 16
#: Threads of the iterations that share a block, and the blocks that there should be.
TOGETHER_THREADS = 256
ENOUGH_BLOCKS = 512
#: Bytes from thread to thread up to which a warp's single loads stay in one line.
LINE_STEP_BYTES = 4
#: Moves of so many times fewer elements, like those of rows' sums, do not decide.
SHORT_MOVES = 8


@frozen
class Widths:
    """Elements that a thread moves at once: as many as fit, and as rows begin evenly.

    The first one decides how many threads there are, the second how they take turns.
    """

    full: int
    even: int


def widths_of(program: Program, grid: Grid) -> Widths:
    """The widths of a grid, from all that it moves along lanes."""
    moves = list(_moves_of(program, grid))
    full = RUN_BYTES // max((move.itemsize for move in moves), default=4)
    if any(isinstance(entry, Mma) for entry in every_statement(grid.body)):
        return Widths(full, full)
    if any(isinstance(entry, Running) for entry in every_statement(grid.body)):
        # The more neighbours a thread has, the less it shares with others.
        return Widths(full, max(full, RUNNING_WIDTH))
    if any(_combines(entry) for entry in every_statement(grid.body)):
        return Widths(full, 1)
    longest = max((move.lanes for move in moves), default=1)
    long = [move for move in moves if move.lanes * SHORT_MOVES >= longest]
    return Widths(full, min((move.even_width(full) for move in long), default=full))


def _combines(statement: Statement) -> bool:
    """Whether elements of memory are added to, one at a time."""
    if isinstance(statement, Fold):
        return statement.tile.space is Space.GLOBAL
    return isinstance(statement, Store) and statement.mode is not Mode.STORE


@frozen
class _Move:
    """Neighbours in memory that a statement loads or stores along its last axis."""

    itemsize: int
    address: Affine
    lane: int
    lanes: int
    is_store: bool

    def even_width(self, width: int) -> int:
        """So many that all runs begin evenly, or loads of a warp share a line.

        What is stored in pieces would be sent to memory in pieces.
        """
        least = 1 if self.is_store else max(1, LINE_STEP_BYTES // self.itemsize)
        while width > least and not self._is_even(width):
            width //= 2
        return width

    def _is_even(self, width: int) -> bool:
        return self.address.constant % width == 0 and all(
            atom == self.lane or factor % width == 0
            for atom, factor in self.address.terms
        )


def _moves_of(program: Program, grid: Grid) -> Iterator[_Move]:
    itemsizes = [slot.dtype.itemsize for slot in program.slots]
    for statement in every_statement(grid.body):
        if not isinstance(statement, Collective) or not statement.axes:
            continue
        lane, lanes = statement.axes[-1]
        if isinstance(statement, Store) and statement.address.coefficient(lane) == 1:
            itemsize = itemsizes[statement.slot]
            yield _Move(itemsize, statement.address, lane, lanes, True)
        for entry in loads_along(statement):
            yield _Move(itemsizes[entry.slot], entry.address, lane, lanes, False)


def thread_count(grid: Grid, homes: TileHomes, widths: Widths, blocks: int = 1) -> int:
    """Threads of an iteration: one for each column of a product, or for two of many.

    Two columns share what is read of the rows. Without a product there are as many
    threads as the widest statement has work for, in up to so many blocks.
    """
    if homes.patches is not None:
        return PATCH_THREADS
    for tile in homes.fragments.values():
        rows, columns = tile.shape
        part_rows, part_columns = warp_part(rows, columns)
        return rows // part_rows * (columns // part_columns) * WARP
    widths_of_products = [
        statement.columns
        for statement in every_statement(grid.body)
        if isinstance(statement, Mma)
    ]
    if widths_of_products:
        widest = max(widths_of_products)
        return _whole_warps(max(min(PRODUCT_THREADS, widest), widest // 2))
    wanted = max(_wanted(grid, homes, widths))
    if wanted <= ALONE_THREADS or homes.shared:
        blocks = 1
    return _whole_warps(min(blocks * MOST_THREADS, wanted))


def _wanted(grid: Grid, homes: TileHomes, widths: Widths) -> Iterator[int]:
    """The threads that each statement has work for.

    Where a thread takes few neighbours at once, there are more of them, up to a point.
    """
    yield 1
    for statement in every_statement(grid.body):
        if not isinstance(statement, Collective):
            continue
        spread = homes.spread(statement)
        if spread not in (Spread.LANES, Spread.FLAT):
            continue
        flat = spread is Spread.FLAT
        few = wanted_threads(statement.axes, widths.full, flat=flat)
        many = wanted_threads(statement.axes, widths.even, flat=flat)
        yield min(few, FLAT_THREADS) if flat else few
        yield min(many, FLAT_THREADS)


def iterations_together(
    grid: Grid, homes: TileHomes, threads: int, iterations: int
) -> int:
    """How many iterations share a block, each with a warp or a part of one.

    Such threads need no barrier. There should be enough blocks all the same.
    """
    if threads > WARP or threads & (threads - 1) or homes.shared:
        return 1
    if any(_needs_block(entry) for entry in every_statement(grid.body)):
        return 1
    together = TOGETHER_THREADS // threads
    while together * threads > WARP and together * ENOUGH_BLOCKS > iterations:
        together //= 2
    return together


def _needs_block(statement: Statement) -> bool:
    """Whether a statement is about a whole block's threads or memory."""
    if isinstance(statement, For) and statement.guard:
        return True
    is_shared = isinstance(statement, Alloc) and statement.tile.space is Space.SHARED
    return is_shared or not isinstance(statement, For | When | Alloc | Collective)


def cluster_size(threads: int, blocks: int) -> int:
    """How many blocks such an iteration's threads are divided among."""
    size = 1
    if threads > ALONE_THREADS:
        while size < blocks and threads // size > NEIGHBOUR_THREADS:
            size *= 2
    return size if threads % (size * WARP) == 0 else 1


def least_blocks(program: Program, grid: Grid, threads: int) -> int:
    """Blocks that a multiprocessor must have room for at a time."""
    has_loop = any(isinstance(entry, For) for entry in every_statement(grid.body))
    if threads < NEIGHBOUR_THREADS or has_loop:
        return 1
    kept: set[int] = set()
    for statement in every_statement(grid.body):
        if isinstance(statement, Fold | Store) and statement.axes:
            kept |= {entry.slot for entry in loads_along(statement)}
    stores = any(isinstance(e, Store) and e.axes for e in every_statement(grid.body))
    if len(kept) != 1:
        return ROW_THREADS // threads if threads >= WIDE_THREADS and kept else 1
    return (ROW_THREADS if stores else UNSTORED_ROW_THREADS) // threads


def _whole_warps(threads: int) -> int:
    return -(-threads // WARP) * WARP
