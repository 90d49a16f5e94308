"""What a pass with given statistics is to roles: attention's gradients, above all.

    scores   = Σ queries·keys       one or two inner products
    weights  = what they become     rounded to 16 bits, in place of some scores
    total   += Σ weights·values     one or two

Weights are computed where the scores lie, in the matrix unit's own registers, so each
total's weights are *held* in place of an inner product's scores that nothing after
them reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Expression, Load, Reduction, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.online_contraction import (
    InnerProduct,
    OnlineContraction,
    Total,
    online_contraction,
)
from tetragrad.tile.plans.roles.bulk import BulkOperand, bulk_operand
from tetragrad.tile.plans.roles.lines import Line, line_of
from tetragrad.tile.plans.roles.online_rows import HALVES, unrounded
from tetragrad.tile.plans.scope import cast


@frozen
class InnerOperands:
    """The operands of an inner product, which sums over ``depth``."""

    product: InnerProduct
    queries: BulkOperand
    keys: BulkOperand
    depth: int


@frozen
class Weighted:
    """A total: its values, its weights before they are rounded, and where they lie.

    ``held`` is the number of the inner product whose scores they take the place of;
    ``shared`` that of one whose keys are the values, if there is one.
    """

    total: Total
    values: BulkOperand
    exact: Expression
    held: int
    shared: int | None


@frozen
class PassForm:
    """A pass whose operands can be copied in bulk; totals in the order to make them.

    ``lines`` are what the weights are made of that all rows share and can be brought.
    """

    form: OnlineContraction
    inner: tuple[InnerOperands, ...]
    totals: tuple[Weighted, ...]
    lines: tuple[Line, ...]

    @property
    def column(self) -> int:
        """The axis of the totals' columns."""
        assert self.form.column is not None
        return self.form.column

    def row_values(self) -> Iterator[Expression]:
        """Values beside the scores that all positions of a row share: loads."""
        form = self.form
        found: dict[Expression, None] = {}
        for weighted in self.totals:
            for entry in walk(weighted.exact):
                is_fixed = not entry.free_axes & {form.passed, *form.repeated}
                if isinstance(entry, Load) and is_fixed and form.row in entry.free_axes:
                    found[entry] = None
        inside = {
            load for operands in self.inner for load in walk(operands.product.scores)
        }
        return (entry for entry in found if entry not in inside)


def pass_form(kernel: Kernel) -> PassForm | None:
    """The kernel as a pass that roles compute, if they can."""
    form = online_contraction(kernel)
    if form is None or form.statistics or form.column is None:
        return None
    if any(form.column not in output.axes for output in kernel.outputs):
        return None
    inner = [_inner_operands(kernel, form, product) for product in form.inner]
    values = [
        bulk_operand(kernel, total.values, (form.column,), (form.passed,))
        for total in form.totals
    ]
    operands = [entry for entry in inner if entry is not None]
    brought = [entry for entry in values if entry is not None]
    if len(operands) < len(inner) or len(brought) < len(values):
        return None
    found = {side.dtype for entry in operands for side in (entry.queries, entry.keys)}
    found |= {entry.dtype for entry in brought}
    if len(found) != 1 or not found <= {*HALVES}:
        return None
    shared = [
        next(
            (
                number
                for number, entry in enumerate(operands)
                if _is_same(kernel, entry, values, form.column)
            ),
            None,
        )
        for values in brought
    ]
    totals = _placed(form, brought, shared)
    if totals is None:
        return None
    return PassForm(form, tuple(operands), totals, _lines(kernel, form, totals))


def _lines(
    kernel: Kernel, form: OnlineContraction, totals: Sequence[Weighted]
) -> tuple[Line, ...]:
    """What is loaded for each key, the same for all rows."""
    multiplied = {*walk(*(product.scores for product in form.inner))}
    loads = [
        entry
        for entry in walk(*(total.exact for total in totals))
        if isinstance(entry, Load)
        and entry not in multiplied
        and form.passed in entry.free_axes
        and form.row not in entry.free_axes
    ]
    found = (line_of(kernel, load, form.passed) for load in loads)
    return tuple(line for line in found if line is not None)


def _is_same(
    kernel: Kernel, inner: InnerOperands, values: BulkOperand, column: int
) -> bool:
    """Whether keys and values are the same memory, features for columns."""
    if kernel.axes[inner.depth] != kernel.axes[column]:
        return False
    moved = {inner.depth: axis_form(column)}
    load, other = inner.keys.load, values.load
    assert isinstance(load, Load) and isinstance(other, Load), "bulk operands"
    return (
        (load.slot, load.dtype) == (other.slot, other.dtype)
        and load.address.substitute(moved) == other.address
        and {form.substitute(moved) for form in load.guard} == {*other.guard}
    )


def _inner_operands(
    kernel: Kernel, form: OnlineContraction, product: InnerProduct
) -> InnerOperands | None:
    scores = product.scores
    if len(scores.axes) != 1 or scores.accumulator is not dtypes.float32:
        return None
    (depth,) = scores.axes
    queries = bulk_operand(kernel, product.queries, (form.row,), (depth,))
    keys = bulk_operand(kernel, product.keys, (form.passed,), (depth,))
    if queries is None or keys is None:
        return None
    return InnerOperands(product, queries, keys, depth)


def _placed(
    form: OnlineContraction, values: list[BulkOperand], shared: list[int | None]
) -> tuple[Weighted, ...] | None:
    """The totals in an order in which each one's weights find scores to replace.

    Weights that others are made of come first.
    """
    exact: dict[int, Expression] = {}
    for number, total in enumerate(form.totals):
        found = unrounded(total.weights, values[number].dtype)
        if found is None:
            return None
        exact[number] = cast(found, dtypes.float32)
    order = sorted(exact, key=lambda number: len(walk(exact[number])))
    placed: list[Weighted] = []
    known: dict[Expression, int] = {}
    for place, number in enumerate(order):
        later = [exact[entry] for entry in order[place + 1 :]]
        known[exact[number]] = number
        taken = {entry.held for entry in placed}
        free = [
            position
            for position, product in enumerate(form.inner)
            if position not in taken and not _needs(later, product.scores, known)
        ]
        if not free:
            return None
        total = form.totals[number]
        placed.append(
            Weighted(total, values[number], exact[number], free[0], shared[number])
        )
    return tuple(placed)


def _needs(
    later: list[Expression], scores: Reduction, known: Mapping[Expression, int]
) -> bool:
    """Whether later weights are made of scores other than through known weights."""
    stack, seen = list(later), set[Expression]()
    while stack:
        entry = stack.pop()
        if entry is scores:
            return True
        if entry not in seen and entry not in known:
            seen.add(entry)
            stack += entry.children
    return False
