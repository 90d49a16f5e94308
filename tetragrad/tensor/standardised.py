"""Values with mean 0 and variance 1, and their gradient as one formula.

The composition's own gradient goes through the mean and the variance one after the
other, and reads large tensors six times. The formula (Ioffe and Szegedy, "Batch
normalization", 2015, section 3) needs two sums, which one kernel computes, and then
one pass:

    y = x̂ w + b,  x̂ = (x - mean) s,  s = 1 / sqrt(variance + eps)
    db = Σ dy,  dw = Σ dy x̂,  dx = s w (dy - (db + x̂ dw) / n)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, size_of
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.gradient_rules import with_gradient

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def standardised(
    source: Any,
    dims: tuple[int, ...],
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps), scaled and shifted, in the source's dtype.

    Weight and bias have one element for each mean: the shape of the source, with 1 in
    place of ``dims``.
    """
    wide = source.to(dtypes.accumulation(source.dtype))
    deviation = wide - wide.mean(dims, keepdim=True)
    variance = (deviation * deviation).mean(dims, keepdim=True)
    scale = (variance + eps).rsqrt()
    normal: Any = deviation * scale
    value = normal
    inputs = [wide]
    for operand, combine in ((weight, ops.Mul), (bias, ops.Add)):
        if operand is not None:
            operand = operand.to(wide.dtype)
            spread = broadcast_to(operand.node, wide.shape)
            value = value.result(combine(value.node, spread), operand)
            inputs.append(operand)
    factor = None if weight is None else inputs[1].node
    rule = _Rule(normal.node, scale.node, factor, bias is not None, dims)
    nodes = tuple(operand.node for operand in inputs)
    result: Tensor = value.result(with_gradient(value.node, nodes, rule))
    return result.to(source.dtype)


@frozen(slots=True)
class _Rule:
    """Gradients of the source, and of the weight and the bias where there are any."""

    normal: Node
    scale: Node
    weight: Node | None
    has_bias: bool
    dims: tuple[int, ...]

    def __call__(self, upstream: Node) -> tuple[Node, ...]:
        normal, shape = self.normal, self.normal.shape
        total = Sum(upstream, self.dims)
        along = Sum(ops.Mul(upstream, normal), self.dims)
        count = full_like(total, size_of(shape[dim] for dim in self.dims))
        # Divided before they are spread: there are fewer of them then.
        share: Node = ops.Mul(normal, broadcast_to(ops.Div(along, count), shape))
        share = ops.Add(broadcast_to(ops.Div(total, count), shape), share)
        centred = ops.Sub(upstream, share)
        slope = self.scale
        if self.weight is not None:
            slope = ops.Mul(slope, self.weight)
        found: list[Node] = [ops.Mul(broadcast_to(slope, shape), centred)]
        if self.weight is not None:
            found.append(along)
        if self.has_bias:
            found.append(total)
        return tuple(found)
