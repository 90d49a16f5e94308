"""Reductions that are something cheaper: gathers, scatters and scans.

A network is written with four op types only, so indexing arrives as a sum over
one-hot selections and a cumulative sum as a sum under a triangular mask. Each rule
below says what it matches, what it becomes, and why that is the same value.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Reduce, Sum
from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Given,
    Guard,
    Indexed,
    Literal,
    Load,
    Reduction,
    Scan,
    Select,
    anything,
    literal,
    walk,
)
from tetragrad.kernel.simplify import as_form, select
from tetragrad.kernel.substitution import substitute


def reduction(
    op: type[Reduce],
    axes: tuple[int, ...],
    body: Expression,
    sizes: Sequence[int],
) -> Expression:
    """A reduction over axes, or the cheaper expression that it is."""
    for rule in _RULES:
        found = rule(op, axes, body, sizes)
        if found is not None:
            return found
    return Reduction(op, axes, body)


def is_identity(expression: Expression, op: type[Reduce]) -> bool:
    """Whether the expression is the reduce op's identity (either zero for sums)."""
    if not isinstance(expression, Literal):
        return False
    return bool(expression.value == op.identity(expression.dtype))


def _identity(op: type[Reduce], like: Expression) -> Literal:
    return literal(op.identity(like.dtype), like.dtype)


