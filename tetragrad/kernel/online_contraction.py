"""Online contractions: products of products, told apart from other one-pass kernels.

    scores  = Σ_e queries·keys       inner products: one for each row and position
    weights made of scores           element by element, with the row's statistics
    total   = Σ_position weights·values

Attention is one such pass: its statistics are a maximum and a sum, carried as
``online.py`` says. Its gradients are others: there the statistics are given, and two
inner products make the weights of one or two totals. A pass may also end with the
statistics: those of a row whose scores nobody stores. Here the axes and operands are
named, so that a plan can tile them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce as reduces
from tetragrad.kernel.expression import Compute, Expression, Reduction, walk
from tetragrad.kernel.ir import Kernel, combines
from tetragrad.kernel.online import Carried, Carry, Online, online_form


@frozen
class InnerProduct:
    """``scores``: what lies along a row, times what moves along with the pass."""

    scores: Reduction
    queries: Expression
    keys: Expression


@frozen
class Total:
    """The carry ``number``: weights, which have no column, times values."""

    number: int
    weights: Expression
    values: Expression


@frozen
class OnlineContraction:
    """A pass over ``passed`` for every ``row``, with its axes by role.

    ``statistics`` are the carries that have one value for each row, in the order in
    which they are made; each of the ``totals`` has a value for each row and
    ``column``. Where the pass runs over several axes, all but the last are
    ``repeated``: gone through one position after another.
    """

    online: Online
    inner: tuple[InnerProduct, ...]
    statistics: tuple[int, ...]
    totals: tuple[Total, ...]
    batch: tuple[int, ...]
    repeated: tuple[int, ...]
    row: int
    passed: int
    column: int | None


@lru_cache(maxsize=64)
def online_contraction(kernel: Kernel) -> OnlineContraction | None:
    """The kernel as an online contraction, if it is one."""
    online = online_form(kernel)
    if online is None or combines(kernel.outputs):
        return None
    *repeated, passed = online.axes
    inner = inner_products(online, passed)
    row = row_of(inner, online.axes, kernel.axes)
    divided = _divided(online)
    if row is None or divided is None:
        return None
    statistics, totals, column = divided
    stored = {axis for output in kernel.outputs for axis in output.axes}
    if row not in stored or stored & {*online.axes}:
        return None
    if any(row in total.values.free_axes for total in totals):
        return None
    if any(entry.queries.free_axes & {*repeated} for entry in inner):
        return None
    batch = tuple(sorted(stored - {row, column}))
    return OnlineContraction(
        online, inner, statistics, totals, batch, tuple(repeated), row, passed, column
    )


def inner_products(online: Online, passed: int) -> tuple[InnerProduct, ...]:
    """The reductions inside the carried bodies, if all are sums of products."""
    reductions = {
        entry: None
        for carry in online.carries
        for entry in walk(carry.body)
        if isinstance(entry, Reduction)
    }
    found = []
    for scores in reductions:
        product = _inner_product(scores, passed)
        if product is None:
            return ()
        found.append(product)
    accumulators = {entry.scores.accumulator for entry in found}
    return tuple(found) if len(accumulators) == 1 else ()


def _inner_product(scores: Reduction, passed: int) -> InnerProduct | None:
    """A sum of products as an operand that stays in a row and one that moves."""
    product = scores.body
    is_product = isinstance(product, Compute) and product.op is ops.Mul
    exact = scores.op is reduces.Sum and product.dtype is scores.accumulator
    if not is_product or not exact or _has_reduction(product):
        return None
    lhs, rhs = product.inputs
    queries, keys = (rhs, lhs) if passed in lhs.free_axes else (lhs, rhs)
    if passed in queries.free_axes or passed not in keys.free_axes:
        return None
    return InnerProduct(scores, queries, keys)


def row_of(
    inner: Sequence[InnerProduct], axes: tuple[int, ...], sizes: Sequence[int]
) -> int | None:
    """The longest axis along which all first operands move, and no second one.

    Heads that share keys are such an axis too; of two that are equal, the inner one.
    """
    if not inner:
        return None
    common = frozenset.intersection(*(entry.queries.free_axes for entry in inner))
    moving = {axis for entry in inner for axis in entry.keys.free_axes}
    bound = {axis for entry in inner for axis in entry.scores.axes}
    found = common - moving - bound - {*axes}
    return max(found, key=lambda axis: (sizes[axis], axis), default=None)


def _divided(
    online: Online,
) -> tuple[tuple[int, ...], tuple[Total, ...], int | None] | None:
    """The statistics, the totals, and the column that all totals have."""
    statistics: list[int] = []
    totals: list[Total] = []
    columns: set[int] = set()
    for number, carry in enumerate(online.carries):
        total, own = _total(number, carry, online.axes)
        if total is None:
            statistics.append(number)
        else:
            totals.append(total)
            columns |= own
    if len(columns) > 1:
        return None
    column = columns.pop() if columns else None
    weights = [online.carries[number].body for number in statistics]
    weights += [total.weights for total in totals]
    finished = {total.number for total in totals}
    if any(column in entry.free_axes for entry in weights):
        return None
    if any(isinstance(e, Carried) and e.number in finished for e in walk(*weights)):
        return None
    return tuple(statistics), tuple(totals), column


def _total(
    number: int, carry: Carry, axes: tuple[int, ...]
) -> tuple[Total | None, frozenset[int]]:
    """The carry as weights times values, and the axes that only the values have."""
    nothing: frozenset[int] = frozenset()
    body = carry.body
    if carry.op is not reduces.Sum or not isinstance(body, Compute):
        return None, nothing
    if body.op is not ops.Mul:
        return None, nothing
    weights, values = body.inputs
    if _has_reduction(values):
        weights, values = values, weights
    own = values.free_axes - weights.free_axes - {*axes}
    if _has_reduction(values) or not own:
        return None, nothing
    return Total(number, weights, values), own


def _has_reduction(expression: Expression) -> bool:
    return any(isinstance(entry, Reduction) for entry in walk(expression))
