"""What attention by roles asks of an online contraction, and makes of its values.

Scores stay where the matrix unit leaves them, so what the statistics and the weights
are made of must be one value for each score: first the *logits*, whose maximum comes
first of all, then what is rounded to become the weights. A key that does not count has
a logit of -inf.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.absence import is_plain
from tetragrad.kernel.affine import Affine, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Scalar,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online import replace
from tetragrad.kernel.online_contraction import OnlineContraction, online_contraction
from tetragrad.kernel.recognise import is_identity
from tetragrad.tile.ir import QuickPower
from tetragrad.tile.plans.products.operands import Placed
from tetragrad.tile.plans.roles.bulk import BulkOperand, boxed_load, bulk_operand
from tetragrad.tile.plans.scope import Scope

_LOWEST = literal(float("-inf"), dtypes.float32)

#: Operands whose products a matrix unit sums in float32.
HALVES = (dtypes.float16, dtypes.bfloat16)
#: What threads read in pairs from swizzled tiles.
NARROW = (*HALVES, dtypes.bool_, dtypes.int8, dtypes.uint8)


@frozen
class RowForm:
    """An online contraction whose operands can be copied in bulk.

    ``logits`` are what the first statistic, a maximum, is taken of; ``exact`` are the
    weights before they are rounded. With a ``factor``, a number that all scores share,
    ``plain`` is what the logits would be without it. ``beside`` is what they are made
    of besides the scores, as far as it can be copied in bulk: a mask, say.
    """

    form: OnlineContraction
    queries: BulkOperand
    keys: BulkOperand
    values: BulkOperand
    logits: Expression
    exact: Expression
    plain: Expression
    factor: Expression | None
    beside: tuple[BulkOperand, ...]

    @property
    def depth(self) -> int:
        """The axis of a query's features."""
        (axis,) = self.form.inner[0].scores.axes
        return int(axis)

    @property
    def column(self) -> int:
        """The axis of the total's columns."""
        assert self.form.column is not None
        return self.form.column

    def main(self, kernel: Kernel) -> tuple[Output, Expression]:
        """The output that has columns, and its value."""
        (found,) = (
            (output, result)
            for output, result in self._results(kernel)
            if self.column in output.axes
        )
        return found

    def statistics(self, kernel: Kernel) -> list[tuple[Output, Expression]]:
        """Outputs that are made of the statistics alone."""
        return [
            (output, result)
            for output, result in self._results(kernel)
            if self.column not in output.axes
        ]

    def _results(self, kernel: Kernel) -> Iterator[tuple[Output, Expression]]:
        return zip(kernel.outputs, self.form.online.results, strict=True)


def row_form(kernel: Kernel) -> RowForm | None:
    """The kernel as roles compute it, if they can."""
    form = online_contraction(kernel)
    if form is None or form.column is None or not _is_attention(kernel, form):
        return None
    if form.inner[0].scores.accumulator is not dtypes.float32:
        return None
    (depth,) = form.inner[0].scores.axes
    queries = bulk_operand(kernel, form.inner[0].queries, (form.row,), (depth,))
    keys = bulk_operand(kernel, form.inner[0].keys, (form.passed,), (depth,))
    values = bulk_operand(kernel, form.totals[0].values, (form.column,), (form.passed,))
    if queries is None or keys is None or values is None:
        return None
    if queries.dtype not in HALVES or {keys.dtype, values.dtype} != {queries.dtype}:
        return None
    exact = unrounded(form.totals[0].weights, values.dtype)
    logits = form.online.carries[0].body
    if exact is None or not _is_made_of(form, logits, exact):
        return None
    plain, factor = _without_factor(logits) or (logits, None)
    beside = _beside(kernel, form, logits)
    return RowForm(form, queries, keys, values, logits, exact, plain, factor, beside)


def _is_attention(kernel: Kernel, form: OnlineContraction) -> bool:
    """Whether statistics of one inner product, over one axis, make one total."""
    wide = [output for output in kernel.outputs if form.column in output.axes]
    is_single = len(form.inner) == len(form.totals) == len(wide) == 1
    if not is_single or not form.statistics or form.repeated:
        return False
    return (
        form.statistics[-1] < form.totals[0].number
        and len(form.inner[0].scores.axes) == 1
    )