def _invariant_guard(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_k select(g, x_k, 0) -> select(g, Σ_k x_k, 0) where g does not depend on k.

    Where g fails every term is the identity, and so is the reduction.
    """
    if not isinstance(body, Select) or not is_identity(body.outside, op):
        return None
    outer = tuple(form for form in body.guard if not form.axes() & set(axes))
    if not outer:
        return None
    inner = tuple(form for form in body.guard if form not in outer)
    remaining = select(inner, body.inside, body.outside, sizes)
    value = reduction(op, axes, remaining, sizes)
    return select(outer, value, _identity(op, body), sizes)


def _nested_sum(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_a select(g, Σ_b x, 0) -> Σ_{a,b} select(g, x, 0): one sum in another order.

    Only where the inner sum is not rounded to a narrower dtype in between. This makes
    one contraction of a convolution's input gradient.
    """
    guard: Guard = ()
    inner = body
    if isinstance(body, Select) and is_identity(body.outside, op):
        guard, inner = body.guard, body.inside
    if not isinstance(inner, Reduction) or inner.op is not op or op is not Sum:
        return None
    if inner.accumulator is not inner.dtype or set(inner.axes) & set(axes):
        return None
    if {axis for form in guard for axis in form.axes()} & set(inner.axes):
        return None
    if _is_summed_product(inner, axes):
        return None
    both = tuple(sorted({*axes, *inner.axes}))
    value = select(guard, inner.body, _identity(op, body), sizes)
    return reduction(op, both, value, sizes)


def _is_summed_product(inner: Reduction, axes: tuple[int, ...]) -> bool:
    """Whether rows or columns of a product of matrices are summed.

    The product is computed by blocks before: multiplying all factors over again for
    each of its elements would be slower.
    """
    body = inner.body
    if not (isinstance(body, Compute) and body.op is ops.Mul):
        return False
    lhs, rhs = (entry.free_axes - {*inner.axes} for entry in body.inputs)
    has_both = bool(lhs - rhs) and bool(rhs - lhs)
    return has_both and not (lhs ^ rhs).isdisjoint(axes)


def _guarded_product(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_k select(g, a·b, 0) -> Σ_k select(g, a, 0)·b, where g is about a's axes.

    A convolution's input gradient becomes a plain contraction, whose operand is
    padded with zeros. As in every padded convolution, an infinite b meets a 0 there.
    """
    if (
        op is not Sum
        or not isinstance(body, Select)
        or not is_identity(body.outside, op)
    ):
        return None
    product = body.inside
    if not isinstance(product, Compute) or product.op is not ops.Mul:
        return None
    needed = {axis for form in body.guard for axis in form.axes()}
    for position in (0, 1):
        inside, other = product.inputs[position], product.inputs[1 - position]
        reused = (
            inside.free_axes - other.free_axes and other.free_axes - inside.free_axes
        )
        if not reused or not needed <= inside.free_axes or _has_guarded_load(other):
            continue
        zero = literal(0, inside.dtype)
        padded = select(body.guard, inside, zero, sizes)
        inputs = (padded, other) if position == 0 else (other, padded)
        return reduction(op, axes, Compute(ops.Mul, body.dtype, inputs), sizes)
    return None


def _has_guarded_load(expression: Expression) -> bool:
    return any(isinstance(entry, Load) and entry.guard for entry in walk(expression))


def _gather_affine(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_n select(n == f, x_n, 0) -> x_f if 0 <= f < N else 0, for an affine f."""
    if not isinstance(body, Select) or not is_identity(body.outside, op):
        return None
    for form in body.guard:
        if form.scale(-1) not in body.guard:
            continue
        for axis in axes:
            coefficient = form.coefficient(axis)
            if coefficient not in (1, -1):
                continue
            if _carries(body.inside, form.axes()):
                continue
            # form == 0 says axis == target.
            target = axis_form(axis) - form.scale(coefficient)
            if _captures(body.inside, target):
                continue
            rest = tuple(
                entry for entry in body.guard if entry not in (form, form.scale(-1))
            )
            chosen = select(rest, body.inside, body.outside, sizes)
            return _take(op, axes, axis, target, chosen, sizes)
    return None


def _gather(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_n where(n == e, x_n, 0) -> x_e if 0 <= e < N else 0, e independent of n.

    At most one term differs from the identity, and it is x_e.
    """
    match = one_hot(op, body)
    if match is None:
        return None
    for axis in axes:
        index = match.index_of(axis)
        if index is None:
            continue
        if _carries(match.chosen, {axis, *index.free_axes}):
            continue
        target = of_atom(anything(index))
        if not _captures(match.chosen, target):
            return _take(op, axes, axis, target, match.chosen, sizes)
    return None


def _take(
    op: type[Reduce],
    axes: tuple[int, ...],
    axis: int,
    target: Affine,
    chosen: Expression,
    sizes: Sequence[int],
) -> Expression:
    """The one term at axis = target; the other reduce axes remain.

    A reduction of the whole row, which binds the axis itself, is the same for all.
    """
    guard = (target, target.scale(-1).shift(sizes[axis] - 1))
    address = _clamped(target, sizes[axis])
    value = substitute(chosen, {axis: address}, sizes, guard, frozenset({axis}))
    value = select(guard, value, _identity(op, chosen), sizes)
    rest = tuple(entry for entry in axes if entry != axis)
    return reduction(op, rest, value, sizes) if rest else value


def _clamped(target: Affine, size: int) -> Affine:
    """The same form for use in addresses, where the guard's limits hold."""
    if target.is_pure():
        return target
    index = target.terms[0][0]
    if not isinstance(index, Indexed) or isinstance(index, Given):
        return target
    return of_atom(Indexed(index.value, 0, size - 1))


def _binds(expression: Expression, axis: int) -> bool:
    """Whether a reduction inside the expression binds the axis again."""
    return any(
        isinstance(entry, Reduction) and axis in entry.axes
        for entry in walk(expression)
    )


def _captures(expression: Expression, target: Affine) -> bool:
    """Whether a reduction inside would bind an axis that the target means outside.

    A reduction may bind the axis that its result is repeated along, its shadow.
    """
    return any(_binds(expression, axis) for axis in target.axes())


def _carries(expression: Expression, axes: set[int]) -> bool:
    """Whether a value is carried along one of the axes inside the expression.

    Its body then stands for every step, where an index means one step's.
    """
    return any(
        isinstance(entry, Scan) and entry.axis in axes for entry in walk(expression)
    )


# --- one-hot selections ------------------------------------------------------------


@frozen(slots=True)
class OneHot:
    """where(lhs == rhs, chosen, identity)."""

    lhs: Expression
    rhs: Expression
    chosen: Expression

    def index_of(self, axis: int) -> Expression | None:
        """The side that the axis is compared with, if the other side is the axis."""
        for position, index in ((self.lhs, self.rhs), (self.rhs, self.lhs)):
            if as_form(position) == axis_form(axis) and axis not in index.free_axes:
                return index
        return None


def one_hot(op: type[Reduce], body: Expression) -> OneHot | None:
    """The body as a one-hot selection, if it is one."""
    if not isinstance(body, Compute) or body.op is not ops.Where:
        return None
    condition, inside, outside = body.inputs
    if not is_identity(outside, op) or not isinstance(condition, Compute):
        return None
    if condition.op is not ops.Eq:
        return None
    return OneHot(condition.inputs[0], condition.inputs[1], inside)


@frozen(slots=True)
class Scatter:
    """A reduction run from its inputs: combine ``value`` into ``position``.

    ``axis``, which was stored over, becomes ``position``; points outside the guard
    add nothing; the reduction's axes are stored over instead.
    """

    axis: int
    position: Affine
    guard: Guard
    value: Expression


def scatter(
    value: Expression, stored: Sequence[int], sizes: Sequence[int]
) -> Scatter | None:
    """out[n] = Σ_o where(n == e_o, x_o, 0) -> out[e_o] += x_o, for 0 <= e_o < N.

    Each input lands in exactly one output: the transpose of a gather.
    """
    if not isinstance(value, Reduction) or value.op not in (Sum, Max):
        return None
    match = one_hot(value.op, value.body)
    if match is None:
        return None
    for axis in stored:
        index = match.index_of(axis)
        if index is None or axis in value.axes or _binds(match.chosen, axis):
            continue
        raw = of_atom(anything(index))
        guard = (raw, raw.scale(-1).shift(sizes[axis] - 1))
        position = _clamped(raw, sizes[axis])
        return Scatter(
            axis,
            position,
            guard,
            substitute(match.chosen, {axis: position}, sizes, guard),
        )
    return None


# --- scans ---------------------------------------------------------------------------


def _scan(
    op: type[Reduce], axes: tuple[int, ...], body: Expression, sizes: Sequence[int]
) -> Expression | None:
    """Σ_j select(j <= i, x_j, 0) -> the running sum of x at i; j >= i runs backwards.

    x must not depend on i, and i and j must count equally far.
    """
    if len(axes) != 1 or not isinstance(body, Select):
        return None
    if not is_identity(body.outside, op) or len(body.guard) != 1:
        return None
    (reduced,), (form,) = axes, body.guard
    if form.constant or len(form.terms) != 2 or not form.is_pure():
        return None
    (first, first_part), (second, second_part) = form.terms
    if {first_part, second_part} != {1, -1} or reduced not in (first, second):
        return None
    running = second if reduced == first else first
    same_length = sizes[running] == sizes[reduced]
    if not same_length or running in body.inside.free_axes:
        return None
    if _binds(body.inside, reduced) or _binds(body.inside, running):
        return None
    inside = substitute(body.inside, {reduced: axis_form(running)}, sizes)
    return Scan(op, running, inside, form.coefficient(reduced) > 0)


_RULES = (
    _invariant_guard,
    _nested_sum,
    _gather_affine,
    _gather,
    _scan,
    _guarded_product,
)
