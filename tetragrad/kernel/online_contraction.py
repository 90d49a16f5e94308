"""Online contractions: attention, told apart from other kernels of one pass.

    scores = Σ_e queries·keys;  weights made from them;  Σ_key weights·values

``online.py`` says how the statistics and the last sum are carried; here the axes and
operands are named, so that a plan can tile them.
"""

from __future__ import annotations

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce as reduces
from tetragrad.kernel.expression import Compute, Expression, Reduction, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.online import Online, online_form


@frozen
class OnlineContraction:
    """Weights made from scores, times values: attention, with its axes by role.

    ``scores`` is the inner contraction; the weights of carry ``matrix`` are made from
    it for each position of ``row`` and ``passed``, and contracted over ``passed``
    with values along ``column``.
    """

    online: Online
    matrix: int
    scores: Reduction
    queries: Expression
    keys: Expression
    weights: Expression
    values: Expression
    batch: tuple[int, ...]
    row: int
    passed: int
    column: int


def online_contraction(kernel: Kernel) -> OnlineContraction | None:
    """The kernel as an online contraction, if it is one."""
    online = online_form(kernel)
    if online is None or len(online.axes) != 1:
        return None
    (output,) = kernel.outputs
    (passed,) = online.axes
    matrix, product = len(online.carries) - 1, online.carries[-1].body
    scores = _inner_contraction(online)
    if scores is None or not isinstance(product, Compute) or product.op is not ops.Mul:
        return None
    weights, values = product.inputs
    if scores not in set(walk(weights)):
        weights, values = values, weights
    statistics = {
        axis for carry in online.carries[:-1] for axis in carry.body.free_axes
    }
    columns = values.free_axes - statistics - {passed}
    by_row = _roles(scores, passed)
    if by_row is None or len(columns) != 1 or weights.free_axes & columns:
        return None
    queries, keys, rows = by_row
    if not rows or _has_reduction(values) or passed in output.axes:
        return None
    (column,), row = columns, max(rows)
    batch = tuple(axis for axis in output.axes if axis not in (row, column))
    return OnlineContraction(
        online,
        matrix,
        scores,
        queries,
        keys,
        weights,
        values,
        batch,
        row,
        passed,
        column,
    )


def _inner_contraction(online: Online) -> Reduction | None:
    """The one reduction inside the carried bodies, if it is a sum of products."""
    found = {
        entry
        for carry in online.carries
        for entry in walk(carry.body)
        if isinstance(entry, Reduction)
    }
    if len(found) != 1:
        return None
    (scores,) = found
    product = scores.body
    is_product = isinstance(product, Compute) and product.op is ops.Mul
    exact = scores.op is reduces.Sum and product.dtype is scores.accumulator
    return scores if is_product and exact else None


def _roles(
    scores: Reduction, passed: int
) -> tuple[Expression, Expression, frozenset[int]] | None:
    """The operand that stays in a row, the one that moves along it, the rows."""
    lhs, rhs = scores.body.inputs
    queries, keys = (rhs, lhs) if passed in lhs.free_axes else (lhs, rhs)
    if passed in queries.free_axes or passed not in keys.free_axes:
        return None
    return queries, keys, queries.free_axes - keys.free_axes - set(scores.axes)


def _has_reduction(expression: Expression) -> bool:
    return any(isinstance(entry, Reduction) for entry in walk(expression))
