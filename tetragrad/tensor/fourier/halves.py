"""Transforms of real signals of even length, as complex ones of half the length.

Neighbours in a real signal are taken for the parts of one complex number, which moves
nothing. The transform of that holds both those of the even and of the odd places, and
the symmetry of each takes them apart (Sorensen et al., Real-valued fast Fourier
transform algorithms, 1987).
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.fourier import tables
from tetragrad.tensor.fourier.transform import (
    DENSE_WHOLE,
    Plan,
    multiply_pairs,
    transform,
)
from tetragrad.tensor.joining import concatenate_nodes, pad_dim
from tetragrad.tensor.pairs import conjugate_pairs
from tetragrad.tensor.pending import realize_tensors
from tetragrad.tensor.reductions import positions


def half_of_real(node: Node, size: int, *, inverse: bool) -> Node:
    """The first size // 2 + 1 values of the transform of (…, size) real ones."""
    if size % 2 or size <= DENSE_WHOLE:
        plan = Plan(size, size // 2 + 1, real_input=True, inverse=inverse)
        return transform(node, plan)
    half = size // 2
    pairs = graph.Reshape(node, (*node.shape[:-1], half, 2))
    spectrum = transform(pairs, Plan(half, half, inverse=inverse))
    dim = spectrum.ndim - 2
    first = pad_dim(spectrum, dim, 0, 1 - half)
    around = concatenate_nodes([spectrum, first], dim)
    mirrored = conjugate_pairs(graph.Flip(around, (dim,)))
    even = ops.Add(around, mirrored)
    odd = ops.Sub(around, mirrored)
    turned = multiply_pairs(odd, tables.apart, size, inverse)
    return ops.Add(ops.Mul(even, full_like(even, 0.5)), turned)


def real_of_half(node: Node, size: int, *, inverse: bool) -> Node:
    """``size`` real values from (…, size // 2 + 1, 2), the first half of their pairs.

    The second half mirrors it. ``size`` is even and larger than a dense matrix.
    """
    half = size // 2
    dim = node.ndim - 2
    whole = _with_real_ends(node, half)
    head = pad_dim(whole, dim, 0, -1)
    other = conjugate_pairs(pad_dim(graph.Flip(whole, (dim,)), dim, 0, -1))
    turned = multiply_pairs(ops.Sub(head, other), tables.together, size, inverse)
    joined = ops.Add(ops.Add(head, other), turned)
    # Worked out once: the product that follows reads each value several times.
    realize_tensors([TensorBase.tensor_class.from_node(joined)])
    pairs = transform(joined, Plan(half, half, inverse=inverse))
    return graph.Reshape(pairs, (*node.shape[:-2], size))


def has_halves(size: int) -> bool:
    """Whether ``real_of_half`` takes this length."""
    return size % 2 == 0 and 2 * size > DENSE_WHOLE


def _with_real_ends(node: Node, half: int) -> Node:
    """The first and the last value count as real numbers."""
    dim = node.ndim - 2
    place = broadcast_to(positions(half + 1, dim, node.ndim), node.shape)
    part = broadcast_to(positions(2, dim + 1, node.ndim), node.shape)
    is_end = ops.Or(
        ops.Eq(place, full_like(place, 0)), ops.Eq(place, full_like(place, half))
    )
    is_imaginary = ops.Eq(part, full_like(part, 1))
    zero = full_like(node, 0)
    return ops.Where(ops.And(is_end, is_imaginary), zero, node)
