"""Give a buffer that points are combined into its first value."""

from __future__ import annotations

from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import literal
from tetragrad.kernel.ir import Mode, Output
from tetragrad.tile.ir import Grid, Statement, Store
from tetragrad.tile.plans.scope import Builder, Scope, Strip, chunked, strips


@frozen
class FillPlan:
    """Fill the slot of one combining output, ``chunk`` elements a grid iteration."""

    output: int
    lanes: int
    chunk: int


def build_fill(builder: Builder, plan: FillPlan) -> list[Statement]:
    """Store the identity of the output's combination everywhere."""
    output = builder.kernel.outputs[plan.output]
    slot = builder.kernel.slots[output.slot]
    operation = Sum if output.mode is Mode.ADD else Max
    identity = literal(operation.identity(slot.dtype), slot.dtype)
    count = -(-slot.numel // plan.chunk)
    index = builder.axis(count)
    # No kernel axis counts the elements of a buffer; this number stands for one.
    element = len(builder.kernel.axes)

    def store(scope: Scope) -> list[Statement]:
        address = scope.forms[element]
        return [Store(scope.collective, output.slot, address, identity, scope.guard)]

    def one(start: Affine, length: int) -> list[Statement]:
        strip = Strip(element, plan.lanes)
        return strips(Scope(builder), strip, start, length, store)

    body = chunked(slot.numel, plan.chunk, axis_form(index), one)
    return [Grid(((index, count),), tuple(body))]


def fills(outputs: tuple[Output, ...], lanes: int, chunk: int) -> list[FillPlan]:
    """A fill for every slot that outputs combine into."""
    found: dict[int, FillPlan] = {}
    for number, output in enumerate(outputs):
        if output.mode is not Mode.STORE:
            found.setdefault(output.slot, FillPlan(number, lanes, chunk))
    return list(found.values())
