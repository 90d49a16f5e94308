"""How long a product by roles takes, from its sizes alone.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import operator

from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.plans.roles.filled import FilledOperand
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    Operand,
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    raster_of,
    sides_of,
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


def cycles_of(kernel: Kernel, product: RoleProduct, plan: RolePlan) -> float:
    """How long the busiest worker takes."""
    sides = sides_of(kernel, product, plan)
    raster = raster_of(product.contraction, kernel, sides, plan)
    turns = -(-raster.blocks // plan.workers)
    steps = sides.depth.blocks * _live_part(kernel, product, plan, sides)
    storing = plan.rows * plan.columns * len(kernel.outputs) / STORED_PER_CYCLE
    if any(is_along_rows(output, product) for output in kernel.outputs):
        storing *= 1.25
    block = steps * _step_cycles(kernel, product, plan, sides) + storing + BLOCK_CYCLES
    # However it is cut, every operand must come from memory. Of plans that wait for
    # memory alike, those are better that do less besides.
    memory = (product.lhs.nbytes + product.rhs.nbytes) / MEMORY_BYTES_PER_CYCLE
    slowest = max(turns * block, memory) + turns * block / 16
    return slowest + (CLUSTER_CYCLES if plan.cluster > 1 else 0)


def _live_part(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides
) -> float:
    """The part of all steps that is not skipped because it would bring zeros."""
    part = 1.0
    for dimension in skipped_dimensions(kernel, product, sides, plan):
        axes = sorted(dimension.index.axes())
        sizes = tuple(kernel.axes[axis] for axis in axes)
        steps = tuple(dimension.index.coefficient(axis) for axis in axes)
        start = dimension.index.constant
        part *= _inside_part(start, steps, sizes, dimension.size)
    return part


@functools.lru_cache(maxsize=1024)
def _inside_part(
    start: int, steps: tuple[int, ...], sizes: tuple[int, ...], limit: int
) -> float:
    """The part of all positions at which an index is inside its dimension."""
    indices = [
        start + sum(map(operator.mul, steps, place))
        for place in itertools.product(*map(range, sizes))
    ]
    return sum(0 <= index < limit for index in indices) / len(indices)


def _step_cycles(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides
) -> float:
    """The slowest part of a step: products, shared memory, the cache, or filling."""
    multiplying = _multiplying_cycles(product, plan)
    # Every 64 rows read the columns again; all that is read was written before.
    parts = plan.rows // MEMBER_ROWS
    touched = parts * (MEMBER_ROWS + plan.columns) + plan.rows + plan.columns
    step = plan.depth * product.lhs.dtype.itemsize
    sharing = touched * step / SHARED_BYTES_PER_CYCLE
    down, across = (
        points_in(kernel, entry.side) for entry in (product.lhs, product.rhs)
    )
    bringing = _bringing_cycles(product.lhs, plan.rows, plan.depth, down)
    brought = _bringing_cycles(product.rhs, plan.columns, plan.depth, across)
    bringing += brought / plan.cluster
    waiting = 0.0
    if plan.members == 1:
        waiting = ALONE_CYCLES + plan.columns * ALONE_COLUMN_CYCLES
        waiting += ALONE_TOGETHER_CYCLES if plan.cluster > 1 else 0
    filling = _filling_cycles(product, plan, sides)
    return max(multiplying, sharing, bringing, waiting, filling)


def _multiplying_cycles(product: RoleProduct, plan: RolePlan) -> float:
    """What the matrix unit takes for a step."""
    rate = MULTIPLICATIONS_PER_CYCLE * 2 / product.lhs.dtype.itemsize
    return plan.rows * max(plan.columns, 32) * plan.depth / rate


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


def _filling_cycles(product: RoleProduct, plan: RolePlan, sides: Sides) -> float:
    """What threads take to compute operands: instructions or loads, and waiting."""
    if plan.held:
        assert isinstance(product.lhs, FilledOperand)
        each = HELD_LOAD + product.lhs.operations
        # A member's own product does not go on while it computes the next operand.
        alone = _multiplying_cycles(product, plan) / plan.members
        return plan.rows * plan.depth * each / LANES_PER_CYCLE + alone + HOLDING
    instructions, loading, waiting = 0.0, 0.0, 0.0
    for operand, cells in ((product.lhs, sides.rows), (product.rhs, sides.columns)):
        if not isinstance(operand, FilledOperand):
            continue
        elements = sides.depth.extent * cells.extent * cells.count
        if operand.brings((sides.depth, cells)):
            instructions += elements * (NARROW_LOAD + operand.operations)
            waiting = max(waiting, HANDING_ON)
            continue
        single, lines = _loading(operand, sides.depth, cells)
        instructions += elements * (single + operand.operations)
        loading += elements / WARP * lines
        is_near = operand.nbytes <= NEAR_BYTES
        waiting = max(waiting, LOADING_NEAR if is_near else LOADING)
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
