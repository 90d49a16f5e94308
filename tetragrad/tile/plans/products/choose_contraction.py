"""Choose the blocks of a contraction from sizes, registers and caches."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence

from tetragrad.core import dtypes
from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Load, Position, Select, walk_until
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.choose_direct import choose_direct
from tetragrad.tile.plans.products.choose_supply import (
    are_rows_in_place,
    lhs_supply,
    rhs_supply,
)
from tetragrad.tile.plans.products.contraction import (
    Block,
    Contraction,
    ContractionPlan,
    moves_evenly,
    narrow_operands,
    strides_of,
)
from tetragrad.tile.plans.products.dot_steps import Dot, choose_dot
from tetragrad.tile.plans.products.operands import runs_of, strides_in_place
from tetragrad.tile.plans.products.product_cost import blocks_in, cost_of
from tetragrad.tile.plans.traffic import points_in, register_bytes

# Multiplications below which loops without packing are as fast.
SMALLEST_PRODUCT = 1 << 13
# Rows or columns below which an operand is used too rarely to be packed.
FEWEST_ROWS = 4
# Bytes of one row of a panel, so deep: the panel stays in the first-level cache. Rows
# that are not packed again and again may leave it: lines are used one after the other.
DEPTH_BYTES = 2048
LARGEST_DEPTH_BYTES = 4096
# Rows or columns of a block, from which on packing them is little beside the products.
NARROWEST_BLOCK = 64
# Results of a block that are gathered over several blocks of the depth.
GATHERED_BYTES = 4 << 20
MAXIMUM_MICRO_ROWS = 12
# Vectors of a micro-tile's row, and what a load takes beside a multiplication that
# does not wait for it.
MOST_VECTORS = 4
LOAD_COST = 0.5
# Rows and columns that grid iterations of a GPU compute, the best first, and the depth
# that is packed at once.
SQUARE_BLOCKS = ((32, 256), (64, 64), (32, 32))
SQUARE_DEPTH = 16
# The same for float32 where there is enough to do: eight by eight results a thread.
PATCH_SIDE = 128
# The same for a matrix unit; blocks are padded to what its warps compute.
MATRIX_BLOCKS = ((256, 128), (128, 128), (64, 64), (32, 32))
MATRIX_DEPTH = 64
MATRIX_UNIT_SIDE = 32
MATRIX_UNIT_DEPTH = 16
# A block of the depth that is shallower to let all rows be packed at once, and the part
# of the cache that those may take.
SHALLOWEST_BLOCK = 64
SHARE_OF_ROWS = 4


def is_worth_packing(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether operands are used often enough to be packed first."""
    rows = points_in(kernel, contraction.rows)
    columns = points_in(kernel, contraction.columns)
    depth = points_in(kernel, contraction.depth)
    return min(rows, columns) >= FEWEST_ROWS and rows * columns * depth >= (
        SMALLEST_PRODUCT
    )


def choose_contraction(
    kernel: Kernel, contraction: Contraction, target: Target
) -> ContractionPlan:
    """The cheapest way: either operand on vector lanes, in windows or as an image."""
    if target.has_free_iterations:
        swap = _columns_are_rows(kernel, contraction)
        contraction = contraction.swapped() if swap else contraction
        return _square_plan(kernel, contraction, target, swap=swap)
    return cheapest_contraction(kernel, contraction, target)[0]


