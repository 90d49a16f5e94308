"""How long a product by roles takes, from its sizes alone.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import operator

from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.roles.filled import FilledOperand
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    STEP_BYTES,
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
#: second-level cache; so much longer where rows begin in the middle of its lines.
SHARED_BYTES_PER_CYCLE = 128
CACHE_BYTES_PER_CYCLE = 48
LINE_BYTES = 128
UNALIGNED = 1.75
STORED_PER_CYCLE = 24
#: What a step takes at least where only one member multiplies: nobody else does while
#: it waits (64 x 128 blocks took as long as 128 x 128 ones).
ALONE_CYCLES = 580
#: What every block takes to begin, and what neighbours take to find one another.
BLOCK_CYCLES = 600
CLUSTER_CYCLES = 2500
#: Instructions of an element that threads compute: to load it from a tile, or alone
#: from memory, and to store it. Lanes that issue one in a cycle; what a step waits for
#: loads, less of so many bytes, which stay in the first-level cache, and what it takes
#: to hand a slot on.
NARROW_LOAD = 0.5
SINGLE_LOAD = 2.5
STORE_FILLED = 0.75
LANES_PER_CYCLE = 128
LOADING = 1100
LOADING_NEAR = 400
NEAR_BYTES = 20 * 1024
HANDING_ON = 250


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
    rate = MULTIPLICATIONS_PER_CYCLE * 2 / product.lhs.dtype.itemsize
    multiplying = plan.rows * max(plan.columns, 32) * plan.depth / rate
    # Every 64 rows read the columns again; all that is read was written before.
    parts = plan.rows // MEMBER_ROWS
    touched = parts * (MEMBER_ROWS + plan.columns) + plan.rows + plan.columns
    sharing = touched * STEP_BYTES / SHARED_BYTES_PER_CYCLE
    brought = _brought_bytes(product.lhs, plan.rows, plan.depth)
    brought += _brought_bytes(product.rhs, plan.columns, plan.depth) / plan.cluster
    bringing = brought / CACHE_BYTES_PER_CYCLE
    is_alone = plan.members == 1 and points_in(kernel, product.lhs.side) > plan.rows
    waiting = ALONE_CYCLES if is_alone else 0
    filling = _filling_cycles(product, plan, sides)
    return max(multiplying, sharing, bringing, waiting, filling)


def _brought_bytes(operand: Operand, extent: int, depth: int) -> float:
    """Bytes that a step moves from the cache, more where they lie badly."""
    if isinstance(operand, FilledOperand):
        return extent * depth * operand.load.dtype.itemsize
    begins = all(pitch % LINE_BYTES == 0 for pitch in operand.pitches)
    return extent * STEP_BYTES * (1.0 if begins else UNALIGNED)


def _filling_cycles(product: RoleProduct, plan: RolePlan, sides: Sides) -> float:
    """What threads take to compute operands: instructions, and waiting for loads."""
    instructions, waiting = 0.0, 0.0
    for operand, cells in ((product.lhs, sides.rows), (product.rhs, sides.columns)):
        if not isinstance(operand, FilledOperand):
            continue
        elements = sides.depth.extent * cells.extent * cells.count
        is_brought = operand.brings((sides.depth, cells))
        loading = NARROW_LOAD if is_brought else SINGLE_LOAD / operand.load_width
        instructions += elements * (loading + operand.operations + STORE_FILLED)
        is_near = operand.nbytes <= NEAR_BYTES
        loads = LOADING_NEAR if is_near else LOADING
        waiting = max(waiting, HANDING_ON if is_brought else loads)
    return instructions / LANES_PER_CYCLE + waiting
