"""Divide a product into packing an operand, which can be kept, and the rest.

Packing an operand costs about what multiplying it by ten rows does, so with few rows
it is a good part of a product; and a layer's weights are the same at every launch. The
engine decides which operands are (``tetragrad/engine/kept.py``); here it is decided
where packing them once would pay, and made two kernels of
(``tile/plans/products/kept.py`` shows them).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.affine import ZERO, Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Expression,
    Load,
    Quotient,
    Remainder,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.build import GridPlan, Plan
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.prepare.axes import expressions_of, simplify_axes
from tetragrad.tile.plans.products.choose_contraction import in_memory_order
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    ContractionPlan,
    Supply,
    hosted_contraction,
)
from tetragrad.tile.plans.products.kept import converted_load
from tetragrad.tile.plans.products.windows import DirectPlan
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.traffic import points_in

#: Rows with which an element is multiplied in the time that packing it takes, and the
#: share of a product from which on packing is worth a copy of the operand.
PACKING_ROWS = 10
WORTHWHILE = 0.05
#: Rows beyond which narrow elements are converted too often, once for each micro-tile.
MOST_CONVERTED_ROWS = 32


@frozen
class Apart:
    """A kernel as one that packs an operand, and one that multiplies what is packed.

    The first one's slots are the operand as it was, and as it is packed. The second
    one's are the original's, but that ``slot`` is the packed operand.
    """

    slot: int
    first: Kernel
    rest: Kernel


@functools.lru_cache(maxsize=256)
def set_apart(kernel: Kernel, target: Target, settings: Settings) -> Apart | None:
    """The kernel in two parts, if packing an operand at every launch is a waste.

    Both ways add up the same numbers in the same order.
    """
    if target.has_free_iterations:
        return None
    kernel = simplify_axes(kernel)
    contraction = hosted_contraction(kernel)
    if contraction is None or not _has_few_rows(kernel, contraction):
        return None
    plan = choose_plan(kernel, target, settings)
    product = _only_product(plan)
    if product is None or product.rhs not in (Supply.PACKED, Supply.FETCHED):
        return None
    sides = contraction.swapped() if product.swap else contraction
    if not _can_be_set_apart(kernel, sides):
        return None
    apart = _apart(kernel, sides, product.micro_columns)
    after = choose_plan(apart.rest, target, settings)
    return apart if after == _with_kept(plan) else None


def _has_few_rows(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether packing either operand could be a good part of the product."""
    sides = (contraction.rows, contraction.columns)
    rows = min(points_in(kernel, axes) for axes in sides)
    return rows * WORTHWHILE <= PACKING_ROWS


def _only_product(plan: Plan) -> ContractionPlan | None:
    """The plan's only product, if it multiplies panels of plain numbers."""
    grids = [grid for stage in plan.stages for grid in stage]
    found = [grid for grid in grids if isinstance(grid, ContractionPlan)]
    if len(found) != 1 or isinstance(found[0], DirectPlan) or found[0].dot is not None:
        return None
    return found[0]


def _can_be_set_apart(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether the second operand is a matrix in memory that nothing else reads."""
    value = converted_load(contraction.rhs)
    if value is None or value.guard or not value.address.is_pure():
        return False
    loads = [entry for entry in expressions_of(kernel) if isinstance(entry, Load)]
    if sum(entry.slot == value.slot for entry in loads) != 1:
        return False
    if len(contraction.columns) != 1 or contraction.batch:
        return False
    rows = points_in(kernel, contraction.rows)
    if value is not contraction.rhs and rows > MOST_CONVERTED_ROWS:
        return False
    return rows * WORTHWHILE <= PACKING_ROWS


def _with_kept(plan: Plan) -> Plan:
    """The plan with a product whose second operand was packed before."""

    def changed(grid: GridPlan) -> GridPlan:
        if isinstance(grid, ContractionPlan):
            return replace(grid, rhs=Supply.KEPT)
        return grid

    stages = tuple(tuple(changed(grid) for grid in stage) for stage in plan.stages)
    return replace(plan, stages=stages)


# --- the two kernels ------------------------------------------------------------------


def _apart(kernel: Kernel, contraction: Contraction, width: int) -> Apart:
    """The kernel that packs panels of a width, and the one that reads them."""
    value = converted_load(contraction.rhs)
    assert value is not None
    (column,) = contraction.columns
    depth = in_memory_order(contraction.depth, (contraction.lhs, value))
    panels = -(-kernel.axes[column] // width)
    steps = points_in(kernel, depth)
    packed = Slot(value.dtype, panels * steps * width)
    position = axis_form(column)
    address = _flat(kernel.axes, depth).scale(width)
    address += of_atom(Quotient(position, width, panels)).scale(steps * width)
    address += of_atom(Remainder(position, width))
    reading = Load(value.slot, address, (), value.dtype)
    rewriter = Rewriter({}, {value: reading})
    outputs = tuple(
        replace(output, value=rewriter(output.value)) for output in kernel.outputs
    )
    slots = list(kernel.slots)
    slots[value.slot] = packed
    rest = replace(kernel, slots=tuple(slots), outputs=outputs)
    first = _packing(kernel, value, (column, *depth), packed, width)
    return Apart(value.slot, first, rest)


def _packing(
    kernel: Kernel, value: Load, axes: Sequence[int], packed: Slot, width: int
) -> Kernel:
    """packed[panel, depth, place] = value, with zeros beyond the last column."""
    column, *depth = axes
    columns = kernel.axes[column]
    sizes = (-(-columns // width), *(kernel.axes[axis] for axis in depth), width)
    place = len(sizes) - 1
    position = axis_form(0).scale(width) + axis_form(place)
    forms = {axis: axis_form(number) for number, axis in enumerate(depth, start=1)}
    exists = position.scale(-1).shift(columns - 1)
    guard = (exists,) if columns % width else ()
    address = value.address.substitute({**forms, column: position})
    loaded: Expression = Load(0, address, guard, value.dtype)
    if guard:
        loaded = Select(guard, loaded, literal(0, value.dtype))
    every = tuple(range(len(sizes)))
    output = Output(1, _flat(sizes, every), loaded, every)
    return Kernel(sizes, (kernel.slots[value.slot], packed), (), (output,))


def _flat(sizes: Sequence[int], axes: Sequence[int]) -> Affine:
    """The number of a point, where the last axis counts fastest."""
    flat = ZERO
    for number, axis in enumerate(axes):
        inner = math.prod(sizes[other] for other in axes[number + 1 :])
        flat += axis_form(axis).scale(inner)
    return flat
