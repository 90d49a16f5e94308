"""How long a product by roles takes, from its sizes alone.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import operator
from typing import Any

from tetragrad.core.frozen import frozen, replace
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Dimension
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.products.choose_contraction import is_for_patches
from tetragrad.tile.plans.products.contraction import Contraction
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.plans.roles.filled import FilledOperand
from tetragrad.tile.plans.roles.role_plan import (
    LOADING_WARPS,
    MEMBER_ROWS,
    WARPS,
    Operand,
    RoleProduct,
    Sides,
    cells_of,
    is_along_rows,
    may_skip,
    overlap_of,
    skipped_dimensions,
)
from tetragrad.tile.plans.roles.split import PRODUCTS
from tetragrad.tile.plans.traffic import points_in

#: What a second launch takes, and what moves through memory in a cycle, on the whole
#: device; of that, operands and results of a product, and sums of its parts.
LAUNCH_CYCLES = 2500
MEMORY_BYTES_PER_CYCLE = 2400
READ_PER_CYCLE = 3500
WRITTEN_PER_CYCLE = 1300

MULTIPLICATIONS_PER_CYCLE = 2048
#: Bytes in a cycle, of one multiprocessor: to and from its shared memory, and from the
#: second-level cache, from where all get so many lines; a row is so many where it does
#: not begin with a line, but with a whole sector, or anywhere.
SHARED_BYTES_PER_CYCLE = 128
CACHE_BYTES_PER_CYCLE = 140
LINE_BYTES = 128
LINES_FOR_ALL = 75
WHOLE_SECTORS = 1.1
UNALIGNED = 3.0
#: The same for rows of a box beyond the edge, and for each position of the depth where
#: neighbours fill no line: its few bytes are asked for again and again.
BEYOND = 3.1
FEW_NEIGHBOURS = 2.9
#: Results that a block stores in a cycle; half of the time nobody multiplies.
STORED_PER_CYCLE = 9.4
#: What a step takes at least, with one member more for each column; and what it takes
#: more where neighbours wait for one another.
ALONE_CYCLES = 240
ALONE_COLUMN_CYCLES = 0.67
PAIR_CYCLES = 370
WAITING_CYCLES = 29
#: What every block takes to begin, a worker to be launched beside the others, and what
#: neighbours take to find one another.
BLOCK_CYCLES = 50
WORKER_CYCLES = 7
CLUSTER_CYCLES = 1200
#: Instructions for an element that threads compute, from a tile or from memory; lanes
#: that issue one in a cycle. Lines that are loaded take so many cycles each, and longer
#: where places are divided by what is no power of two; a step waits for them, or to
#: hand a slot on.
NARROW_LOAD = 1.25
SINGLE_LOAD = 2.0
WARP = 32
LANES_PER_CYCLE = 128
LOADED_LINE = 1.7
UNEVEN = 1.5
LOADING = 620
HANDING_ON = 700
#: The same for an element that members hold, and what begins and ends their steps.
HELD_LOAD = 1.5
HOLDING = 650
#: The part of all lanes' multiplications that an ordinary product reaches, in patches
#: of results and without.
ORDINARY_PART, SCATTERED_PART = 0.8, 0.3
#: How sharply the slowest of what goes on at once decides: it hides the others, but
#: for those that take nearly as long.
SHARPNESS = 6
#: Bytes of row operands that a group reads again for every column block: so many stay
#: in the second-level cache beside the columns, or four times that if it is all rows.
GROUP_BYTES = 8 << 20


@frozen(eq=False)
class Block:
    """What a block of a product is: its sizes, and the boxes that it is made of.

    The names are those of :class:`RolePlan`, which has the rest too. There is one of
    each for all that is asked about it.
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


