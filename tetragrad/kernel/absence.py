"""Where a reduction's body adds nothing, so that a loop need not go there."""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Reduce, Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute, Expression, Given, Guard, Select
from tetragrad.kernel.recognise import is_identity


def absence(body: Expression, op: type[Reduce]) -> Guard:
    """Conditions such that, where one fails, the body is the identity of the op.

    A select between a value and the identity says so itself. In a sum, so does an
    exponential of it: exp(select(g, x, -inf) - m) is 0 where g fails, for every m
    that a maximum of such values can have once one of them is not masked. A product
    is 0 where both factors are. Rounding changes neither 0 nor -inf.
    """
    body = _unrounded(body)
    if isinstance(body, Select) and is_identity(body.outside, op):
        return body.guard
    if op is not Sum or not isinstance(body, Compute):
        return ()
    if body.op is ops.Mul:
        lhs, rhs = (absence(factor, op) for factor in body.inputs)
        return tuple(form for form in lhs if form in rhs)
    if body.op is not ops.Exp:
        return ()
    (exponent,) = body.inputs
    if not isinstance(exponent, Compute) or exponent.op is not ops.Sub:
        return ()
    shifted = _unrounded(exponent.inputs[0])
    if not isinstance(shifted, Select) or not _is_lowest(shifted.outside):
        return ()
    return shifted.guard


def _unrounded(expression: Expression) -> Expression:
    """What a float was before it became floats of other dtypes."""
    while (
        isinstance(expression, Compute)
        and expression.op is ops.Cast
        and expression.dtype.is_floating_point
        and expression.inputs[0].dtype.is_floating_point
    ):
        (expression,) = expression.inputs
    return expression


def _is_lowest(expression: Expression) -> bool:
    return is_identity(expression, Max) and expression.dtype.is_floating_point


def is_plain(form: Affine) -> bool:
    """Whether a form moves with loop axes only, beside sizes given at launch."""
    return all(isinstance(atom, int | Given) for atom, _ in form.terms)
