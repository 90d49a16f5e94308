"""Divide the depth of a product into parts, so that every multiprocessor has work.

Sums of the parts are written, and added up by another kernel, which a product with few
results is worth: one after the other its steps would take longer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.prepare.cuts import Cut, cut_off
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.roles.choose_roles import (
    best_role_plan,
    both_ways,
    cheapest_plan,
    is_worth_unit,
    multiplied_dtype,
)
from tetragrad.tile.plans.roles.role_cost import LAUNCH_CYCLES, WRITTEN_PER_CYCLE
from tetragrad.tile.plans.roles.role_plan import STEP_BYTES, RoleProduct
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
    worse = 0
    for axis, parts, length in divisions(kernel, contraction, target):
        adding = _adding_cycles(results, contraction, parts)
        if adding >= best[0] or worse == ENOUGH_WORSE:
            break
        if parts * FEWER < fewest:
            continue
        if parts > most * MORE:
            break
        cut = Cut(number, axis, parts, length)
        first = cut_off(kernel, cut)
        inner = hosted_contraction(first, guarded=True)
        if inner is None:
            continue
        divided = best_role_plan(first, inner, target)
        cycles = math.inf if divided is None else adding + divided[0]
        if cycles < best[0]:
            best, worse = (cycles, cut), 0
        else:
            worse += 1
    return best if best[0] < math.inf else None


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
) -> Iterator[tuple[int, int, int]]:
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
