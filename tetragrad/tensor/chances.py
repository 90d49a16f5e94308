"""Which elements are left out, from as few random bits as that takes.

A yes or no with a probability of so many 65,536ths needs 16 bits, so a counter's two
words decide for four elements. What cannot be said so closely takes 24 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import Reshape, Shrink, broadcast_to
from tetragrad.graph.node import Node, Shape, size_of
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.generator import Generator, default_generator
from tetragrad.tensor.joining import concatenate_nodes
from tetragrad.tensor.randomness import PAIRED
from tetragrad.tensor.reductions import positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

PIECE_BITS = 16
PIECES = 4
#: How far the probability may be from what was asked for, relative to it.
CLOSENESS = 2.0**-10


def is_kept(input: Tensor, shape: Shape, p: float) -> Tensor:
    """False with probability p, drawn where the input is.

    With 16 bits an element if p is close enough to a multiple of 2**-16.
    """
    steps = round(p * (1 << PIECE_BITS))
    error = abs(steps / (1 << PIECE_BITS) - p)
    is_home = input.device == device_name(None)
    if error > CLOSENESS * min(p, 1 - p) or not is_home:
        drawn: Tensor = type(input).rand(*shape, device=input.device) >= p
        return drawn
    return input.result(_kept_node(shape, steps, default_generator()))


def _kept_node(shape: Shape, steps: int, generator: Generator) -> Node:
    """Whether 16 random bits are no less than a number."""
    count = size_of(shape)
    groups = -(-count // (PIECES * PAIRED))
    apart = (groups, 1, 1, PAIRED)
    both = [Reshape(word, apart) for word in generator.words(groups * PAIRED)]
    words = broadcast_to(concatenate_nodes(both, 1), (groups, 2, 2, PAIRED))
    # Of each word first the upper half, then the lower one, moved up: what is below it
    # does not matter, as the limit has zeros there.
    half = broadcast_to(positions(2, 2, 4, dtypes.uint32), words.shape)
    pieces = ops.Shl(words, ops.Mul(half, full_like(half, PIECE_BITS)))
    kept = ops.Not(ops.Lt(pieces, full_like(pieces, steps << PIECE_BITS)))
    flat = Reshape(kept, (groups * PIECES * PAIRED,))
    return Reshape(Shrink(flat, ((0, count),)), shape)
