"""The values of expressions at many points of a tile program at once, on NumPy arrays.

One dimension an axis of the statement. The simulator asks; what a tile's memory is at
this moment, it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.evaluator import ExpressionEvaluator, check_addresses
from tetragrad.kernel.expression import Expression, Guard, Load, Reduction, Scan, walk
from tetragrad.tile.ir import Copy, QuickPower, Tile, TileLoad
from tetragrad.tile.layout import offsets

Environment = Mapping[int, np.ndarray]


class Evaluator(ExpressionEvaluator):
    """Evaluates expressions at all points of a statement."""

    def __init__(
        self,
        buffers: Sequence[np.ndarray],
        scalars: Sequence[np.ndarray],
        memory_of: Callable[[Tile], np.ndarray],
        environment: Environment,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(buffers, scalars, len(shape))
        self.memory_of = memory_of
        self.environment = environment
        self.shape = shape

    def value(self, root: Expression) -> np.ndarray:
        """The values of an expression, one a point."""
        for expression in walk(root):
            if expression not in self.values:
                value = np.asarray(self.compute(expression))
                self.values[expression] = np.broadcast_to(value, self.shape)
        return self.values[root]

    def axis(self, axis: int) -> np.ndarray:
        if axis not in self.environment:
            raise VerifyError(f"axis {axis} is used outside its loop")
        return self.environment[axis]

    def guard(self, guard: Guard) -> np.ndarray:
        return np.broadcast_to(super().guard(guard), self.shape)

    def offsets(
        self,
        tile: Tile,
        indices: tuple[Affine, ...],
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """Where in the tile's memory the indexed elements are.

        They must be inside the tile, where there is a mask only where it holds.
        """
        if len(indices) != len(tile.shape):
            raise VerifyError(f"{len(indices)} indices of {tile.name}{tile.shape}")
        positions = []
        for index, size in zip(indices, tile.shape, strict=True):
            position = np.broadcast_to(self.form(index), self.shape)
            used = position if mask is None else position[mask]
            check_addresses(used, size, f"an index of tile {tile.name}")
            positions.append(position)
        found = offsets(tile, positions)
        return np.broadcast_to(np.asarray(found, np.int64), self.shape)

    def compute(self, expression: Expression) -> np.ndarray:
        match expression:
            case TileLoad():
                where = self.offsets(expression.tile, expression.indices)
                return self.memory_of(expression.tile)[where]
            case QuickPower():
                value, factor, addend = (self.values[e] for e in expression.operands)
                return np.exp2(value * factor + addend)
            case Reduction() | Scan():
                raise VerifyError(
                    f"{type(expression).__name__} in a tile program; plans compute "
                    "reductions into tiles"
                )
        return super().compute(expression)

    def box(self, copy: Copy) -> np.ndarray:
        """The elements that a copy reads, poison where its guard fails."""
        if copy.source is None:
            load = Load(copy.slot, copy.address, copy.guard, copy.tile.dtype)
            return self.value(load)
        memory = self.memory_of(copy.source)
        mask = self.guard(copy.guard)
        where = self.offsets(copy.source, (copy.address,), mask)
        return memory[np.where(mask, where, 0)]
