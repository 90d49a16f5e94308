"""Choose a plan from the sizes, the addresses and the target; nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.kernel.single_row import with_row
from tetragrad.tile.plans.build import GridPlan, Plan
from tetragrad.tile.plans.choose_cuts import choose_cut
from tetragrad.tile.plans.nests.chain import choose_chain
from tetragrad.tile.plans.nests.choose_nest import (
    CHUNK_ELEMENTS,
    choose_nest,
    grid_axes,
)
from tetragrad.tile.plans.nests.choose_slide import choose_slides
from tetragrad.tile.plans.nests.choose_staged import choose_staged
from tetragrad.tile.plans.nests.choose_stream import choose_row_stream, choose_stream
from tetragrad.tile.plans.nests.choose_transpose import choose_transpose
from tetragrad.tile.plans.nests.columns import choose_columns
from tetragrad.tile.plans.nests.fill import fills
from tetragrad.tile.plans.nests.nest import reductions_of
from tetragrad.tile.plans.online.online import choose_online
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.prepare.guarded_products import with_guarded_factors
from tetragrad.tile.plans.prepare.widening import choose_widening
from tetragrad.tile.plans.products.choose_contraction import (
    choose_contraction,
    is_worth_packing,
)
from tetragrad.tile.plans.products.choose_winograd import choose_winograd
from tetragrad.tile.plans.products.choose_winograd_sums import choose_winograd_sums
from tetragrad.tile.plans.products.contraction import Contraction, hosted_contraction
from tetragrad.tile.plans.roles.choose_online_roles import (
    choose_even_rows,
    choose_online_roles,
    choose_pass_parts,
)
from tetragrad.tile.plans.roles.choose_pass_roles import choose_pass_roles
from tetragrad.tile.plans.roles.choose_roles import choose_roles, is_worth_roles
from tetragrad.tile.plans.roles.repack import choose_repack


def choose_plan(kernel: Kernel, target: Target, settings: Settings) -> Plan:
    """The plan that the model prefers for a kernel on a target."""
    if kernel.inner:
        return Plan((), ((choose_chain(kernel),),))
    target = as_set(target, settings)
    if not target.has_free_iterations:
        kernel = with_guarded_factors(kernel)
    rest = simplify_axes(kernel)
    return (
        _choose_pass_by_roles(rest, target)
        or _alone(choose_online(rest, target))
        or plan_from([], [], rest, target)
    )


def _choose_pass_by_roles(kernel: Kernel, target: Target) -> Plan | None:
    """A pass over keys on a matrix unit, in parts if there are few rows."""
    if not target.has_roles:
        return None
    kernel = with_row(kernel)
    grid = choose_online_roles(kernel, target)
    if grid is None:
        return _alone(choose_pass_roles(kernel, target))
    cuts: list[Division] = []
    stages: list[tuple[GridPlan, ...]] = []
    for stored in choose_even_rows(kernel):
        first, rest = stored.divide(kernel)
        other = choose_online_roles(rest, target)
        if other is not None and other.brings_beside:
            grid, kernel = other, rest
            cuts.append(stored)
            stages.append(choose_stage(first, target))
    parts = choose_pass_parts(kernel, grid, target)
    if parts is None:
        return Plan(tuple(cuts), (*stages, (grid,)))
    first, rest = parts.divide(kernel)
    grid = choose_online_roles(first, target)
    assert grid is not None, "parts are passes as the whole is"
    return plan_from([*cuts, parts], [*stages, (grid,)], rest, target)


def _alone(grid: GridPlan | None) -> Plan | None:
    """The plan of one grid."""
    return None if grid is None else Plan((), ((grid,),))


def as_set(target: Target, settings: Settings) -> Target:
    """The target with what the settings allow."""
    allowed = {"tf32": settings.tf32, "winograd": settings.winograd}
    features = {name for name, is_allowed in allowed.items() if is_allowed}
    return replace(target, features=target.features | features)


def plan_from(
    begun: Sequence[Division],
    planned: Sequence[tuple[GridPlan, ...]],
    rest: Kernel,
    target: Target,
) -> Plan:
    """The plan for the rest of a kernel, behind what was already cut off."""
    cuts, stages = list(begun), list(planned)
    while True:
        cut = (
            (choose_widening(rest) if target.has_free_iterations else None)
            or choose_repack(rest, target)
            or choose_cut(rest, target)
        )
        if cut is None:
            break
        first, rest = cut.divide(rest)
        cuts.append(cut)
        stages.append(choose_stage(first, target))
    transformed = choose_winograd(rest, target)
    if transformed is not None:
        filters, plan = transformed
        first, _ = filters.divide(rest)
        stages += [choose_stage(first, target), (plan,)]
        return Plan((*cuts, filters), tuple(stages))
    stages.append(choose_stage(rest, target))
    return Plan(tuple(cuts), tuple(stages))


# --- grids --------------------------------------------------------------------------


def choose_stage(kernel: Kernel, target: Target) -> tuple[GridPlan, ...]:
    """The grids of a kernel that is not cut any more."""
    grids: list[GridPlan] = []
    lanes = target.vector_lanes(4)
    grids += fills(kernel.outputs, lanes, CHUNK_ELEMENTS)
    if target.has_roles:
        guarded = hosted_contraction(kernel, guarded=True)
        if guarded is not None and is_worth_roles(kernel, guarded):
            plan = _choose_roles(kernel, guarded, target)
            if plan is not None:
                return (plan,)
    contraction = hosted_contraction(kernel)
    if contraction is not None and is_worth_packing(kernel, contraction):
        return (_choose_product(kernel, contraction, target),)
    for group in group_outputs(kernel):
        grids += _choose_grids(kernel, group, target)
    return tuple(grids)


def _choose_grids(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> Sequence[GridPlan]:
    """The grids of outputs that could share one."""
    plan = (
        choose_staged(kernel, group, target)
        or choose_columns(kernel, group, target)
        or choose_transpose(kernel, group, target)
        or choose_stream(kernel, group, target)
        or choose_row_stream(kernel, group, target)
    )
    if plan is not None:
        return (plan,)
    slides = choose_slides(kernel, group, target)
    return slides or (choose_nest(kernel, group, target),)


def _choose_product(
    kernel: Kernel, contraction: Contraction, target: Target
) -> GridPlan:
    """A product: streamed if it has few rows, or in blocks."""
    everything = tuple(range(len(kernel.outputs)))
    return (
        choose_stream(kernel, everything, target)
        or choose_row_stream(kernel, everything, target)
        or choose_winograd_sums(kernel, contraction, target)
        or choose_contraction(kernel, contraction, target)
    )


def _choose_roles(
    kernel: Kernel, contraction: Contraction, target: Target
) -> GridPlan | None:
    """A product by roles, unless it has so few rows that it is streamed."""
    everything = tuple(range(len(kernel.outputs)))
    streamed = choose_stream(kernel, everything, target)
    return streamed or choose_roles(kernel, contraction, target)


def group_outputs(kernel: Kernel) -> list[tuple[int, ...]]:
    """Outputs that can share a grid: those with the same grid axes.

    What is stored element by element is stored with the sums of its rows, if there
    are any: those go over the row anyway.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    grids = [grid_axes(kernel, output) for output in kernel.outputs]
    for number, output in enumerate(kernel.outputs):
        grid = grids[number]
        if output.mode is Mode.STORE and not reductions_of([output]):
            grid = _grid_of_rows(kernel, output, grids) or grid
        groups.setdefault((grid, output.mode), []).append(number)
    return [_rows_first(kernel, group) for group in groups.values()]


def _rows_first(kernel: Kernel, group: Sequence[int]) -> tuple[int, ...]:
    """The outputs with sums in front, after whose loops the grid is chosen."""

    def has_no_sums(number: int) -> bool:
        return not reductions_of([kernel.outputs[number]])

    return tuple(sorted(group, key=has_no_sums))


def _grid_of_rows(
    kernel: Kernel, output: Output, grids: Sequence[tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The grid of another output that reduces the rows that this one stores."""
    for other, grid in zip(kernel.outputs, grids, strict=True):
        rows = {axis for entry in reductions_of([other]) for axis in entry.axes}
        if rows and set(output.axes) == rows.union(grid):
            return grid
    return None
