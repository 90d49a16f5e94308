"""Statements that combine points: sums and extremes, and running values."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit.carriers import Key
from tetragrad.backends.cuda.emit.forms import tile_form
from tetragrad.backends.cuda.emit.moves import Moves
from tetragrad.backends.cuda.emit.ptx import Value, constant
from tetragrad.backends.cuda.emit.running import before_each
from tetragrad.backends.cuda.emit.tiles import Spread
from tetragrad.backends.cuda.emit.values import Points
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Mul
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.expression import Compute
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import Fold, Running, Space, Statement


class Folds(Moves):
    """Emits what combines points with one another."""

    def _fold(self, statement: Fold, following: Sequence[Statement]) -> None:
        if self.homes.in_memory(statement.tile):
            self._fold_in_memory(statement)
        elif self._crosses(statement) and (
            self.homes.spread(statement) is Spread.LANES
        ):
            self._fold_across(statement)
        else:
            elements = dict(self.values.registers[statement.tile.name])
            if self._may_begin_anywhere(statement, following):
                elements = _without_identity(statement, elements)
            self._fold_into(statement, elements)
            self.values.registers[statement.tile.name] |= elements

    def _may_begin_anywhere(
        self, statement: Fold, following: Sequence[Statement]
    ) -> bool:
        """Whether the first value may be taken as it is, and not combined.

        A sum must begin with 0 + x, which is not x where that is -0. Not a part of one,
        which is itself combined with 0 in the end.
        """
        return statement.op is not Sum or any(
            isinstance(entry, Fold)
            and self._crosses(entry)
            and statement.tile.name in self.homes.reads(entry)
            for entry in following
        )

    def _fold_into(self, statement: Fold, elements: dict[Key, Value]) -> None:
        """Combine each point into an element that this thread holds."""
        for runs in self.alike_runs(statement):
            point = self.values.along(runs, statement.guard)
            keys = point.keys(statement.indices)
            for element in point.at_each(point.elements):
                key = keys[element]
                before = elements.get(key)
                elements[key] = self._combined(statement, point, element, before)

    def _combined(
        self, statement: Fold, point: Points, element: int, before: Value | None
    ) -> Value:
        """An element with one point combined into it, or the first one by itself."""
        value = statement.value
        if before is None:
            condition = point.mask(statement.guard, element)
            first = point.value(value, element)
            return (
                first
                if condition is None
                else self._or_identity(statement, condition, first)
            )
        is_float = statement.tile.dtype.is_floating_point
        is_product = isinstance(value, Compute) and value.op is Mul
        if self.contract and is_float and is_product and statement.op is Sum:
            lhs, rhs = (point.value(entry, element) for entry in value.inputs)
            after = self.ops.fma(lhs, rhs, before)
        else:
            after = self.ops.combine(statement.op, before, point.value(value, element))
        condition = point.mask(statement.guard, element)
        if condition is None:
            return after
        return self.ops.where(condition, after, before)

    def _or_identity(
        self, statement: Fold | Running, condition: Value, value: Value
    ) -> Value:
        dtype = statement.tile.dtype
        identity = constant(statement.op.identity(dtype), dtype)
        return self.ops.where(condition, value, identity)

    def _fold_across(self, statement: Fold) -> None:
        """Combine lanes of all threads into elements that all threads hold."""
        elements = self.values.registers[statement.tile.name]
        partial = self._partial_sums(statement)
        totals = self.block.reduce(statement.op, list(partial.values()))
        for key, total in zip(partial, totals, strict=True):
            elements[key] = self.ops.combine(statement.op, elements[key], total)

    def _partial_sums(self, statement: Fold) -> dict[Key, Value]:
        """What this thread's own points give, by element."""
        partial: dict[Key, Value] = {}
        for runs in self.alike_runs(statement):
            point = self.values.along(runs, statement.guard)
            keys = point.keys(statement.indices)
            for element in point.at_each(point.elements):
                before = partial.get(keys[element])
                found = self._combined(statement, point, element, before)
                partial[keys[element]] = found
        return partial

    def _fold_in_memory(self, statement: Fold) -> None:
        """Combine into a tile with addresses.

        In shared memory no two threads share an element; in global they may.
        """
        tile = statement.tile
        storage = self.values.storages[tile.name]
        form = tile_form(tile, statement.indices)
        if tile.space is Space.GLOBAL:
            mode = Mode.ADD if statement.op is Sum else Mode.MAX
            self._combine(statement, storage, form, mode)
            return
        if self._crosses(statement):
            raise UnsupportedError(
                f"a reduction over threads into tile {tile.name} in memory on CUDA"
            )
        for run in self.runs_of(statement):
            run = self._one_writer(statement, run)
            point = self.values.at(run, statement.guard)
            before = point.read(storage, form, statement.guard, True)
            lanes = point.evaluate(statement.value)
            width = max(len(before), len(lanes))
            after = tuple(
                self.ops.combine(
                    statement.op, before[place % len(before)], lanes[place % len(lanes)]
                )
                for place in range(width)
            )
            point.write(storage, form, statement.guard, after)

    # --- running values ---------------------------------------------------------------

    def _running(self, statement: Running) -> None:
        """Combine each thread's parts with what comes before them."""
        if self.homes.spread(statement) is not Spread.LANES:
            name = statement.tile.name
            raise UnsupportedError(f"running values off the lanes, in {name}, on CUDA")
        parts = self._parts_of(statement)
        sweeps = [[part.total for part in entry] for entry in parts.values()]
        reverse, op = statement.reverse, statement.op
        found = before_each(self.block, op, sweeps, reverse=reverse)
        elements = dict(self.values.registers[statement.tile.name])
        carried = self.values.registers[statement.carry.name]
        combine = self.ops.combine
        for (key, entry), (before, total) in zip(parts.items(), found, strict=True):
            start = carried[key]
            for part, earlier in zip(entry, before, strict=True):
                value = start if earlier is None else combine(op, start, earlier)
                for place in part.order:
                    value = combine(op, value, part.values[place])
                    elements[part.keys[place]] = value
            carried[key] = combine(op, start, total)
        self.values.registers[statement.tile.name] = elements

    def _parts_of(self, statement: Running) -> dict[Key, list[_Part]]:
        """This thread's elements, by the point of the other axes, a part for a run."""
        found: dict[Key, list[_Part]] = {}
        for run in self.runs_of(statement):
            point = self.values.at(run, statement.guard)
            keys, values = [], []
            for element in range(run.width):
                value = point.value(statement.value, element)
                condition = point.mask(statement.guard, element)
                if condition is not None:
                    value = self._or_identity(statement, condition, value)
                keys.append(point.key(statement.indices, element))
                values.append(value)
            order = range(run.width)[:: -1 if statement.reverse else 1]
            total = values[order[0]]
            for place in order[1:]:
                total = self.ops.combine(statement.op, total, values[place])
            part = _Part(tuple(keys), tuple(values), order, total)
            found.setdefault(keys[0][:-1], []).append(part)
        return found


def _without_identity(statement: Fold, elements: dict[Key, Value]) -> dict[Key, Value]:
    """The elements that something has been combined into."""
    identity = statement.op.identity(statement.tile.dtype)
    return {
        key: value
        for key, value in elements.items()
        if value.constant is None or value.constant != identity
    }


@frozen
class _Part:
    """A thread's neighbours on a lane: where they are kept, and what they give.

    ``order`` is that in which they are combined.
    """

    keys: tuple[Key, ...]
    values: tuple[Value, ...]
    order: range
    total: Value
