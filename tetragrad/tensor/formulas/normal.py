"""The normal distribution's functions, relatives of the error function.

They are computed in float64, so that far tails keep all digits of float32.
"""

from __future__ import annotations

import math

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.errors import erfc, erfcx_slope
from tetragrad.tensor.formulas.errors import erfcx as quick_erfcx
from tetragrad.tensor.formulas.functions import polynomial, scale, square
from tetragrad.tensor.formulas.quadrature import in_float64
from tetragrad.tensor.gradient_rules import with_slope

_ROOT_HALF = math.sqrt(0.5)


@in_float64
def _density(node: Node) -> Node:
    return scale(ops.Exp(scale(square(node), -0.5)), 1 / math.sqrt(2 * math.pi))


@in_float64
def _erfcx(node: Node) -> Node:
    return quick_erfcx(node)


def erfcx(node: Node) -> Node:
    """exp(x²) erfc(x), to half a unit in the last place of float32."""
    return with_slope(_erfcx(node), node, erfcx_slope)


@in_float64
def _ndtr(node: Node) -> Node:
    return scale(erfc(scale(node, -_ROOT_HALF)), 0.5)


def ndtr(node: Node) -> Node:
    """The probability that a standard normal number is below x."""
    return with_slope(_ndtr(node), node, _density)


@in_float64
def _log_ndtr(node: Node) -> Node:
    """In the lower tail from the scaled function, whose logarithm is small."""
    is_low = nodes.less(node, -1.0)
    edge = full_like(node, -1.0)
    low = ops.Where(is_low, node, edge)
    scaled = scale(quick_erfcx(scale(low, -_ROOT_HALF)), 0.5)
    tail = ops.Sub(ops.Log(scaled), scale(square(low), 0.5))
    high = ops.Where(is_low, edge, node)
    body = nodes.log1p(scale(erfc(scale(high, _ROOT_HALF)), -0.5))
    return ops.Where(is_low, tail, body)


def log_ndtr(node: Node) -> Node:
    """The logarithm of ``ndtr``, exact in the lower tail too."""
    return with_slope(_log_ndtr(node), node, _log_ndtr_slope)


@in_float64
def _log_ndtr_slope(node: Node) -> Node:
    """The density over the probability."""
    is_low = nodes.less(node, -1.0)
    edge = full_like(node, -1.0)
    scaled = quick_erfcx(scale(ops.Where(is_low, node, edge), -_ROOT_HALF))
    tail = ops.Div(full_like(node, math.sqrt(2 / math.pi)), scaled)
    high = ops.Where(is_low, edge, node)
    return ops.Where(is_low, tail, ops.Div(_density(high), _ndtr(high)))


# M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.2.23.
_TAIL_ABOVE = (2.515517, 0.802853, 0.010328)
_TAIL_BELOW = (1.0, 1.432788, 0.189269, 0.001308)


@in_float64
def _ndtri(node: Node) -> Node:
    """A rational start, improved by Newton's steps on the logarithm."""
    one = full_like(node, 1.0)
    is_high = nodes.greater(node, 0.5)
    share = ops.Where(is_high, ops.Sub(one, node), node)
    is_inside = ops.And(nodes.greater(share, 0.0), nodes.less(share, 1.0))
    safe = ops.Where(is_inside, share, full_like(node, 0.25))
    log = ops.Log(safe)
    depth = ops.Sqrt(scale(log, -2.0))
    ratio = ops.Div(polynomial(_TAIL_ABOVE, depth), polynomial(_TAIL_BELOW, depth))
    value: Node = ops.Sub(ratio, depth)
    for _ in range(4):
        error = ops.Sub(_log_ndtr(value), log)
        value = ops.Sub(value, ops.Div(error, _log_ndtr_slope(value)))
    value = ops.Where(is_high, ops.Neg(value), value)
    value = ops.Where(nodes.equals(node, 0.0), full_like(node, -math.inf), value)
    value = ops.Where(nodes.equals(node, 1.0), full_like(node, math.inf), value)
    is_outside = ops.Or(nodes.less(node, 0.0), nodes.greater(node, 1.0))
    is_outside = ops.Or(is_outside, nodes.is_nan(node))
    return ops.Where(is_outside, full_like(node, math.nan), value)


def ndtri(node: Node) -> Node:
    """The number below which a standard normal one is with this probability."""
    return with_slope(_ndtri(node), node, _ndtri_slope)


def _ndtri_slope(node: Node) -> Node:
    return ops.Reciprocal(_density(_ndtri(node)))
