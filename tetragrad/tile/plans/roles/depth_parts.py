"""Divide the depth of a product into parts, so that every multiprocessor has work.

Sums of the parts are written, and added up by another kernel, which a product with few
results is worth: one after the other its steps would take longer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Reduction
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.prepare.cuts import Cut, as_parts_are, cut_off
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.roles.choose_roles import (
    best_role_plan,
    cheapest_plan,
    is_worth_unit,
    part_cycles,
)
from tetragrad.tile.plans.roles.role_cost import LAUNCH_CYCLES, WRITTEN_PER_CYCLE
from tetragrad.tile.plans.roles.role_plan import STEP_BYTES, RoleProduct
from tetragrad.tile.plans.roles.ways import both_ways, multiplied_dtype, ways_of
from tetragrad.tile.plans.traffic import points_in

#: Results for each multiprocessor that are work enough without cutting the depth.
ENOUGH_RESULTS = 128 * 128
#: What each part that is added up takes, however few results there are.
PART_CYCLES = 40
#: A depth is cut into parts so that all units have a block, if it has so many blocks
#: uncut; not into so many times fewer or more than would give each unit a block of the
#: usual size, and nothing is tried after so many that were worse.
BLOCKS = (66, 44, 33, 24, 16, 12, 8, 6, 4, 3, 2, 1)
FEWER, MORE = 2, 6
ENOUGH_WORSE = 3

#: An axis of the depth, parts, and positions of each.
Division = tuple[int, int, int]


def role_parts(
    kernel: Kernel, number: int, contraction: Contraction, target: Target
) -> Cut | None:
    """How to cut the depth into parts so that all units have work.

    One part where that is best; None where the product is not made for roles.
    """
    found = divided_cycles(kernel, number, contraction, target)
    return None if found is None else found[1]


@functools.lru_cache(maxsize=64)
def divided_cycles(
    kernel: Kernel, number: int, contraction: Contraction, target: Target
) -> tuple[float, Cut] | None:
    """What a product takes at best, and how its depth is cut for that."""
    found = cheapest_plan(kernel, contraction, target)
    if found is None:
        return None
    whole, plan = found
    if not is_worth_unit(kernel, contraction, found, target):
        whole = math.inf
    results = points_in(kernel, contraction.reduction.free_axes)
    best = (whole, Cut(number))
    if results >= target.units * ENOUGH_RESULTS:
        return best if whole < math.inf else None
    fewest = target.units / (plan.workers * plan.cluster)
    most = target.units / max(1.0, results / ENOUGH_RESULTS)
    limits = (fewest / FEWER, most * MORE)
    for estimate, division in _estimates(kernel, contraction, target, limits, whole):
        # They are exact but for what the end of an uneven last part takes.
        if estimate >= best[0]:
            break
        cut = Cut(number, *division)
        cycles = _cycles_of(kernel, cut, target)
        if cycles < best[0]:
            best = cycles, cut
    return best if best[0] < math.inf else None


def _estimates(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    limits: tuple[float, float],
    whole: float,
) -> list[tuple[float, Division]]:
    """Divisions into as many parts as ``limits`` say, the most promising one first.

    What they take follows from the numbers of the product undivided; no kernel is made
    for any of them.
    """
    results = points_in(kernel, contraction.reduction.free_axes)
    tried = [
        (_adding_cycles(results, contraction, division[1]), division)
        for division in divisions(kernel, contraction, target)
        if limits[0] <= division[1] <= limits[1]
    ]
    if not tried or tried[0][0] >= whole:
        return []
    product = contraction.reduction
    assert isinstance(product, Reduction)
    sums = as_parts_are(kernel, product)
    alone = hosted_contraction(sums, guarded=True)
    if alone is None:
        return []
    ways = ways_of(sums, alone, target)
    found: list[tuple[float, Division]] = []
    best, worse = whole, 0
    for adding, division in tried:
        if adding >= best or worse == ENOUGH_WORSE:
            break
        cycles = adding + part_cycles(ways, division)
        found.append((cycles, division))
        worse = 0 if cycles < best else worse + 1
        best = min(best, cycles)
    return sorted(found, key=lambda entry: entry[0])


def _cycles_of(kernel: Kernel, cut: Cut, target: Target) -> float:
    """What a divided product takes, as the kernel of its parts says."""
    first = cut_off(kernel, cut)
    contraction = hosted_contraction(first, guarded=True)
    if contraction is None:
        return math.inf
    found = best_role_plan(first, contraction, target)
    return math.inf if found is None else found[0] + division_cycles(first, cut.parts)


def division_cycles(first: Kernel, parts: int) -> float:
    """What it takes to add up the parts of a product that was divided."""
    contraction = hosted_contraction(first, guarded=True)
    assert contraction is not None, "a product that was cut off"
    results = points_in(first, contraction.reduction.free_axes) // parts
    return _adding_cycles(results, contraction, parts)


def _adding_cycles(results: int, contraction: Contraction, parts: int) -> float:
    """Every part's sums are written, and read by another launch, one after another."""
    moved = parts * results * contraction.reduction.accumulator.itemsize
    return moved / WRITTEN_PER_CYCLE + parts * PART_CYCLES + LAUNCH_CYCLES


def divisions(
    kernel: Kernel, contraction: Contraction, target: Target
) -> Iterator[Division]:
    """Axes of the depth and parts to divide them into, each of whole steps.

    The last part may be shorter.
    """
    dtype = multiplied_dtype(contraction, target)
    assert dtype is not None, "there are plans"
    lhs, rhs = both_ways(kernel, contraction, dtype)
    product = RoleProduct(contraction, lhs[0], rhs[0])
    step = STEP_BYTES // product.lhs.dtype.itemsize
    depth = contraction.depth
    # What moves furthest through memory: images before lines, not taps of a filter,
    # nor neighbours that a step takes many of.
    near = {entry.contiguous for entry in (product.lhs, product.rhs)}
    axis = max(
        [axis for axis in depth if axis not in near] or depth,
        key=lambda axis: _reach(product, axis),
    )
    size = kernel.axes[axis]
    unit = step if len(depth) == 1 else 1
    seen = set()
    for blocks in BLOCKS:
        wanted = max(2, target.units // blocks)
        length = -(-size // (wanted * unit)) * unit
        parts = -(-size // length)
        if parts > 1 and parts not in seen and parts * length - size < length:
            seen.add(parts)
            yield axis, parts, length


def _reach(product: RoleProduct, axis: int) -> int:
    """How far an axis moves through the operands."""
    return sum(
        abs(operand.load.address.coefficient(axis))
        for operand in (product.lhs, product.rhs)
    )
