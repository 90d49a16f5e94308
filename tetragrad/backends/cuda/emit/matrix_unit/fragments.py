"""Statements on results that stay where the matrix unit leaves them.

A warpgroup's sums are in registers that never change their names, because a product
that runs in the background writes into them. Statements change them in place. What has
one value for each row is held by the four threads that share the row, and what is
rounded to 16 bits lies in pairs as the unit takes an operand.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit import formats
from tetragrad.backends.cuda.emit.carriers import Key
from tetragrad.backends.cuda.emit.matrix_unit.holding import (
    swizzled_loads,
    swizzled_pairs,
)
from tetragrad.backends.cuda.emit.matrix_unit.warpgroup import (
    accumulator_keys,
    operand_keys,
)
from tetragrad.backends.cuda.emit.ptx import Value, register_class
from tetragrad.backends.cuda.emit.spread import Run
from tetragrad.backends.cuda.emit.statements import Statements
from tetragrad.backends.cuda.emit.tiles import Collective, Spread
from tetragrad.core import dtypes
from tetragrad.graph.elementwise import Cast
from tetragrad.graph.reduce import Reduce, Sum
from tetragrad.kernel.expression import Compute
from tetragrad.tile.ir import Alloc, Fold, Map, Pin, Statement, Tile, TileLoad

#: Threads that share a row of results: their numbers differ in the last two bits.
SHARING = (1, 2)
#: Parts that a thread combines its values of a row in, to wait less for each.
CHAINS = 2
#: A float32 that is no number, with bits that no arithmetic gives.
NO_NUMBER = "0x7FFFDEAD"
#: How many values of a tile an exit depends on: those that are made last.
PINNED_VALUES = 2


class FragmentStatements(Statements):
    """Statements of a warpgroup, which leaves by the label ``end``."""

    end: str

    def statement(self, statement: Statement, following: Sequence[Statement]) -> None:
        if not isinstance(statement, Collective):
            super().statement(statement, following)
            return
        # Registers change in place, so nothing that is made of them is remembered.
        with self.builder.scope():
            super().statement(statement, following)

    # --- registers that keep their names -------------------------------------------

    def _allocate(self, statement: Alloc) -> None:
        tile = statement.tile
        if tile.name in self.homes.fixed:
            keys = accumulator_keys(*tile.shape)
            self._reserve(tile, register_class(tile.dtype), keys)
        elif tile.name in self.homes.operands:
            self._reserve(tile, "b32", operand_keys(*tile.shape))
        else:
            super()._allocate(statement)

    def _reserve(self, tile: Tile, kind: str, keys: Sequence[Key]) -> None:
        elements = {}
        for key in keys:
            register = self.builder.register(kind)
            self.builder.changing.add(register)
            elements[key] = Value(register, tile.dtype)
        self.values.registers[tile.name] = elements

    # --- maps ----------------------------------------------------------------------

    def _map(self, statement: Map) -> None:
        if statement.tile.name in self.homes.operands:
            self._make_operand(statement)
        elif statement.tile.name in self.homes.fixed:
            self._change(statement)
        elif self._is_made_whole(statement):
            self._make_whole(statement)
        else:
            super()._map(statement)

    def _is_made_whole(self, statement: Map) -> bool:
        value = statement.value
        return isinstance(value, TileLoad) and value.tile.name in self.homes.parts

    def _make_whole(self, statement: Map) -> None:
        """Add up what each thread has of a sum."""
        assert isinstance(statement.value, TileLoad)
        parts = self.values.registers[statement.value.tile.name]
        elements = self.values.registers[statement.tile.name]
        for key, part in parts.items():
            elements[key] = self._shared(Sum, part)

    def _shared(self, kind: type[Reduce], value: Value) -> Value:
        """The values of all threads that share a row, combined."""
        for distance in SHARING:
            other = self.block.exchanged(value, distance)
            value = self.ops.combine(kind, value, other)
        return value

    def _change(self, statement: Map) -> None:
        """Give every element of a fixed tile a new value."""
        elements = self.values.registers[statement.tile.name]
        brought = swizzled_loads(statement.value)
        for runs in self.alike_runs(statement):
            point = self.values.along(runs, statement.guard)
            for load in brought:
                point.give(load, swizzled_pairs(point, load))
            keys = point.keys(statement.indices)
            lanes = point.evaluate(statement.value)
            for element in point.at_each(point.elements):
                register = elements[keys[element]]
                value = point.lane(lanes, element)
                condition = point.condition(statement.guard, element)
                if condition is not None:
                    value = self.ops.where(condition, value, register)
                if value.text != register.text:
                    self.builder.move(register.text, "f32", value)

    def _make_operand(self, statement: Map) -> None:
        """Round neighbours together into the register that holds both."""
        assert not statement.guard, "every element of an operand counts"
        dtype, value = statement.tile.dtype, statement.value
        elements = self.values.registers[statement.tile.name]
        is_rounded = isinstance(value, Compute) and value.op is Cast
        wide = value.inputs[0] if is_rounded else value
        for runs in self.alike_runs(statement):
            points = self.values.along(runs)
            keys = points.keys(statement.indices)
            if wide.dtype is dtypes.float32:
                lanes = points.evaluate(wide)
                name = f"cvt.rn.{formats.HALVES[dtype]}x2.f32"
            else:
                lanes = points.evaluate(value)
            for element in points.at_each(points.count):
                register = elements[keys[element]].text
                pair = [points.lane(lanes, element + place) for place in (0, 1)]
                if wide.dtype is dtypes.float32:
                    low, high = map(self.builder.text, pair)
                    self.builder.line(f"{name} {register}, {high}, {low}")
                else:
                    word = formats.packed(self.ops, *pair)
                    self.builder.line(f"mov.b32 {register}, {word}")

    # --- folds ---------------------------------------------------------------------

    def _fold(self, statement: Fold, *following: Sequence[Statement]) -> None:
        spread = self.homes.spread(statement)
        if spread is Spread.FRAGMENTS and self._crosses(statement):
            self._fold_rows(statement)
        else:
            super()._fold(statement, *following)

    def _fold_rows(self, statement: Fold) -> None:
        """Combine the columns of each row: a thread's own, then those of the others."""
        elements = self.values.registers[statement.tile.name]
        for key, parts in self._parts(statement).items():
            total, *others = parts.values()
            for part in others:
                total = self.ops.combine(statement.op, total, part)
            if statement.tile.name not in self.homes.parts:
                total = self._shared(statement.op, total)
            elements[key] = self.ops.combine(statement.op, elements[key], total)

    def _parts(self, statement: Fold) -> dict[Key, dict[int, Value]]:
        """What a thread's own values of each row give, in several parts."""
        assert not statement.guard, "every element of a row counts"
        found: dict[Key, dict[int, Value]] = {}
        for runs in self.alike_runs(statement):
            point = self.values.along(runs)
            keys = point.keys(statement.indices)
            for element in point.at_each(point.elements):
                parts = found.setdefault(keys[element], {})
                value = point.value(statement.value, element)
                chain = self._chain(runs[element // point.width])
                if chain in parts:
                    value = self.ops.combine(statement.op, parts[chain], value)
                parts[chain] = value
        return found

    def _chain(self, run: Run) -> int:
        return run.number % CHAINS

    # --- the assembler ---------------------------------------------------------------

    def _pin(self, pin: Pin) -> None:
        """An exit that depends on the tile, which the assembler moves nothing over.

        It is never taken. (A trap in its place makes the assembler wait for every
        product by itself.)
        """
        values = list(self.values.registers[pin.tile.name].values())
        for value in values[-PINNED_VALUES:]:
            bits = self.builder.register("b32")
            is_strange = self.builder.register("pred")
            self.builder.line(f"mov.b32 {bits}, {value.text}")
            self.builder.line(f"setp.eq.u32 {is_strange}, {bits}, {NO_NUMBER}")
            self.builder.line(f"@{is_strange} bra {self.end}")
