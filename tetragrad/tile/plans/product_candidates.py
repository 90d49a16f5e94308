"""Other plans for a product by roles: those that the model finds nearly as cheap.

They differ in the block, in its neighbours, and in the parts of the depth. A name says
which; where another version of the compiler has no such plan, the model's is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tetragrad.core.frozen import frozen, replace
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Reduction
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan, cut_kernel
from tetragrad.tile.plans.choose import plan_from
from tetragrad.tile.plans.prepare.cuts import Cut, cuttable
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    find_contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.roles.choose_roles import role_plans
from tetragrad.tile.plans.roles.depth_parts import division_cycles, divisions
from tetragrad.tile.plans.roles.role_plan import RolePlan

#: Plans that are offered beside the model's.
OFFERED = 7


@frozen
class Priced:
    """A plan that can be made, and the cycles that the model expects of it."""

    cycles: float
    name: str
    make: Callable[[], Plan]


def product_plans(kernel: Kernel, model: Plan, target: Target) -> dict[str, Plan]:
    """The cheapest plans that differ from the model's, by name."""
    position = next(
        (
            number
            for number, grids in enumerate(model.stages)
            if any(isinstance(grid, RolePlan) for grid in grids)
        ),
        None,
    )
    if position is None:
        return {}
    found = list(_other_blocks(kernel, model, position, target))
    if position == 0:
        found += _other_parts(kernel, model, target)
    found.sort(key=lambda entry: entry.cycles)
    others: dict[str, Plan] = {}
    for entry in found:
        if len(others) < OFFERED and entry.name not in others:
            plan = entry.make()
            if plan != model:
                others[entry.name] = plan
    return others


def _other_blocks(
    kernel: Kernel, model: Plan, position: int, target: Target
) -> Iterator[Priced]:
    """The model's plan with other blocks for the product of one of its stages."""
    stage = cut_kernel(kernel, model.cuts)[position]
    cut = model.cuts[position] if position < len(model.cuts) else None
    parts = cut.parts if isinstance(cut, Cut) else 1
    for cycles, block in _cheapest(stage, target):
        stages = list(model.stages)
        stages[position] = (block,)
        if parts > 1:
            cycles += division_cycles(stage, parts)
        make = partial(replace, model, stages=tuple(stages))
        yield Priced(cycles, _name(block, parts), make)


def _other_parts(kernel: Kernel, model: Plan, target: Target) -> Iterator[Priced]:
    """Plans that divide the product's depth otherwise, or not at all."""
    (whole,) = cut_kernel(kernel, ())
    product = _product(whole, model)
    if product is None:
        return
    number, contraction = product
    taken = {cut.parts for cut in model.cuts[:1] if isinstance(cut, Cut)} or {1}
    if hosted_contraction(whole, guarded=True) is not None and 1 not in taken:
        for cycles, block in _cheapest(whole, target):
            make = partial(Plan, (), ((block,),))
            yield Priced(cycles, _name(block, 1), make)
    for axis, parts, length in divisions(whole, contraction, target):
        if parts not in taken:
            yield from _divided(whole, Cut(number, axis, parts, length), target)


def _divided(kernel: Kernel, cut: Cut, target: Target) -> Iterator[Priced]:
    first, rest = cut.divide(kernel)
    if hosted_contraction(first, guarded=True) is None:
        return
    adding = division_cycles(first, cut.parts)
    for cycles, block in _cheapest(first, target):
        make = partial(plan_from, [cut], [(block,)], rest, target)
        yield Priced(cycles + adding, _name(block, cut.parts), make)


def _product(kernel: Kernel, model: Plan) -> tuple[int, Contraction] | None:
    """Which of the kernel's reductions the model's first stage computes by roles."""
    first = model.cuts[0] if model.cuts else None
    if not isinstance(first, Cut | None):
        return None
    values = cuttable(kernel)
    number = first.value if first is not None else len(values) - 1
    value = values[number]
    if not isinstance(value, Reduction):
        return None
    contraction = find_contraction(value, kernel)
    return None if contraction is None else (number, contraction)


def _cheapest(kernel: Kernel, target: Target) -> Sequence[tuple[float, RolePlan]]:
    contraction = hosted_contraction(kernel, guarded=True)
    if contraction is None:
        return ()
    plans = role_plans(kernel, contraction, target)
    return sorted(plans, key=lambda entry: entry[0])[: OFFERED + 1]


def _name(block: RolePlan, parts: int) -> str:
    """What sets a plan apart from the others for the same product."""
    words = [f"{block.rows} x {block.columns} x {block.depth}"]
    words += ["rows turned to columns"] if block.swap else []
    words += [f"{block.cluster} neighbours"] if block.cluster > 1 else []
    words += ["left computed"] if block.filled[0] else []
    words += ["right computed"] if block.filled[1] else []
    words += ["held"] if block.held else []
    words += [f"{parts} parts"] if parts > 1 else []
    return ", ".join(words)
