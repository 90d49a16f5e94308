"""Functions of two numbers, with their gradients."""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import angles
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.gradient_rules import with_gradient


def copy_sign(magnitude: Node, source: Node) -> Node:
    """The size of one with the sign of the other."""
    value = nodes.copy_sign(magnitude, source)

    def rule(upstream: Node) -> tuple[Node, Node]:
        slope = ops.Mul(nodes.sign(magnitude), nodes.sign(value))
        return ops.Mul(upstream, slope), full_like(upstream, 0)

    return with_gradient(value, (magnitude, source), rule)


def log_add_exp(lhs: Node, rhs: Node) -> Node:
    """log(e^lhs + e^rhs), which overflows only where it must."""
    difference: Node = ops.Neg(nodes.absolute(ops.Sub(lhs, rhs)))
    # Equal infinities have no difference, and their sum is themselves.
    difference = ops.Where(ops.Eq(lhs, rhs), full_like(lhs, 0), difference)
    high = ops.Where(ops.Lt(lhs, rhs), rhs, lhs)
    return ops.Add(high, nodes.log1p(ops.Exp(difference)))


def x_log_y(lhs: Node, rhs: Node) -> Node:
    """lhs log(rhs), and 0 where lhs is 0."""
    product = ops.Mul(lhs, ops.Log(rhs))
    is_zero = ops.And(nodes.equals(lhs, 0), ops.Eq(rhs, rhs))
    value = ops.Where(is_zero, full_like(lhs, 0), product)

    def rule(upstream: Node) -> tuple[Node, Node]:
        # At x = 0 the slope is log(y) all the same, unless that is infinite.
        is_corner: Node = ops.And(is_zero, nodes.less(rhs, 0))
        is_corner = ops.Or(is_corner, ops.And(is_zero, nodes.equals(rhs, 0)))
        slope = ops.Where(is_corner, full_like(lhs, 0), ops.Log(rhs))
        return ops.Mul(upstream, slope), ops.Div(ops.Mul(upstream, lhs), rhs)

    return with_gradient(value, (lhs, rhs), rule)


def atan2(sine: Node, cosine: Node) -> Node:
    """The angle of a point, in all four quadrants."""
    value = angles.atan2(sine, cosine)

    def rule(upstream: Node) -> tuple[Node, Node]:
        length = ops.Add(nodes.square(sine), nodes.square(cosine))
        # The angle at the origin is no function's limit; PyTorch's gradient is 0 too.
        is_origin = ops.Eq(length, full_like(length, 0))
        share: Node = ops.Div(upstream, length)
        share = ops.Where(is_origin, full_like(share, 0), share)
        return ops.Mul(share, cosine), ops.Neg(ops.Mul(share, sine))

    return with_gradient(value, (sine, cosine), rule)
