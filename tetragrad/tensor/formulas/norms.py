"""Norms as nodes, with gradients where a norm is 0."""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.gradient_rules import with_gradient


def power_norm(size: Node, degree: float, dims: tuple[int, ...]) -> Node:
    """(Σ x^p)^(1/p) of magnitudes, whose gradient at 0 is 0 rather than NaN."""
    power = full_like(size, degree)
    total = Sum(ops.Pow(size, power), dims) if dims else ops.Pow(size, power)
    norm: Node = ops.Pow(total, full_like(total, 1.0 / degree))
    spread = broadcast_to(norm, size.shape)
    zero, one = full_like(size, 0), full_like(size, 1)
    is_zero = ops.Or(ops.Eq(spread, zero), ops.Eq(size, zero))

    def rule(upstream: Node) -> tuple[Node]:
        share = ops.Div(size, ops.Where(is_zero, one, spread))
        slope: Node = ops.Pow(
            ops.Where(is_zero, one, share), full_like(size, degree - 1)
        )
        slope = ops.Where(is_zero, zero, slope)
        return (ops.Mul(broadcast_to(upstream, size.shape), slope),)

    return with_gradient(norm, (size,), rule)


def root_of_squares(total: Node) -> Node:
    """sqrt(Σ x²), whose gradient at 0 is 0 rather than NaN."""
    root = ops.Sqrt(total)

    def rule(upstream: Node) -> tuple[Node]:
        zero = full_like(root, 0)
        slope: Node = ops.Div(full_like(root, 0.5), root)
        slope = ops.Where(ops.Eq(root, zero), zero, slope)
        return (ops.Mul(upstream, slope),)

    return with_gradient(root, (total,), rule)