def _beside(
    kernel: Kernel, form: OnlineContraction, logits: Expression
) -> tuple[BulkOperand, ...]:
    """What is loaded for each score, where a row's keys are neighbours in memory."""
    operands = (
        boxed_load(kernel, entry, (form.row,), (form.passed,))
        for entry in loads_beside(form, logits)
    )
    return tuple(entry for entry in operands if entry is not None and entry.is_deep)


def loads_beside(form: OnlineContraction, logits: Expression) -> list[Load]:
    """Elements of a few bytes that are loaded for each score, and not multiplied."""
    multiplied = {*walk(form.inner[0].scores)}
    return [
        entry
        for entry in walk(logits)
        if isinstance(entry, Load)
        and entry not in multiplied
        and {form.row, form.passed} <= entry.free_axes
        and entry.dtype in NARROW
    ]


def _without_factor(logits: Expression) -> tuple[Expression, Expression] | None:
    """Masked logits without a number that all of them are multiplied by."""
    if isinstance(logits, Select) and logits.outside == _LOWEST:
        found = _without_factor(logits.inside)
        if found is None:
            return None
        return Select(logits.guard, found[0], logits.outside), found[1]
    if not isinstance(logits, Compute):
        return None
    if logits.op is ops.Where and _LOWEST in logits.inputs[1:]:
        place = 3 - logits.inputs.index(_LOWEST)
        found = _without_factor(logits.inputs[place])
        if found is None:
            return None
        inputs = (*logits.inputs[:place], found[0], *logits.inputs[place + 1 :])
        return Compute(ops.Where, logits.dtype, inputs), found[1]
    if logits.op is not ops.Mul or not isinstance(logits.inputs[1], Scalar):
        return None
    return logits.inputs[0], logits.inputs[1]


def unrounded(weights: Expression, dtype: dtypes.DType) -> Expression | None:
    """What is rounded to become the weights, if they are rounded to a dtype."""
    if not isinstance(weights, Compute) or weights.op is not ops.Cast:
        return None
    rounded: Expression = weights.inputs[0]
    if rounded.dtype is not dtype:
        return None
    if isinstance(rounded, Compute) and rounded.op is ops.Cast:
        rounded = rounded.inputs[0]
    return rounded


def _is_made_of(form: OnlineContraction, logits: Expression, exact: Expression) -> bool:
    """Whether one value for each score is enough, at every time."""
    first, *others = form.online.carries[: form.totals[0].number]
    if first.op is not Max or any(carry.op is not Sum for carry in others):
        return False
    if logits.dtype is not exact.dtype or logits.dtype is not dtypes.float32:
        return False
    inside = literal(0.0, logits.dtype)
    if form.inner[0].scores in walk(replace(exact, {logits: inside})):
        return False
    if any(
        form.inner[0].scores in walk(replace(c.body, {exact: inside})) for c in others
    ):
        return False
    return all(
        vanishes(replace(carry.body, {logits: _LOWEST})) for carry in others
    ) and vanishes(replace(exact, {logits: _LOWEST}))


def is_positive(number: Expression) -> Guard:
    """A guard that holds where a number is above zero."""
    zero = literal(0.0, number.dtype)
    above = Compute(ops.Lt, dtypes.bool_, (zero, number))
    return (
        of_atom(Indexed(Compute(ops.Cast, dtypes.int64, (above,)), 0, 1)).shift(-1),
    )


# --- keys that do not count ----------------------------------------------------------


def vanishes(expression: Expression) -> bool:
    """Whether a value is 0 because a logit in it is -inf."""
    if isinstance(expression, Literal):
        return is_identity(expression, Sum)
    if isinstance(expression, Select):
        return vanishes(expression.inside) and vanishes(expression.outside)
    if not isinstance(expression, Compute):
        return False
    inputs = expression.inputs
    if expression.op is ops.Mul:
        return vanishes(inputs[0]) or vanishes(inputs[1])
    if expression.op in (ops.Exp, ops.Exp2):
        return _sinks(inputs[0])
    if expression.op in (ops.Cast, ops.Div):
        return vanishes(inputs[0])
    return False


