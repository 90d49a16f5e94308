"""Random graphs of the four op types, for comparing ways to run them."""

from __future__ import annotations

import numpy as np

from tetragrad.core import dtypes
from tetragrad.engine.realize import from_array
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph import reduce as reduces
from tetragrad.graph.folding import fold
from tetragrad.graph.leaves import Iota
from tetragrad.graph.node import Node

UNARY = (ops.Neg, ops.Exp, ops.Tanh, ops.Floor, ops.Sin)
BINARY = (ops.Add, ops.Sub, ops.Mul, ops.Maximum)
REDUCE = (reduces.Sum, reduces.Max, reduces.Min)
LARGEST = 3000


class GraphBuilder:
    """Draws nodes on top of a growing pool; every draw is a valid graph."""

    def __init__(self, seed: int, device: str) -> None:
        self.random = np.random.default_rng(seed)
        self.device = device
        self.pool: list[Node] = [self.leaf() for _ in range(3)]

    def leaf(self) -> Node:
        shape = self.random.integers(1, 7, self.random.integers(1, 4))
        values = self.random.standard_normal(tuple(shape)).astype(np.float32)
        return from_array(values, self.device)

    def pick(self) -> Node:
        recent = self.pool[-6:]
        return recent[self.random.integers(len(recent))]

    def grow(self, steps: int) -> list[Node]:
        """Add nodes; returns one to three of them as outputs."""
        for _ in range(steps):
            draw = self.random.choice(
                [self.unary, self.binary, self.reduce, self.move, self.where, self.row]
            )
            node = draw()
            if node.numel <= LARGEST:
                self.pool.append(node)
        count = int(self.random.integers(1, 4))
        return self.pool[-count:]

    def unary(self) -> Node:
        return UNARY[self.random.integers(len(UNARY))](bounded(self.pick()))

    def binary(self) -> Node:
        lhs = self.pick()
        rhs = self.like(lhs)
        return BINARY[self.random.integers(len(BINARY))](lhs, rhs)

    def like(self, node: Node) -> Node:
        """Another value of the same shape, often by broadcasting a reduction."""
        for other in reversed(self.pool):
            if other is not node and other.shape == node.shape:
                return other
        return ops.full_like(node, float(self.random.integers(-2, 3)) / 2)

    def where(self) -> Node:
        lhs = self.pick()
        rhs = self.like(lhs)
        if self.random.random() < 0.5:
            return ops.Where(ops.Lt(lhs, rhs), lhs, ops.Neg(rhs))
        dim = int(self.random.integers(lhs.ndim))
        shape = [1] * lhs.ndim
        shape[dim] = lhs.shape[dim]
        position = moves.Reshape(Iota(lhs.shape[dim], dtypes.int64), tuple(shape))
        position = moves.broadcast_to(position, lhs.shape)
        limit = ops.full_like(position, int(self.random.integers(0, 4)))
        return ops.Where(ops.Lt(position, limit), lhs, rhs)

    def reduce(self) -> Node:
        source = bounded(self.pick())
        dims = [dim for dim in range(source.ndim) if self.random.random() < 0.5]
        op = REDUCE[self.random.integers(len(REDUCE))]
        return op(source, tuple(dims or [source.ndim - 1]))

    def row(self) -> Node:
        """x op expand(reduce(x)): what softmax and normalisation are made of."""
        source = bounded(self.pick())
        op = REDUCE[self.random.integers(len(REDUCE))]
        dim = int(self.random.integers(source.ndim))
        statistic = moves.Expand(op(source, (dim,)), source.shape)
        return BINARY[self.random.integers(len(BINARY))](source, statistic)

    def move(self) -> Node:
        source = self.pick()
        kinds = (
            self.permuted, self.shrunk, self.padded, self.flipped, self.strided,
            self.reshaped, self.windowed, self.product, self.skewed,
        )  # fmt: skip
        return kinds[self.random.integers(len(kinds))](source)

    def permuted(self, source: Node) -> Node:
        return moves.Permute(
            source, tuple(self.random.permutation(source.ndim).tolist())
        )

    def shrunk(self, source: Node) -> Node:
        bounds = []
        for size in source.shape:
            start = int(self.random.integers(0, size))
            bounds.append((start, int(self.random.integers(start + 1, size + 1))))
        return moves.Shrink(source, tuple(bounds))

    def padded(self, source: Node) -> Node:
        padding = self.random.integers(0, 3, (source.ndim, 2)).tolist()
        value = float(self.random.choice([0.0, 1.0, -np.inf]))
        value = 0.0 if self.random.random() < 0.6 else value
        return moves.pad(source, tuple(map(tuple, padding)), value)

    def flipped(self, source: Node) -> Node:
        return moves.Flip(source, (int(self.random.integers(source.ndim)),))

    def strided(self, source: Node) -> Node:
        return moves.Stride(
            source, tuple(self.random.integers(1, 4, source.ndim).tolist())
        )

    def reshaped(self, source: Node) -> Node:
        factors = [
            factor
            for factor in range(1, source.numel + 1)
            if source.numel % factor == 0
        ]
        first = int(self.random.choice(factors))
        return moves.Reshape(source, (first, source.numel // first))

    def windowed(self, source: Node) -> Node:
        dim = int(self.random.integers(source.ndim))
        size = int(self.random.integers(1, min(4, source.shape[dim] + 1)))
        reach = source.shape[dim] // size if size > 1 else 1
        dilation = int(self.random.integers(1, max(2, min(3, reach))))
        if (size - 1) * dilation + 1 > source.shape[dim]:
            dilation = 1
        stride = int(self.random.integers(1, 3))
        window = moves.Window(source, dim, size, stride, dilation)
        if self.random.random() < 0.5:
            return window
        length = source.shape[dim]
        return fold(window, dim, stride, dilation, length)

    def skewed(self, source: Node) -> Node:
        if source.ndim < 2:
            return source
        step, start = int(self.random.integers(-2, 3)), int(self.random.integers(-2, 3))
        return moves.Skew(source, 0, step, start, int(self.random.integers(1, 7)))

    def product(self, source: Node) -> Node:
        """A matrix product with another value of the pool, both made 2-d."""
        lhs = self.reshaped(source)
        depth = lhs.shape[1]
        other = next(
            (node for node in reversed(self.pool) if node.numel % depth == 0), lhs
        )
        if other.numel % depth:
            return source
        rhs = moves.Reshape(other, (other.numel // depth, depth))
        shape = (lhs.shape[0], rhs.shape[0], depth)
        if shape[0] * shape[1] * depth > 20_000:
            return source
        left = moves.Expand(moves.Reshape(lhs, (shape[0], 1, depth)), shape)
        right = moves.Expand(moves.Reshape(rhs, (1, shape[1], depth)), shape)
        product = reduces.Sum(ops.Mul(bounded(left), bounded(right)), (2,))
        return moves.Reshape(product, shape[:2])


def bounded(node: Node) -> Node:
    """Keep values small, so that differences are rounding and not overflow."""
    one = ops.full_like(node, 1.0)
    return ops.Maximum(ops.Neg(ops.Maximum(ops.Neg(node), ops.Neg(one))), ops.Neg(one))