@functools.lru_cache(maxsize=16)
def cheapest_contraction(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[ContractionPlan, float]:
    """The cheapest plan for a processor with caches, and its vector operations."""
    plans: list[ContractionPlan] = [
        _plan(kernel, contraction, target, swap=False),
        _plan(kernel, contraction.swapped(), target, swap=True),
    ]
    found = [(plan, cost_of(kernel, contraction, plan)) for plan in plans]
    for swap in (False, True):
        sides = contraction.swapped() if swap else contraction
        direct = choose_direct(kernel, sides, target, swap=swap)
        found += [] if direct is None else [direct]
    return min(found, key=lambda entry: entry[1])


def _columns_are_rows(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether results are contiguous along the rows, so that those belong on lanes."""
    innermost = in_output_order(kernel, contraction.columns)[-1]
    return all(
        output.address.coefficient(innermost) != 1 for output in kernel.outputs
    ) and any(
        output.address.coefficient(axis) == 1
        for output in kernel.outputs
        for axis in contraction.rows
    )


def _square_plan(
    kernel: Kernel, contraction: Contraction, target: Target, *, swap: bool
) -> ContractionPlan:
    """A square of results a grid iteration, all of whose sums stay in registers."""
    batches = points_in(kernel, contraction.batch)
    row_axes = in_output_order(kernel, contraction.rows)
    column_axes = in_output_order(kernel, contraction.columns)
    depth_axes = in_memory_order(contraction.depth, [contraction.lhs, contraction.rhs])
    narrow = narrow_operands(contraction) if "mma" in target.features else None
    patched = is_for_patches(kernel, contraction, target)
    blocks = ((PATCH_SIDE, PATCH_SIDE),) if patched else SQUARE_BLOCKS
    for height, width in MATRIX_BLOCKS if narrow else blocks:
        rows = block_below(kernel, row_axes, height)
        columns = block_below(kernel, column_axes, width)
        columns = _in_one_piece(kernel, contraction, columns)
        count = batches * blocks_in(kernel, rows) * blocks_in(kernel, columns)
        if count >= target.units:
            break
    depth = block_below(kernel, depth_axes, MATRIX_DEPTH if narrow else SQUARE_DEPTH)
    if narrow and depth.outer == () and not depth.inner:
        # What a step of the unit overhangs the depth by is packed as zeros.
        whole = -(-depth.chunk // MATRIX_UNIT_DEPTH) * MATRIX_UNIT_DEPTH
        depth = replace(depth, chunk=whole)
    unit = MATRIX_UNIT_SIDE if narrow else PATCH_SIDE if patched else 1
    return ContractionPlan(
        swap=swap,
        batch=contraction.batch,
        rows=rows,
        columns=columns,
        depth=depth,
        micro_rows=-(-rows.size(kernel) // unit) * unit,
        micro_columns=-(-columns.size(kernel) // unit) * unit,
        lanes=target.vector_lanes(4),
        at_once=True,
        narrow=narrow,
        overlaps=patched,
    )


def _in_one_piece(kernel: Kernel, contraction: Contraction, block: Block) -> Block:
    """The block, without the outer axes that do not go on where the inner ones end.

    A square's columns are stored as one axis, with all that is read for that.
    """
    forms = list(_forms_beside(kernel, contraction))
    while len(block.moving) > 1 and not _go_on(kernel, block.moving, forms):
        if block.chunk > 1:
            block = replace(block, chunk=1)
        else:
            split = block.split + 1
            block = replace(block, split=split, chunk=kernel.axes[block.axes[split]])
    return block


def _forms_beside(kernel: Kernel, contraction: Contraction) -> Iterator[Affine]:
    """Where results are stored, and all that is asked of their places besides sums."""
    sums: dict[Expression, Expression] = {contraction.reduction: contraction.reduction}
    for output in kernel.outputs:
        yield from (output.address, *output.guard)
        for entry in walk_until(sums, output.value):
            if isinstance(entry, Load):
                yield from (entry.address, *entry.guard)
            elif isinstance(entry, Select):
                yield from entry.guard
            elif isinstance(entry, Position):
                yield entry.form


def _go_on(kernel: Kernel, axes: Sequence[int], forms: Sequence[Affine]) -> bool:
    """Whether each axis steps as far as all positions of the axes inside it."""
    for form in forms:
        step = form.coefficient(axes[-1])
        for place in range(len(axes) - 1, -1, -1):
            if form.coefficient(axes[place]) != step:
                return False
            step *= kernel.axes[axes[place]]
    return True


def is_for_patches(kernel: Kernel, contraction: Contraction, target: Target) -> bool:
    """Whether a block of float32 results for each multiprocessor is filled well.

    Loads go straight into shared memory, so they must be plain.
    """
    operands = (contraction.lhs, contraction.rhs)
    if any(entry.dtype is not dtypes.float32 for entry in operands):
        return False
    if not all(isinstance(entry, Load) and not entry.guard for entry in operands):
        return False
    sides = (contraction.rows, contraction.columns, contraction.depth)
    if any(len(axes) != 1 for axes in sides):
        return False
    rows, columns, depth = (points_in(kernel, axes) for axes in sides)
    blocks = points_in(kernel, contraction.batch)
    blocks *= -(-rows // PATCH_SIDE) * -(-columns // PATCH_SIDE)
    return blocks >= target.units and depth % SQUARE_DEPTH == 0


def block_below(kernel: Kernel, axes: Sequence[int], limit: int) -> Block:
    """As many inner axes as fit into a block, then what fits of the next one."""
    split, inner = len(axes) - 1, 1
    while split > 0 and inner * kernel.axes[axes[split]] <= limit:
        inner *= kernel.axes[axes[split]]
        split -= 1
    chunk = min(kernel.axes[axes[split]], max(1, limit // inner))
    return Block(tuple(axes), split, chunk)


def _plan(
    kernel: Kernel, contraction: Contraction, target: Target, *, swap: bool
) -> ContractionPlan:
    itemsize = register_bytes(contraction.reduction.accumulator)
    lanes = target.vector_lanes(itemsize)
    columns_size = points_in(kernel, contraction.columns)
    while lanes > 1 and lanes // 2 >= columns_size:
        lanes //= 2
    height, vectors = _micro_tile(kernel, contraction, target, lanes)
    depth, dot = _depth_and_dot(kernel, contraction, target, height)
    micro = (height, lanes * vectors)
    if dot is not None and dot.is_by_tiles:
        row_count = points_in(kernel, contraction.rows)
        micro = dot.micro_tile(row_count, columns_size)
    rows, columns = _grid_blocks(kernel, contraction, target, (depth, dot), micro)
    plan = ContractionPlan(
        swap=swap,
        batch=contraction.batch,
        rows=rows,
        columns=columns,
        depth=depth,
        micro_rows=min(micro[0], rows.size(kernel)),
        micro_columns=micro[1],
        lanes=target.vector_lanes(itemsize),
        dot=dot,
        parts=(dot is None and _parts(depth.size(kernel), itemsize)) or 1,
    )
    lhs = lhs_supply(kernel, contraction, target, plan)
    return replace(plan, lhs=lhs, rhs=rhs_supply(kernel, contraction, target, plan))


def _plain_depth(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    axes: tuple[int, ...],
    height: int,
) -> Block:
    """How deep a block is: deeper if it has equal parts, and rows are not packed again.

    They are not where they are read in place, or lie side by side and are packed once.
    """
    itemsize = register_bytes(contraction.reduction.accumulator)
    whole = Block(axes, 0, kernel.axes[axes[0]])
    rows = in_output_order(kernel, contraction.rows)
    all_rows = Block(rows, 0, kernel.axes[rows[0]])
    found = strides_in_place(kernel, whole, all_rows, contraction.lhs)
    is_packed_once = found is not None and found[1] == 1
    if is_packed_once or are_rows_in_place(
        kernel, contraction.lhs, whole, all_rows, height
    ):
        limit = _depth_limit(kernel, axes, LARGEST_DEPTH_BYTES // itemsize)
        block = block_of(kernel, axes, limit)
        if _parts(block.size(kernel), itemsize):
            return block
    limit = _depth_limit(kernel, axes, DEPTH_BYTES // itemsize)
    if len(runs_of(kernel, all_rows, contraction.lhs)) > 1:
        # They are packed all at once. Columns are packed for all of them together if
        # they fit the cache, and sums that are gathered more often cost less.
        row_bytes = all_rows.size(kernel) * itemsize
        fitting = target.cache_bytes // SHARE_OF_ROWS // row_bytes
        limit = min(limit, fitting) if fitting >= SHALLOWEST_BLOCK else limit
    return block_of(kernel, axes, limit)


def _parts(depth: int, itemsize: int) -> int | None:
    """Equal parts of a depth, none of them much deeper than a packed panel."""
    fewest = max(1, round(depth * itemsize / DEPTH_BYTES))
    counts = range(fewest, 2 * fewest)
    return next((count for count in counts if depth % count == 0), None)


def _depth_and_dot(
    kernel: Kernel, contraction: Contraction, target: Target, height: int
) -> tuple[Block, Dot | None]:
    """How deep a block is, and the instruction for narrow operands, if one fits.

    Groups of the depth must lie next to each other, so it must be one run.
    """
    operands = (contraction.lhs, contraction.rhs)
    axes = in_memory_order(contraction.depth, operands)
    total = contraction.reduction.accumulator
    dot = choose_dot(*operands, total, target)
    if dot is None:
        return _plain_depth(kernel, contraction, target, axes, height), None
    limit = DEPTH_BYTES // dot.step.lhs.itemsize
    depth = block_of(kernel, axes, _depth_limit(kernel, axes, limit))
    group = dot.unit // math.gcd(dot.unit, depth.inner_size(kernel))
    whole = replace(depth, chunk=-(-depth.chunk // group) * group)
    if all(len(runs_of(kernel, whole, operand)) == 1 for operand in operands):
        return whole, dot
    limit = DEPTH_BYTES // register_bytes(total)
    return block_of(kernel, axes, _depth_limit(kernel, axes, limit)), None


def _micro_tile(
    kernel: Kernel, contraction: Contraction, target: Target, lanes: int
) -> tuple[int, int]:
    """Rows and vectors of a micro-tile: what takes the fewest steps for all results.

    Each step of the depth takes a multiplication for every vector of results, and a
    load for every row and every vector of columns.
    """
    rows = points_in(kernel, contraction.rows)
    columns = points_in(kernel, contraction.columns)

    def steps(shape: tuple[int, int]) -> tuple[float, int]:
        height, vectors = shape
        tiles = -(-rows // height) * -(-columns // (lanes * vectors))
        step = height * vectors + LOAD_COST * (height + vectors)
        return tiles * step, -height * vectors

    most = -(-columns // lanes)
    if any(1 in strides_of(contraction.lhs, axis) for axis in contraction.rows):
        # Panels of few rows are packed in short pieces, where memory runs along rows.
        most = min(2, most)
    shapes = [
        (height, vectors)
        for vectors in range(1, min(MOST_VECTORS, most) + 1)
        for height in _heights(_totals(target.registers, vectors) // vectors)
    ]
    return min(shapes, key=steps)


def _totals(registers: int, vectors: int) -> int:
    """How many registers may hold results, if each row has so many vectors.

    A quarter of all is for columns and broadcast elements, and more if these are
    more: what lacks a register goes through memory at every step. Two elements are
    broadcast, as the next is loaded while one is multiplied.
    """
    return min(3 * registers // 4, registers - vectors - 2)


def _heights(most: int) -> range:
    """Rows of a micro-tile, as many as registers hold or down to half of that."""
    most = max(1, min(MAXIMUM_MICRO_ROWS, most))
    return range(most, (most - 1) // 2, -1)


def _depth_limit(kernel: Kernel, axes: Sequence[int], limit: int) -> int:
    """How deep a block is: all of it, if that is not much more than a block.

    Results of several blocks are gathered in memory, which costs more than a panel
    that overflows the first-level cache.
    """
    depth = points_in(kernel, axes)
    return depth if 2 * depth <= 3 * limit else limit


def _grid_blocks(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    depth_and_dot: tuple[Block, Dot | None],
    micro: tuple[int, int],
) -> tuple[Block, Block]:
    """Blocks of rows and columns: as large as caches allow, enough for all units.

    What is multiplied by dot steps takes little longer than packing rows again, so
    there is one block for each unit; else two, as units are not always alike.
    """
    depth, dot = depth_and_dot
    row_axes = in_output_order(kernel, contraction.rows)
    column_axes = in_output_order(kernel, contraction.columns)
    itemsize = register_bytes(contraction.reduction.accumulator)
    packed = itemsize if dot is None else dot.step.rhs.itemsize
    depth_bytes = depth.size(kernel) * packed
    column_limit = max(NARROWEST_BLOCK, target.cache_bytes // 2 // depth_bytes)
    column_limit = min(column_limit, points_in(kernel, column_axes))
    row_limit = GATHERED_BYTES // itemsize // column_limit
    all_rows = Block(row_axes, 0, kernel.axes[row_axes[0]])
    packs_again = len(runs_of(kernel, all_rows, contraction.lhs)) == 1
    if not packs_again:
        # Rows that are several runs of addresses are packed all at once.
        row_limit = max(NARROWEST_BLOCK, target.cache_bytes // 2 // depth_bytes)
    row_limit = min(row_limit, points_in(kernel, row_axes))
    lanes = target.vector_lanes(itemsize)
    even = even_axes(kernel, contraction, column_axes, lanes)
    batches = points_in(kernel, contraction.batch)
    wanted = 2 * target.units if target.units > 1 and dot is None else target.units
    while True:
        rows = block_of(kernel, row_axes, row_limit)
        columns = block_of(kernel, column_axes, column_limit, even)
        rows = whole_panels(kernel, equal_parts(kernel, contraction, rows), micro[0])
        columns = equal_parts(kernel, contraction, columns)
        columns = whole_panels(kernel, columns, micro[1])
        if batches * blocks_in(kernel, rows) * blocks_in(kernel, columns) >= wanted:
            return rows, columns
        if row_limit <= NARROWEST_BLOCK and column_limit <= NARROWEST_BLOCK:
            return rows, columns
        # Packing rows again for other columns costs less than columns for other rows.
        narrow = (
            column_limit < 4 * micro[1]
            if packs_again
            else (row_limit >= 2 * column_limit)
        )
        can_split_rows = row_limit > NARROWEST_BLOCK
        if (narrow and can_split_rows) or column_limit <= NARROWEST_BLOCK:
            row_limit = -(-row_limit // 2)
        else:
            column_limit = -(-column_limit // 2)


def whole_panels(kernel: Kernel, block: Block, width: int) -> Block:
    """A block along one axis that only overhangs its last micro-tile at the end."""
    if block.inner or block.chunks(kernel) == 1:
        return block
    return replace(block, chunk=-(-block.chunk // width) * width)


def block_of(
    kernel: Kernel, axes: Sequence[int], limit: int, even: int | None = None
) -> Block:
    """As many inner axes as fit into a block, then a part of the next one.

    The parts are as equal as possible, and about ``limit`` long: a little more is
    better than a short rest. Only the last ``even`` axes are taken together.
    """
    split, inner = len(axes) - 1, 1
    first = 0 if even is None else len(axes) - even
    while split > first and inner * kernel.axes[axes[split]] <= limit:
        inner *= kernel.axes[axes[split]]
        split -= 1
    size = kernel.axes[axes[split]]
    chunks = min(size, max(1, round(size * inner / limit)))
    return Block(tuple(axes), split, -(-size // chunks))


def equal_parts(kernel: Kernel, contraction: Contraction, block: Block) -> Block:
    """A block whose positions are found by division has no shorter last one."""
    if moves_evenly(kernel, contraction, block.moving):
        return block
    size = kernel.axes[block.chunked]
    chunk = max(part for part in range(1, block.chunk + 1) if size % part == 0)
    return replace(block, chunk=chunk)


def even_axes(
    kernel: Kernel, contraction: Contraction, axes: Sequence[int], least: int
) -> int:
    """How many inner axes to take together.

    As many as the outputs move evenly along, so that results are stored as vectors;
    more where those have fewer than ``least`` positions, or a multiple of that.
    """
    count, size = 1, kernel.axes[axes[-1]]
    while count < len(axes):
        wider = axes[len(axes) - count - 1 :]
        may_end = size > least and size % least
        if may_end and not moves_evenly(kernel, contraction, wider):
            break
        size *= kernel.axes[wider[0]]
        count += 1
    return count


def in_memory_order(
    axes: Iterable[int], operands: Sequence[Expression]
) -> tuple[int, ...]:
    """Axes by how far they move through the operands, the largest step first."""

    def step(axis: int) -> int:
        steps = [step for entry in operands for step in strides_of(entry, axis)]
        return max((abs(step) for step in steps), default=0)

    return tuple(sorted(axes, key=lambda axis: (-step(axis), axis)))


def in_output_order(kernel: Kernel, axes: Iterable[int]) -> tuple[int, ...]:
    """Axes by how far they move through the outputs, the largest step first."""

    def step(axis: int) -> int:
        return max(abs(output.address.coefficient(axis)) for output in kernel.outputs)

    return tuple(sorted(axes, key=lambda axis: (-step(axis), axis)))
