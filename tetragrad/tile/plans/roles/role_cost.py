"""How long a product by roles takes, from its sizes alone.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Dimension
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.plans.roles.filled import FilledOperand
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    Operand,
    RoleProduct,
    Sides,
    cells_of,
    is_along_rows,
    may_skip,
    overlap_of,
    skipped_dimensions,
)
from tetragrad.tile.plans.traffic import points_in

#: What a second launch takes, and what moves through memory in a cycle, on the whole
#: device.
LAUNCH_CYCLES = 4000
MEMORY_BYTES_PER_CYCLE = 2400

MULTIPLICATIONS_PER_CYCLE = 2048
#: Bytes in a cycle, of one multiprocessor: to and from its shared memory, and from the
#: second-level cache; so much longer where rows begin in the middle of its lines, with
#: whole sectors of them or anywhere.
SHARED_BYTES_PER_CYCLE = 128
CACHE_BYTES_PER_CYCLE = 48
LINE_BYTES = 128
WHOLE_SECTORS = 1.1
UNALIGNED = 1.75
#: The same for rows of a box beyond the edge, and for each position of the depth where
#: neighbours fill no line: its few bytes are asked for again and again.
BEYOND = 2.2
FEW_NEIGHBOURS = 5.0
STORED_PER_CYCLE = 24
#: What a step takes at least where only one member multiplies, with so many columns:
#: nobody else does while it waits (64 x 128 blocks took as long as 128 x 128 ones). So
#: much more where neighbours wait for one another.
ALONE_CYCLES = 330
ALONE_COLUMN_CYCLES = 2
ALONE_TOGETHER_CYCLES = 140
#: What every block takes to begin, and what neighbours take to find one another.
BLOCK_CYCLES = 600
CLUSTER_CYCLES = 2500
#: Instructions for an element that threads compute: from a tile, or from memory as a
#: part of a vector, of a pair of neighbours, or alone. Lanes that issue one in a cycle;
#: what a step waits for loads, less of so many bytes, which stay in the first-level
#: cache, and what it takes to hand a slot on.
NARROW_LOAD = 1.25
VECTOR_LOAD = 2.0
PAIR_LOAD = 17.0
SINGLE_LOAD = 5.0
WARP = 32
LANES_PER_CYCLE = 128
LOADING = 1400
LOADING_NEAR = 650
NEAR_BYTES = 20 * 1024
HANDING_ON = 700
#: The same for an element that members hold, and what begins and ends their steps.
HELD_LOAD = 1.5
HOLDING = 650
#: Bytes of row operands that a group reads again for every column block: so many stay
#: in the second-level cache beside the columns, or four times that if it is all rows.
GROUP_BYTES = 8 << 20


@frozen
class Block:
    """What a block of a product is: its sizes, and the boxes that it is made of.

    The names are those of :class:`RolePlan`, which has the rest too.
    """

    rows: int
    columns: int
    depth: int
    row_chunks: tuple[int, ...]
    column_chunks: tuple[int, ...]
    depth_chunks: tuple[int, ...]
    held: bool

    @property
    def members(self) -> int:
        return self.rows // MEMBER_ROWS


@frozen
class Order:
    """Row blocks of a group, workers side by side, and blocks one after the other."""

    group: int
    workers: int
    turns: int


class Pricing:
    """How long the blocks of one product take; each side's part is found out once."""

    def __init__(self, kernel: Kernel, product: RoleProduct, target: Target) -> None:
        self.kernel = kernel
        self.product = product
        self.units = target.units
        self.batches = points_in(kernel, product.contraction.batch)
        self.itemsize = product.lhs.dtype.itemsize
        self.row_bytes = points_in(kernel, product.depth) * self.itemsize
        self.storing = len(kernel.outputs) / STORED_PER_CYCLE
        if any(is_along_rows(output, product) for output in kernel.outputs):
            self.storing *= 1.25
        # However it is cut, every operand must come from memory.
        nbytes = product.lhs.nbytes + product.rhs.nbytes
        self.memory = nbytes / MEMORY_BYTES_PER_CYCLE
        self.skips = not product.is_coarse and may_skip(kernel, product)
        self._overlaps = (
            overlap_of(kernel, product.lhs),
            overlap_of(kernel, product.rhs),
        )
        self._operands = (
            (product.lhs, points_in(kernel, product.lhs.side)),
            (product.rhs, points_in(kernel, product.rhs.side)),
        )
        self._cells: dict[tuple[object, ...], Cells] = {}
        self._brought: dict[tuple[int, int, int], float] = {}
        self._live: dict[tuple[object, ...], float] = {}

    def sides(self, block: Block) -> Sides:
        """The cells that a block means."""
        down, across = self._overlaps
        lhs, rhs, depth = self.product.lhs, self.product.rhs, self.product.depth
        return Sides(
            self._side(lhs.side, block.rows, block.row_chunks, down),
            self._side(rhs.side, block.columns, block.column_chunks, across),
            self._side(depth, block.depth, block.depth_chunks, 0),
        )

    def _side(self, *side: Any) -> Cells:
        found = self._cells.get(side)
        if found is None:
            found = self._cells[side] = cells_of(self.kernel, *side)
        return found

    def cycles_of(self, block: Block, cluster: int) -> float:
        """How long the busiest worker takes, alone or in a cluster."""
        sides = self.sides(block)
        turns = self.order(block, sides, cluster).turns
        steps = float(sides.depth.blocks)
        if self.skips:
            steps *= self._live_part(sides, cluster)
        storing = block.rows * block.columns * self.storing
        cycles = steps * self._step_cycles(block, sides, cluster) + storing
        worker = turns * (cycles + BLOCK_CYCLES)
        # Of plans that wait for memory alike, those are better that do less besides.
        slowest = max(worker, self.memory) + worker / 16
        return slowest + (CLUSTER_CYCLES if cluster > 1 else 0)

    def order(self, block: Block, sides: Sides, cluster: int) -> Order:
        """Groups of rows, and as many workers as there is work for."""
        rows = -(-sides.rows.blocks // cluster)
        group = group_of(rows, block.rows * self.row_bytes)
        groups = -(-rows // group)
        blocks = group * sides.columns.blocks * groups * self.batches
        workers = min(self.units // cluster, blocks)
        return Order(group, workers, -(-blocks // workers))

    def _live_part(self, sides: Sides, cluster: int) -> float:
        """The part of all steps that is not skipped as it would bring zeros."""
        key = (sides, cluster > 1)
        found = self._live.get(key)
        if found is None:
            kernel, product = self.kernel, self.product
            skipped = skipped_dimensions(kernel, product, sides, cluster)
            found = math.prod(inside_part(kernel, entry) for entry in skipped)
            self._live[key] = found
        return found

    def _step_cycles(self, block: Block, sides: Sides, cluster: int) -> float:
        """The slowest part of a step: products, shared memory, cache, or filling."""
        multiplying = _multiplying_cycles(self.product, block)
        # Every 64 rows read the columns again; all that is read was written before.
        parts = block.rows // MEMBER_ROWS
        touched = parts * (MEMBER_ROWS + block.columns) + block.rows + block.columns
        sharing = touched * block.depth * self.itemsize / SHARED_BYTES_PER_CYCLE
        bringing = self._bringing_cycles(0, block.rows, block.depth)
        bringing += self._bringing_cycles(1, block.columns, block.depth) / cluster
        slowest = max(multiplying, sharing, bringing)
        if parts == 1:
            waiting = ALONE_CYCLES + block.columns * ALONE_COLUMN_CYCLES
            waiting += ALONE_TOGETHER_CYCLES if cluster > 1 else 0
            slowest = max(slowest, waiting)
        if any(self.product.filled):
            slowest = max(slowest, _filling_cycles(self.product, block, sides))
        return slowest

    def _bringing_cycles(self, factor: int, extent: int, depth: int) -> float:
        key = (factor, extent, depth)
        found = self._brought.get(key)
        if found is None:
            operand, size = self._operands[factor]
            found = self._brought[key] = _bringing_cycles(operand, extent, depth, size)
        return found


def inside_part(kernel: Kernel, dimension: Dimension) -> float:
    """The part of all positions at which an index is inside its dimension."""
    axes = sorted(dimension.index.axes())
    sizes = tuple(kernel.axes[axis] for axis in axes)
    steps = tuple(dimension.index.coefficient(axis) for axis in axes)
    return _inside_part(dimension.index.constant, steps, sizes, dimension.size)


@functools.lru_cache(maxsize=1024)
def _inside_part(
    start: int, steps: tuple[int, ...], sizes: tuple[int, ...], limit: int
) -> float:
    indices = [
        start + sum(map(operator.mul, steps, place))
        for place in itertools.product(*map(range, sizes))
    ]
    return sum(0 <= index < limit for index in indices) / len(indices)


@functools.lru_cache(maxsize=1024)
def group_of(rows: int, nbytes: int) -> int:
    """Row blocks of a group, of so many bytes each: all of them, or what stays near.

    The last group should overhang by few.
    """
    if rows * nbytes <= 4 * GROUP_BYTES:
        return rows
    most = min(rows, max(2, GROUP_BYTES // nbytes))
    least = max(1, most // 2)
    return min(range(most, least - 1, -1), key=lambda group: -(-rows // group) * group)


def _multiplying_cycles(product: RoleProduct, block: Block) -> float:
    """What the matrix unit takes for a step."""
    rate = MULTIPLICATIONS_PER_CYCLE * 2 / product.lhs.dtype.itemsize
    return block.rows * max(block.columns, 32) * block.depth / rate


def _bringing_cycles(operand: Operand, extent: int, depth: int, size: int) -> float:
    """What the cache takes to serve a step's part of one operand, in lines.

    Every row of a box is a request, also those beyond an edge.
    """
    if isinstance(operand, FilledOperand):
        nbytes = extent * depth * operand.load.dtype.itemsize
        return nbytes / CACHE_BYTES_PER_CYCLE
    line = depth * operand.dtype.itemsize / CACHE_BYTES_PER_CYCLE
    inside = min(extent, size)
    lines = inside * _line_cost(operand) + (extent - inside) * BEYOND
    if not operand.is_deep and operand.dimensions[0].size < panel_of(operand.dtype):
        return depth * FEW_NEIGHBOURS * line
    return lines * line


def _line_cost(operand: Operand) -> float:
    """How much longer an operand takes than one whose rows begin with a line."""
    costs = [
        1.0
        if pitch % LINE_BYTES == 0
        else WHOLE_SECTORS
        if pitch % 32 == 0
        else UNALIGNED
        for pitch in operand.pitches
    ]
    return max(costs, default=1.0)


def _filling_cycles(product: RoleProduct, block: Block, sides: Sides) -> float:
    """What threads take to compute operands: instructions or loads, and waiting."""
    if block.held:
        assert isinstance(product.lhs, FilledOperand)
        each = HELD_LOAD + product.lhs.operations
        # A member's own product does not go on while it computes the next operand.
        alone = _multiplying_cycles(product, block) / block.members
        return block.rows * block.depth * each / LANES_PER_CYCLE + alone + HOLDING
    instructions, loading, waiting = 0.0, 0.0, 0.0
    for operand, cells in ((product.lhs, sides.rows), (product.rhs, sides.columns)):
        if not isinstance(operand, FilledOperand):
            continue
        elements = sides.depth.extent * cells.extent * cells.count
        if operand.brings((sides.depth, cells)):
            instructions += elements * (NARROW_LOAD + operand.operations)
            waiting += HANDING_ON
            continue
        single, lines = _loading(operand, sides.depth, cells)
        instructions += elements * (single + operand.operations)
        loading += elements / WARP * lines
        is_near = operand.nbytes <= NEAR_BYTES
        waiting += LOADING_NEAR if is_near else LOADING
    return max(instructions / LANES_PER_CYCLE, loading) + waiting


def _loading(operand: FilledOperand, depth: Cells, side: Cells) -> tuple[float, float]:
    """Instructions for each element, and lines that a warp touches to load one each."""
    beside, across = operand.lane_steps(depth, side)
    if beside == 1 and operand.load_width >= 4:
        return VECTOR_LOAD, 2 / operand.load_width
    if beside == 1:
        return PAIR_LOAD, 1.5
    lines = 1 + across * operand.load.dtype.itemsize * WARP / LINE_BYTES
    return SINGLE_LOAD, min(WARP, lines)
