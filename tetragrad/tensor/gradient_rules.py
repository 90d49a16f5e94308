"""Gradients written by hand, where the composition's own would be inexact.

log1p, for example, is exact because of a quotient whose numerical derivative would
cancel; its gradient is 1 / (1 + x) and is written so.
"""

from __future__ import annotations

from collections.abc import Callable

from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Mul, full_like
from tetragrad.graph.markers import CustomGradient
from tetragrad.graph.node import Node

Rule = Callable[[Node], tuple[Node | None, ...]]


def with_gradient(value: Node, inputs: tuple[Node, ...], rule: Rule) -> Node:
    """``value``, whose gradients for ``inputs`` are those that the rule gives."""
    return CustomGradient(value, rule, inputs)


@frozen(slots=True)
class Slope:
    """The rule "upstream times f'(x)", equal to itself so that nodes are shared."""

    derivative: Callable[[Node], Node]
    operand: Node

    def __call__(self, upstream: Node) -> tuple[Node]:
        return (Mul(upstream, self.derivative(self.operand)),)


@frozen(slots=True)
class Backward:
    """The rule "g(x, upstream)" for gradients that are no product."""

    function: Callable[[Node, Node], Node]
    operand: Node

    def __call__(self, upstream: Node) -> tuple[Node]:
        return (self.function(self.operand, upstream),)


def with_slope(value: Node, operand: Node, derivative: Callable[[Node], Node]) -> Node:
    """``value`` as a function of one operand with this derivative."""
    return CustomGradient(value, Slope(derivative, operand), (operand,))


@frozen(slots=True)
class Flat:
    """The rule "zero", for steps: functions that are constant almost everywhere."""

    inputs: tuple[Node, ...]

    def __call__(self, upstream: Node) -> tuple[Node, ...]:
        return tuple(full_like(operand, 0) for operand in self.inputs)


def with_zero_gradient(value: Node, *inputs: Node) -> Node:
    """``value``, whose gradients are zeros rather than absent."""
    return CustomGradient(value, Flat(inputs), inputs)
