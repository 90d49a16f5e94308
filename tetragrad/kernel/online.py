"""Online reductions: several dependent passes over a row, carried in one.

Softmax followed by a contraction reads its row three times: for the maximum m, for
l = Σ exp(x - m), and for o = Σ exp(x - m)·v. *Shift analysis* asks how each body
changes, for every element alike, when an earlier running value moves from old to
new: by a factor, by a summand, or not expressibly. Where

    a sum's body is multiplied by c      the running sum is multiplied by c
    a maximum's body is moved by c       the running maximum is moved by c

the reductions can be carried together in one pass, each corrected before it takes in
the next block. This is how attention becomes one kernel (Milakov and Gimelshein 2018;
Dao et al. 2022), derived and not written down; variance and tanh(x - m) are refused.

A float that is rounded to another dtype counts as multiplied by what it was multiplied
by before: the rounding's error is as large beside the one as beside the other.

While a running maximum is -inf the correction exp(old - new) is exp(-inf - -inf):
carried sums are at their identity there, and a corrected identity is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce as reduces
from tetragrad.kernel.affine import ZERO
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Literal,
    Reduction,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.recognise import is_identity


class Carried(Expression):
    """The running value of carried reduction ``number``, before or after a block."""

    __slots__ = ()
    fields = ("number", "after", "carried_dtype")

    def _describe(self, number: int, after: bool, dtype: DType) -> None:
        self.dtype = dtype
        self.operands = ()
        self.free_axes = frozenset()


class Way(Enum):
    """How a value changes when an earlier running value does."""

    UNCHANGED = "unchanged"
    SCALED = "scaled"  # new = old * amount
    SHIFTED = "shifted"  # new = old + amount


@frozen(slots=True)
class Change:
    """A way, and by what amount: an expression of Carried values."""

    way: Way
    amount: Expression | None = None


UNCHANGED = Change(Way.UNCHANGED)


@frozen
class Carry:
    """One carried reduction; earlier ones appear in it as their running values.

    ``correction`` is applied to the running value before a block is taken in:
    multiplied for a sum, added for a maximum; None if nothing earlier matters.
    """

    op: type[reduces.Reduce]
    body: Expression
    correction: Expression | None
    dtype: DType


@frozen
class Online:
    """A kernel's values as one pass over ``axes``, and what is left to do after it.

    There is a result for each of the kernel's outputs.
    """

    axes: tuple[int, ...]
    carries: tuple[Carry, ...]
    results: tuple[Expression, ...]


@lru_cache(maxsize=64)
def online_form(kernel: Kernel) -> Online | None:
    """The one-pass form of a kernel whose reductions over one row depend on others.

    Either on one another, as in a softmax, or on inner reductions over other axes
    that one pass makes only once, as in a product of a product.
    """
    if len(kernel.reductions) < 2:
        return None
    values = [output.value for output in kernel.outputs]
    chain = _chain(values)
    if not chain:
        return None
    analysis = _Analysis(chain)
    carries = []
    for reduction in chain:
        carry = analysis.carry(reduction)
        if carry is None:
            return None
        carries.append(carry)
    results = tuple(replace(value, analysis.after) for value in values)
    if any(isinstance(entry, Reduction) for entry in walk(*results)):
        return None
    return Online(chain[0].axes, tuple(carries), results)


def _chain(values: Sequence[Expression]) -> list[Reduction]:
    """The reductions over the row, each after those that it depends on.

    None, where some reduction over other axes depends on them, or where none of them
    depends on any.
    """
    rows = [entry for entry in walk(*values) if isinstance(entry, Reduction)]
    if not rows:
        return []
    axes = rows[-1].axes
    chain = [entry for entry in rows if entry.axes == axes]
    inner = [entry for entry in rows if entry.axes != axes]
    if any(_holds_any(entry.body, chain) for entry in inner):
        return []
    depends = any(_holds_any(entry.body, rows) for entry in chain)
    return chain if depends else []


def _holds_any(body: Expression, wanted: Sequence[Reduction]) -> bool:
    inside = set(walk(body))
    return any(entry in inside for entry in wanted)


class _Analysis:
    """Changes of expressions, given the carried reductions seen so far."""

    def __init__(self, chain: Sequence[Reduction]) -> None:
        self.axes = frozenset(chain[0].axes)
        self.number = {entry: position for position, entry in enumerate(chain)}
        self.before: dict[Expression, Expression] = {}
        self.after: dict[Expression, Expression] = {}
        self.changes: dict[Expression, Change | None] = {}

    def carry(self, reduction: Reduction) -> Carry | None:
        """How this reduction is carried; None if it cannot be."""
        body, factor = self._without_invariant_factor(reduction)
        change = self.change(body)
        if change is None or not _is_carried(reduction.op, change):
            return None
        number = self.number[reduction]
        running = Carried(number, True, reduction.accumulator)
        self.before[reduction] = Carried(number, False, reduction.accumulator)
        result: Expression = _cast(running, reduction.dtype)
        if factor is not None:
            op, other = factor
            result = Compute(op, result.dtype, (result, replace(other, self.after)))
        self.after[reduction] = result
        amount = change.amount
        carried_body = replace(body, self.after)
        return Carry(reduction.op, carried_body, amount, reduction.accumulator)

    def _without_invariant_factor(
        self, reduction: Reduction
    ) -> tuple[Expression, tuple[type[ops.Binary], Expression] | None]:
        """Σ_k (x_k · v_k) / l -> (Σ_k x_k · v_k) / l, for l the same along the row.

        The sum is then carried without dividing by a value that is still running.
        """
        body = reduction.body
        if reduction.op is not reduces.Sum or not isinstance(body, Compute):
            return body, None
        if body.op is ops.Div and self._is_invariant(body.inputs[1]):
            return body.inputs[0], (ops.Div, body.inputs[1])
        if body.op is not ops.Mul:
            return body, None
        for position in (0, 1):
            other = body.inputs[1 - position]
            found = self._divided(body.inputs[position])
            if found is not None:
                top, factor = found
                pair = (top, other) if position == 0 else (other, top)
                return Compute(ops.Mul, body.dtype, pair), factor
        return body, None

    def _divided(
        self, value: Expression
    ) -> tuple[Expression, tuple[type[ops.Binary], Expression]] | None:
        """(x, (/, l)) for x / l, which may be rounded and masked."""
        if _is_rounding(value):
            found = self._divided(value.inputs[0])
            if found is None:
                return None
            return _cast(found[0], value.dtype), found[1]
        if isinstance(value, Select):
            found = self._divided(value.inside) if self._keeps_first(value) else None
            if found is None:
                return None
            return Select(value.guard, found[0], value.outside), found[1]
        if not isinstance(value, Compute) or value.op not in (ops.Div, ops.Mul):
            return None
        top, factor = value.inputs
        if not self._is_invariant(factor) or not self._depends(factor):
            return None
        return top, (value.op, factor)

    def _keeps_first(self, masked: Select) -> bool:
        """Whether a mask with zeros keeps the first element of every row.

        Then a row's sum is not that of an empty one, 0, which 0 / l need not be.
        """
        if not is_identity(masked.outside, reduces.Sum):
            return False
        first = dict.fromkeys(self.axes, ZERO)
        forms = [form.substitute(first) for form in masked.guard]
        return all(not form.axes() and form.range(())[0] >= 0 for form in forms)

    def _is_invariant(self, expression: Expression) -> bool:
        return not expression.free_axes & self.axes

    def _depends(self, expression: Expression) -> bool:
        return any(entry in self.number for entry in walk(expression))

    # --- changes -----------------------------------------------------------------

    def change(self, root: Expression) -> Change | None:
        """How ``root`` changes when the carried reductions below it do."""
        for expression in walk(root):
            if expression not in self.changes:
                self.changes[expression] = self._change_of(expression)
        return self.changes[root]

    def _change_of(self, expression: Expression) -> Change | None:
        if expression in self.before:
            dtype = expression.dtype
            after = _cast(self.after[expression], dtype)
            before = _cast(self.before[expression], dtype)
            return Change(Way.SHIFTED, Compute(ops.Sub, dtype, (after, before)))
        parts = [self.changes[entry] for entry in expression.children]
        if any(part is None for part in parts):
            return None
        if all(part is UNCHANGED for part in parts):
            return UNCHANGED
        if isinstance(expression, Select):
            return self._of_select(expression)
        if isinstance(expression, Compute):
            return self._of_compute(expression)
        return None

    def _of_select(self, expression: Select) -> Change | None:
        """0 absorbs a factor and -inf a shift; equal changes go through."""
        inside = self.changes[expression.inside]
        outside = self.changes[expression.outside]
        if inside == outside or inside is None:
            return inside
        return inside if _absorbs(expression.outside, inside.way) else None

    def _of_compute(self, expression: Compute) -> Change | None:
        rule = _RULES.get(expression.op)
        if rule is None:
            return None
        changes = [self.changes[entry] or UNCHANGED for entry in expression.inputs]
        return rule(self, expression, changes)


def _is_carried(op: type[reduces.Reduce], change: Change) -> bool:
    if change.way is Way.UNCHANGED:
        return True
    allowed = {reduces.Sum: Way.SCALED, reduces.Max: Way.SHIFTED}
    return allowed.get(op) is change.way


def _cast(expression: Expression, dtype: DType) -> Expression:
    if expression.dtype is dtype:
        return expression
    return Compute(ops.Cast, dtype, (expression,))


# --- one rule for each op: how its result changes with its operands ------------------


def _is_rounding(expression: Expression) -> bool:
    """Whether a float becomes a float of another dtype."""
    if not isinstance(expression, Compute) or expression.op is not ops.Cast:
        return False
    source = expression.inputs[0].dtype
    return bool(source.is_floating_point and expression.dtype.is_floating_point)


def _amount(change: Change, way: Way, like: Expression) -> Expression | None:
    """The change as this way's amount: unchanged is a factor of 1, a shift of 0."""
    if change.way is Way.UNCHANGED:
        return literal(1.0 if way is Way.SCALED else 0.0, like.dtype)
    return change.amount if change.way is way else None


