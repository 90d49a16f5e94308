"""The values of expressions at many points of a tile program at once, on NumPy arrays.

One dimension an axis of the statement. The simulator asks; what a tile's memory is at
this moment, it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Remainder,
    Scalar,
    Select,
    walk,
)
from tetragrad.tile.ir import Copy, QuickPower, Tile, TileLoad
from tetragrad.tile.layout import offsets
from tetragrad.tile.memory import check_addresses, poison

Environment = Mapping[int, np.ndarray]


class Evaluator:
    """Evaluates expressions at all points of a statement."""

    def __init__(
        self,
        buffers: Sequence[np.ndarray],
        scalars: Sequence[np.ndarray],
        memory_of: Callable[[Tile], np.ndarray],
        environment: Environment,
        shape: tuple[int, ...],
    ) -> None:
        self.buffers = buffers
        self.scalars = scalars
        self.memory_of = memory_of
        self.environment = environment
        self.shape = shape
        self.values: dict[Expression, np.ndarray] = {}

    def value(self, root: Expression) -> np.ndarray:
        """The values of an expression, one a point."""
        for expression in walk(root):
            if expression not in self.values:
                value = np.asarray(self.compute(expression))
                self.values[expression] = np.broadcast_to(value, self.shape)
        return self.values[root]

    def form(self, form: Affine) -> np.ndarray:
        """The values of an affine form."""
        result = np.full((1,) * len(self.shape), form.constant, np.int64)
        for atom, coefficient in form.terms:
            if isinstance(atom, int):
                if atom not in self.environment:
                    raise VerifyError(f"axis {atom} is used outside its loop")
                values = self.environment[atom]
            else:
                values = self.value(atom)
            result = result + coefficient * values
        return result

    def guard(self, guard: Guard) -> np.ndarray:
        """Where all forms of a guard are >= 0."""
        mask = np.ones(self.shape, np.bool_)
        for form in guard:
            mask = mask & (self.form(form) >= 0)
        return mask

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
        """The value of one expression from the values of its operands."""
        operands = [self.values[operand] for operand in expression.operands]
        match expression:
            case Load():
                return self.load(expression)
            case TileLoad():
                where = self.offsets(expression.tile, expression.indices)
                return self.memory_of(expression.tile)[where]
            case Literal():
                return np.frombuffer(expression.bits, expression.dtype.numpy)[0]
            case Scalar():
                return self.scalars[expression.slot]
            case Position():
                return self.form(expression.form).astype(expression.dtype.numpy)
            case Compute():
                result = expression.op.apply(expression.dtype, *operands)
                return np.asarray(result).reshape(self.shape)
            case Select():
                return np.where(self.guard(expression.guard), *operands)
            case QuickPower():
                value, factor, addend = operands
                return np.exp2(value * factor + addend)
            case Quotient():
                return self.form(expression.form) // expression.divisor
            case Remainder():
                return self.form(expression.form) % expression.divisor
            case Indexed():
                return operands[0].astype(np.int64)
        raise VerifyError(
            f"{type(expression).__name__} in a tile program; plans compute "
            "reductions into tiles"
        )

    def box(self, copy: Copy) -> np.ndarray:
        """The elements that a copy reads, poison where its guard fails."""
        if copy.source is None:
            load = Load(copy.slot, copy.address, copy.guard, copy.tile.dtype)
            return self.value(load)
        memory = self.memory_of(copy.source)
        mask = self.guard(copy.guard)
        where = self.offsets(copy.source, (copy.address,), mask)
        return memory[np.where(mask, where, 0)]

    def load(self, load: Expression) -> np.ndarray:
        """Read where the guard holds, poison elsewhere."""
        buffer = self.buffers[load.slot]
        mask = self.guard(load.guard)
        addresses = np.broadcast_to(self.form(load.address), self.shape)
        check_addresses(addresses[mask], buffer.size, f"a load of slot {load.slot}")
        result = np.full(self.shape, poison(load.dtype), load.dtype.numpy)
        result[mask] = buffer[addresses[mask]]
        return result