@frozen
class Step:
    """Lines of the cache that a step takes, and cycles of what goes on at once."""

    lines: float
    cycles: tuple[float, ...]
    longest: float


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
        self.reading = (product.lhs.nbytes + product.rhs.nbytes) / READ_PER_CYCLE
        self.writing = _written(kernel) / WRITTEN_PER_CYCLE
        self.skips = not product.is_coarse and may_skip(kernel, product)
        self._overlaps = (
            overlap_of(kernel, product.lhs),
            overlap_of(kernel, product.rhs),
        )
        self._operands = (
            (product.lhs, points_in(kernel, product.lhs.side)),
            (product.rhs, points_in(kernel, product.rhs.side)),
        )
        #: The kernel with the length that the depth has in a part of it.
        self.within = kernel
        self._cells: dict[tuple[object, ...], Cells] = {}
        self._beside: dict[Block, tuple[Cells, Cells]] = {}
        self._brought: dict[tuple[int, int, int], float] = {}
        self._live: dict[tuple[object, ...], float] = {}
        self._steps: dict[tuple[Block, int], Step] = {}

    def divided(self, axis: int, parts: int, length: int) -> Pricing:
        """The same for all of so many parts of the depth, without building them.

        What a step takes does not depend on how many there are.
        """
        part = copy.copy(self)
        sizes = list(self.kernel.axes)
        sizes[axis] = length
        part.within = replace(self.kernel, axes=tuple(sizes))
        part.batches = parts * self.batches
        part.row_bytes = points_in(part.within, self.product.depth) * self.itemsize
        part.writing = parts * self.writing
        part._cells, part._live = {}, {}
        return part

    def sides(self, block: Block) -> Sides:
        """The cells that a block means."""
        beside = self._beside.get(block)
        if beside is None:
            down, across = self._overlaps
            lhs, rhs = self.product.lhs, self.product.rhs
            beside = self._beside[block] = (
                self._side(lhs.side, block.rows, block.row_chunks, down),
                self._side(rhs.side, block.columns, block.column_chunks, across),
            )
        depth = self._side(self.product.depth, block.depth, block.depth_chunks, 0)
        return Sides(*beside, depth)

    def _side(self, *side: Any) -> Cells:
        found = self._cells.get(side)
        if found is None:
            found = self._cells[side] = cells_of(self.within, *side)
        return found

    def least_cycles(self, block: Block, sides: Sides, cluster: int) -> float:
        """What a block takes if all units had as much to do, told sooner."""
        blocks = self.batches * sides.rows.blocks * sides.columns.blocks
        steps = float(sides.depth.blocks)
        if self.skips:
            steps *= self._live_part(block, sides, cluster)
        each = steps * self._step(block, sides, cluster).longest
        each += block.rows * block.columns * self.storing + BLOCK_CYCLES
        return max(1.0, blocks / self.units) * each

    def cycles_of(self, block: Block, sides: Sides, cluster: int) -> float:
        """How long the busiest worker takes, alone or in a cluster."""
        order = self.order(block, sides, cluster)
        steps = float(sides.depth.blocks)
        if self.skips:
            steps *= self._live_part(block, sides, cluster)
        count = order.workers * cluster
        step = self._step_cycles(block, sides, cluster, count)
        storing = block.rows * block.columns * self.storing
        worker = order.turns * (steps * step + storing + BLOCK_CYCLES)
        beginning = count * WORKER_CYCLES + (CLUSTER_CYCLES if cluster > 1 else 0)
        return at_once(worker, self.reading + self.writing) + beginning

    def order(self, block: Block, sides: Sides, cluster: int) -> Order:
        """Groups of rows, and as many workers as there is work for."""
        rows = -(-sides.rows.blocks // cluster)
        group = group_of(rows, block.rows * self.row_bytes)
        groups = -(-rows // group)
        blocks = group * sides.columns.blocks * groups * self.batches
        workers = min(self.units // cluster, blocks)
        return Order(group, workers, -(-blocks // workers))

    def _live_part(self, block: Block, sides: Sides, cluster: int) -> float:
        """The part of all steps that is not skipped as it would bring zeros."""
        key = (block, cluster > 1)
        found = self._live.get(key)
        if found is None:
            kernel, product = self.kernel, self.product
            skipped = skipped_dimensions(kernel, product, sides, cluster)
            found = math.prod(inside_part(kernel, entry) for entry in skipped)
            self._live[key] = found
        return found

    def _step_cycles(
        self, block: Block, sides: Sides, cluster: int, count: int
    ) -> float:
        """Products, shared memory, the cache, and filling go on at once."""
        found = self._step(block, sides, cluster)
        # All that is read was written before.
        step = at_once(*found.cycles, found.lines * count / LINES_FOR_ALL)
        return step + (WAITING_CYCLES if cluster > 1 else 0)

    def _step(self, block: Block, sides: Sides, cluster: int) -> Step:
        key = block, cluster
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._new_step(block, sides, cluster)
        return found

    def _new_step(self, block: Block, sides: Sides, cluster: int) -> Step:
        # Every 64 rows read the columns again.
        parts = block.rows // MEMBER_ROWS
        products = PRODUCTS if self.product.splits else 1
        touched = products * parts * (MEMBER_ROWS + block.columns)
        # The rest of each operand is computed from what was brought, and written.
        touched += products * (block.rows + block.columns)
        lines = self._lines(0, block.rows, block.depth)
        lines += self._lines(1, block.columns, block.depth) / cluster
        least = float(PAIR_CYCLES)
        if parts == 1:
            least = ALONE_CYCLES + block.columns * ALONE_COLUMN_CYCLES
        filling = 0.0
        if any(self.product.filled):
            filling = _filling_cycles(self.product, block, sides)
        cycles = (
            products * _multiplying_cycles(self.product, block),
            touched * block.depth * self.itemsize / SHARED_BYTES_PER_CYCLE,
            lines * LINE_BYTES / CACHE_BYTES_PER_CYCLE,
            least,
            filling,
        )
        return Step(lines, cycles, max(cycles))

    def _lines(self, factor: int, extent: int, depth: int) -> float:
        key = (factor, extent, depth)
        found = self._brought.get(key)
        if found is None:
            operand, size = self._operands[factor]
            found = self._brought[key] = _lines_of(operand, extent, depth, size)
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


def at_once(*cycles: float) -> float:
    """How long everything takes that goes on at the same time."""
    longest = max(cycles)
    if not longest:
        return 0.0
    total = sum([(entry / longest) ** SHARPNESS for entry in cycles])
    return longest * float(total ** (1 / SHARPNESS))


def ordinary_cycles(kernel: Kernel, contraction: Contraction, target: Target) -> float:
    """What a product of float32 takes without the matrix unit, at best."""
    part = ORDINARY_PART
    if not is_for_patches(kernel, contraction, target):
        part = SCATTERED_PART
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    products = points_in(kernel, axes)
    return products / (target.units * LANES_PER_CYCLE * part) + LAUNCH_CYCLES


def _written(kernel: Kernel) -> int:
    """Bytes of all results."""
    return sum(
        points_in(kernel, output.axes) * kernel.slots[output.slot].dtype.itemsize
        for output in kernel.outputs
    )


def _lines_of(operand: Operand, extent: int, depth: int, size: int) -> float:
    """The lines of the cache that a step's part of one operand takes.

    Every row of a box is a request, also those beyond an edge.
    """
    if isinstance(operand, FilledOperand):
        if operand.narrow is None:
            return 0.0
        return extent * depth * operand.load.dtype.itemsize / LINE_BYTES
    line = depth * operand.dtype.itemsize / LINE_BYTES
    if not operand.is_deep and operand.dimensions[0].size < panel_of(operand.dtype):
        return depth * FEW_NEIGHBOURS * line
    inside = min(extent, size)
    return (inside * _line_cost(operand) + (extent - inside) * BEYOND) * line


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
        instructions += elements * (SINGLE_LOAD + operand.operations)
        lines = elements / WARP * _lines_loaded(operand, sides.depth, cells)
        loading += lines * (UNEVEN if cells.extent & (cells.extent - 1) else 1)
        waiting = max(waiting, LOADING / _teams_loading(product, block))
    return max(instructions / LANES_PER_CYCLE, loading * LOADED_LINE) + waiting


def _teams_loading(product: RoleProduct, block: Block) -> int:
    """The steps that wait for memory at once, if no operand waits for another role.

    Where one of them is brought, or there are two members, two teams were hardly faster
    than one.
    """
    operands = (product.lhs, product.rhs)
    made = [entry for entry in operands if isinstance(entry, FilledOperand)]
    is_brought = len(made) < len(operands)
    if is_brought or any(entry.narrow is not None for entry in made):
        return 1
    return LOADING_WARPS // WARPS if block.members == 1 else 1


def _lines_loaded(operand: FilledOperand, depth: Cells, side: Cells) -> float:
    """Lines that a warp touches to load an element for each of its threads."""
    beside, across = operand.lane_steps(depth, side)
    if beside == 1:
        return 2 / operand.load_width if operand.load_width >= 4 else 1.5
    lines = 1 + across * operand.load.dtype.itemsize * WARP / LINE_BYTES
    return min(WARP, lines)