def masks_of(expression: Expression) -> Guard | None:
    """All masks of an expression that is 0 outside of them; None if it is not so."""
    found: dict[Affine, None] = {}
    for entry in walk(expression):
        if not isinstance(entry, Select) or not all(map(is_plain, entry.guard)):
            continue
        if not vanishes(replace(expression, {entry: entry.outside})):
            return None
        found |= dict.fromkeys(entry.guard)
    return tuple(found)


def _sinks(expression: Expression) -> bool:
    """Whether a value is -inf because a logit in it is."""
    if expression == _LOWEST:
        return True
    if not isinstance(expression, Compute):
        return False
    if expression.op in (ops.Cast, ops.Sub):
        return _sinks(expression.inputs[0])
    return expression.op is ops.Add and any(map(_sinks, expression.inputs))


def whole_blocks(
    form: OnlineContraction,
    logits: Expression,
    scope: Scope,
    rows: Placed,
    keys: Placed,
) -> tuple[Guard, Expression]:
    """When no mask touches a block, and what the logits are there.

    Nothing, where that is never known.
    """
    sizes, places = scope.builder.kernel.axes, {}
    conditions = [keys.start.scale(-1).shift(sizes[form.passed] - keys.block.chunk)]
    simpler: dict[Expression, Expression] = {}
    for entry in walk(logits):
        if not isinstance(entry, Select) or not all(map(is_plain, entry.guard)):
            continue
        for needed in entry.guard:
            places = {
                axis: block.start.shift(
                    block.block.chunk - 1 if needed.coefficient(axis) < 0 else 0
                )
                for axis, block in ((form.row, rows), (form.passed, keys))
            }
            place = scope.bind(form.row, places[form.row])
            place = place.bind(form.passed, places[form.passed])
            conditions.append(place.rewriter().form(needed))
        simpler[entry] = replace(entry.inside, simpler)
    return _needed(conditions, scope), replace(logits, simpler)


def _needed(conditions: list[Affine], scope: Scope) -> Guard:
    return tuple(form for form in conditions if not scope.builder.always(form))


# --- quick arithmetic ----------------------------------------------------------------

_BASES = {ops.Exp: math.log2(math.e), ops.Exp2: 1.0}


def quick(root: Expression, column: int | None = None) -> Expression:
    """The expression as it may be computed where it is rounded to 16 bits.

    Exponentials become powers of two of one product and sum; what is divided by a
    value that all of a row share, which is not that of ``column``, is multiplied by
    its reciprocal instead.
    """
    built: dict[Expression, Expression] = {}
    for expression in walk(root):
        built[expression] = expression
        if isinstance(expression, Compute):
            inputs = tuple(built[entry] for entry in expression.inputs)
            built[expression] = _quick(expression, inputs, column)
        elif isinstance(expression, Select):
            inside, outside = built[expression.inside], built[expression.outside]
            built[expression] = Select(expression.guard, inside, outside)
    return built[root]


def _quick(
    expression: Compute, inputs: tuple[Expression, ...], column: int | None
) -> Expression:
    dtype = expression.dtype
    if dtype is dtypes.float32 and expression.op in _BASES:
        return _power(inputs[0], _BASES[expression.op])
    is_shared = column is not None and column not in inputs[-1].free_axes
    if dtype is dtypes.float32 and expression.op is ops.Div and is_shared:
        reciprocal = Compute(ops.Reciprocal, dtype, inputs[1:])
        return Compute(ops.Mul, dtype, (inputs[0], reciprocal))
    return Compute(expression.op, dtype, inputs)


def _power(exponent: Expression, base: float) -> Expression:
    """2 ** (exponent * base), as one product and sum where it is a difference."""
    dtype = exponent.dtype
    factor: Expression = literal(base, dtype)
    addend: Expression = literal(0.0, dtype)
    if not isinstance(exponent, Compute) or exponent.op is not ops.Sub:
        return QuickPower(exponent, factor, addend)
    value, taken = exponent.inputs
    scaled = Compute(ops.Mul, dtype, (taken, factor))
    if isinstance(value, Compute) and value.op is ops.Mul:
        first, second = value.inputs
        if not second.free_axes:
            value, factor = first, Compute(ops.Mul, dtype, (second, factor))
    return QuickPower(value, factor, Compute(ops.Neg, dtype, (scaled,)))