def _both(
    op: type[ops.Binary], way: Way, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    lhs, rhs = (_amount(change, way, expression) for change in changes)
    if lhs is None or rhs is None:
        return None
    if way is Way.SHIFTED and isinstance(rhs, Literal) and not rhs.value:
        return Change(way, lhs)
    return Change(way, Compute(op, expression.dtype, (lhs, rhs)))


def _of_sum(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """(x + a) ± (y + b) = (x ± y) + (a ± b); equal factors go through."""
    if changes[0] == changes[1]:
        return changes[0] if changes[0].way is Way.SCALED else None
    op = ops.Add if expression.op is ops.Add else ops.Sub
    return _both(op, Way.SHIFTED, expression, changes)


def _of_product(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """(x·a)(y·b) = (xy)(ab); (x + a)·s = xs + as for s the same along the row."""
    scaled = _both(ops.Mul, Way.SCALED, expression, changes)
    if scaled is not None:
        return scaled
    for position in (0, 1):
        other = expression.inputs[1 - position]
        shift = changes[position]
        fixed = changes[1 - position] is UNCHANGED and analysis._is_invariant(other)
        if shift.way is Way.SHIFTED and fixed and shift.amount is not None:
            product = Compute(ops.Mul, expression.dtype, (shift.amount, other))
            return Change(Way.SHIFTED, product)
    return None


def _of_quotient(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """(x·a) / (y·b) = (x/y)(a/b)."""
    return _both(ops.Div, Way.SCALED, expression, changes)


def _of_negation(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """-(x + a) = -x + -a; -(x·a) = (-x)·a."""
    (change,) = changes
    if change.way is Way.SCALED or change.amount is None:
        return change
    return Change(Way.SHIFTED, Compute(ops.Neg, expression.dtype, (change.amount,)))


def _of_exponential(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """exp(x + a) = exp(x)·exp(a)."""
    (change,) = changes
    if change.way is not Way.SHIFTED or change.amount is None:
        return None
    return Change(
        Way.SCALED, Compute(expression.op, expression.dtype, (change.amount,))
    )


def _of_logarithm(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """log(x·a) = log(x) + log(a)."""
    (change,) = changes
    if change.way is not Way.SCALED or change.amount is None:
        return None
    return Change(
        Way.SHIFTED, Compute(expression.op, expression.dtype, (change.amount,))
    )


def _of_maximum(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """max(x + a, y + a) = max(x, y) + a."""
    return changes[0] if changes[0] == changes[1] else None


def _of_where(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """Like a select, for a condition that does not change."""
    condition, inside, outside = changes
    if condition is not UNCHANGED:
        return None
    if inside == outside:
        return inside
    return inside if _absorbs(expression.inputs[2], inside.way) else None


def _of_cast(
    analysis: _Analysis, expression: Compute, changes: Sequence[Change]
) -> Change | None:
    """round(x·a) = round(x)·a, but for an error as large as the rounding's own."""
    (change,) = changes
    is_scaled = change.way is Way.SCALED and change.amount is not None
    if not is_scaled or not _is_rounding(expression):
        return None
    return change


def _absorbs(fill: Expression, way: Way) -> bool:
    """Whether a value stays the same under every change of this way."""
    absorbing = {Way.SCALED: 0.0, Way.SHIFTED: float("-inf")}.get(way)
    return isinstance(fill, Literal) and fill.value == absorbing


_RULES = {
    ops.Add: _of_sum,
    ops.Sub: _of_sum,
    ops.Mul: _of_product,
    ops.Div: _of_quotient,
    ops.Neg: _of_negation,
    ops.Exp: _of_exponential,
    ops.Exp2: _of_exponential,
    ops.Log: _of_logarithm,
    ops.Log2: _of_logarithm,
    ops.Maximum: _of_maximum,
    ops.Where: _of_where,
    ops.Cast: _of_cast,
}


def replace(
    root: Expression, replacements: Mapping[Expression, Expression]
) -> Expression:
    """The expression with some of its parts replaced."""
    built: dict[Expression, Expression] = {}
    for expression in walk(root):
        found = replacements.get(expression)
        if found is None:
            found = _rebuilt(expression, built)
        built[expression] = found
    return built[root]


def _rebuilt(
    expression: Expression, built: Mapping[Expression, Expression]
) -> Expression:
    match expression:
        case Compute():
            inputs = tuple(built[entry] for entry in expression.inputs)
            return Compute(expression.op, expression.dtype, inputs)
        case Select():
            inside, outside = built[expression.inside], built[expression.outside]
            return Select(expression.guard, inside, outside)
        case Reduction():
            return Reduction(expression.op, expression.axes, built[expression.body])
    return expression
