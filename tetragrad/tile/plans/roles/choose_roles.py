"""Choose the blocks of a product by roles from sizes, and prove that they fit.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Load, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import Contraction
from tetragrad.tile.plans.roles.role_cost import ordinary_cycles
from tetragrad.tile.plans.roles.role_plan import RolePlan
from tetragrad.tile.plans.roles.split import SHALLOWEST
from tetragrad.tile.plans.roles.ways import Way, ways_of
from tetragrad.tile.plans.traffic import points_in

#: How often elements are read and what is multiplied at least if one side is narrow.
OFTEN = 8
ENOUGH_PRODUCTS = 1 << 24


def is_worth_roles(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether operands are used often enough, if only through many windows."""
    if is_worth_packing(kernel, contraction):
        return True
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    read = points_in(kernel, axes)
    elements = sum(
        kernel.slots[entry.slot].numel
        for entry in walk(contraction.reduction.body)
        if isinstance(entry, Load)
    )
    return read >= OFTEN * elements and read >= ENOUGH_PRODUCTS


def choose_roles(
    kernel: Kernel, contraction: Contraction, target: Target
) -> RolePlan | None:
    """The cheapest plan by roles, or None where the product is not made for them."""
    found = best_role_plan(kernel, contraction, target)
    return None if found is None else found[1]


@functools.lru_cache(maxsize=64)
def role_plans(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[tuple[float, RolePlan], ...]:
    """All plans by roles, with the cycles that the busiest worker takes."""
    search = _Search(keeps_all=True)
    search.go_through(ways_of(kernel, contraction, target))
    return tuple(search.found)


def best_role_plan(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[float, RolePlan] | None:
    """The first of the cheapest plans by roles, with its cycles, if there is one.

    None also where ordinary arithmetic is faster or more exact.
    """
    found = cheapest_plan(kernel, contraction, target)
    if found is None or not is_worth_unit(kernel, contraction, found, target):
        return None
    return found


@functools.lru_cache(maxsize=64)
def cheapest_plan(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[float, RolePlan] | None:
    """The same, also where ordinary arithmetic would be better."""
    search = _Search(keeps_all=False)
    search.go_through(ways_of(kernel, contraction, target))
    return search.found[-1] if search.found else None


def part_cycles(ways: Sequence[Way], division: tuple[int, int, int]) -> float:
    """What all parts of a product take at best, from its numbers undivided.

    The division is an axis of the depth, how many parts, and how long each is.
    """
    search = _Search(keeps_all=False)
    search.go_through(way.divided(*division) for way in ways)
    return search.found[-1][0] if search.found else math.inf


def is_worth_unit(
    kernel: Kernel,
    contraction: Contraction,
    found: tuple[float, RolePlan],
    target: Target,
) -> bool:
    """Whether ordinary arithmetic is neither faster than a plan nor more exact."""
    cycles, plan = found
    if not plan.splits:
        return True
    if points_in(kernel, contraction.depth) < SHALLOWEST:
        return False
    return cycles < ordinary_cycles(kernel, contraction, target)


class _Search:
    """Goes through all blocks of a product for all plans, or for the cheapest one.

    What a plan costs follows from its block. Whether boxes fit, and how many stages
    there is room for, takes longer to find out, and is found out only for blocks that
    would be cheaper than the cheapest one before.
    """

    def __init__(self, *, keeps_all: bool) -> None:
        self.keeps_all = keeps_all
        #: The plans, each cheaper than those before it unless all are kept.
        self.found: list[tuple[float, RolePlan]] = []

    def is_wanted(self, cycles: float) -> bool:
        """Whether a plan that takes so long is worth a closer look."""
        return self.keeps_all or not self.found or cycles < self.found[-1][0]

    def go_through(self, ways: Iterable[Way]) -> None:
        """All blocks of all ways to compute a product."""
        for way in ways:
            self._blocks_of(way)

    def _blocks_of(self, way: Way) -> None:
        pricing = way.pricing
        for block in way.blocks():
            sides = pricing.sides(block)
            sized: RolePlan | None = None
            for cluster in way.clusters(sides.columns.extent):
                if not self.is_wanted(pricing.least_cycles(block, sides, cluster)):
                    continue
                cycles = pricing.cycles_of(block, sides, cluster)
                if not self.is_wanted(cycles):
                    continue
                sized = sized or way.sized(block, sides)
                if sized is None:
                    break
                order = pricing.order(block, sides, cluster)
                plan = replace(
                    sized, cluster=cluster, group=order.group, workers=order.workers
                )
                self.found.append((cycles, plan))
