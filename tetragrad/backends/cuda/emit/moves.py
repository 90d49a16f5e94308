"""Statements that write elements: maps, copies to shared memory, stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tetragrad.backends.cuda.emit.access import WIDEST_BYTES, Storage
from tetragrad.backends.cuda.emit.carriers import Key
from tetragrad.backends.cuda.emit.formats import settled
from tetragrad.backends.cuda.emit.forms import tile_form
from tetragrad.backends.cuda.emit.loads import Loads
from tetragrad.backends.cuda.emit.ptx import Value, constant
from tetragrad.backends.cuda.emit.runs import MOST_EVEN_RUNS
from tetragrad.backends.cuda.emit.spread import MOST_RUNS, Run
from tetragrad.backends.cuda.emit.tiles import Spread
from tetragrad.backends.cuda.emit.values import Points
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Load,
    Select,
    literal,
)
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import Fold, Map, Statement, Store, TileLoad

#: Runs of fewer elements than a thread could take that are written out.
MOST_NARROW_RUNS = 64
#: The fewest bytes that are copied without waiting.
WORD_BYTES = 4


class Moves(Loads):
    """Emits what writes each element once."""

    def _map(self, statement: Map) -> None:
        tile = statement.tile
        if self.homes.in_memory(tile):
            form = tile_form(tile, statement.indices)
            if self._copy(statement, form):
                return
            storage = self.values.storages[tile.name]
            for points in self._written(statement):
                lanes = points.evaluate(statement.value)
                points.write(storage, form, statement.guard, lanes)
            return
        written: dict[Key, Value] = {}
        elements = self.values.registers[tile.name]
        for runs in self.alike_runs(statement):
            points = self.values.along(runs, statement.guard)
            keys = points.keys(statement.indices)
            lanes = points.evaluate(statement.value)
            for element in points.at_each(points.elements):
                key = keys[element]
                value = settled(points.lane(lanes, element))
                condition = points.condition(statement.guard, element)
                if condition is not None:
                    before = elements.get(key, constant(0, tile.dtype))
                    value = self.ops.where(condition, value, before)
                written[key] = value
        elements.update(written)

    def _written_beside(self, body: Sequence[Statement], start: int) -> Sequence[Map]:
        """The Maps from a place on that write one shared tile at the same points.

        They are the places of a sorting network, and all made of the same values.
        """
        first, together = body[start], []
        for statement in body[start:]:
            if (
                not isinstance(statement, Map)
                or not isinstance(first, Map)
                or not isinstance(statement.value, Compute)
                or statement.tile is not first.tile
                or (statement.axes, statement.guard) != (first.axes, first.guard)
                or statement.tile.name not in self.values.written_once
                or not self._is_shared(statement.tile.name)
                or statement.tile.name in self.homes.reads(statement)
            ):
                break
            together.append(statement)
        return together

    def _map_together(self, statements: Sequence[Map]) -> None:
        """Several values at each point, of which all are made before the next one's."""
        storage = self.values.storages[statements[0].tile.name]
        forms = [tile_form(entry.tile, entry.indices) for entry in statements]
        values = tuple(entry.value for entry in statements)
        for points in self._written(statements[0]):
            for form, lanes in zip(forms, points.evaluate_each(values), strict=True):
                points.write(storage, form, statements[0].guard, lanes)

    def _written(self, statement: Map) -> Iterator[Points]:
        """The points of a tile in memory, some of them in branches."""
        if self.block.threads.is_even:
            for together in self._where_there_are_rows(statement):
                yield from together
            return
        for runs in self.alike_runs(statement, self._writers(statement)):
            yield self.values.along(runs, statement.guard)

    def _where_there_are_rows(self, statement: Map) -> Iterator[list[Points]]:
        """Points of this thread, in a branch where only some threads have them.

        Where each thread has a row, only those whose row there is go on: others would
        divide by what nobody wrote, which takes long. What points under one condition
        are made of is computed once.
        """
        axes, threads = statement.axes, self.block.threads
        is_loop = bool(axes) and threads.flat_runs(axes) > MOST_EVEN_RUNS
        together: list[Points] = []
        known: str | None = None
        for run in self.runs_of(statement):
            run = self._one_writer(statement, run)
            point = self.values.at(run, statement.guard)
            condition = self._condition_of_row(point, statement)
            if together and condition != known:
                yield from self._under(known, together)
                together = []
            together.append(point)
            known = condition
            if is_loop or condition is None:
                yield from self._under(condition, together)
                together = []
        if together:
            yield from self._under(known, together)

    def _condition_of_row(self, point: Points, statement: Map) -> str | None:
        """What says that a thread has a row; None where no branch is worth it."""
        if not self.block.threads.is_even or point.run.width > 1:
            return None
        mask = point.mask(statement.guard)
        return None if mask is None or mask.constant is not None else mask.text

    def _under(
        self, condition: str | None, points: list[Points]
    ) -> Iterator[list[Points]]:
        if condition is None:
            yield points
            return
        with self.builder.only_if(condition):
            yield points

    # --- copies to shared memory ------------------------------------------------------

    def _copy(self, statement: Map, form: Affine) -> bool:
        """Copy to shared memory without waiting, where that is all a Map does.

        The hardware copies 16 bytes at a time, or writes as many zeros.
        """
        tile, value = statement.tile, statement.value
        zero_outside: Guard = ()
        if isinstance(value, Select) and value.outside == literal(0, value.dtype):
            zero_outside, value = value.guard, value.inside
        origin = self._copied_from(value)
        if origin is None or not self._is_shared(tile.name):
            return False
        source, address, own_guard = origin
        guard = (*own_guard, *zero_outside)
        storage = self.values.storages[tile.name]
        if self.homes.spread(statement) is not Spread.FLAT:
            return False
        by_words = self._is_copied_by_words(statement)
        if not by_words and not self._is_copyable(statement, address, form, guard):
            return False
        for run in self.runs_of(statement):
            point = self.values.at(run, statement.guard)
            for element in range(run.width if by_words else 1):
                self.values.memory.copy(
                    source,
                    point.linear(address, element),
                    storage,
                    point.linear(form, element),
                    point.condition(guard, element),
                    point.mask(statement.guard, element),
                    WORD_BYTES if by_words else WIDEST_BYTES,
                )
        self.block.copies_into(tile.name)
        return True

    def _copied_from(self, value: Expression) -> tuple[Storage, Affine, Guard] | None:
        """The memory, address and guard of a value that nothing here changes."""
        if isinstance(value, Load) and value.slot not in self.values.written:
            return self.values.slots[value.slot], value.address, value.guard
        if self.homes.patches is None or not isinstance(value, TileLoad):
            return None
        # What an earlier grid stored.
        storage = self.values.storages.get(value.tile.name)
        if storage is None or storage.space != "global":
            return None
        return storage, tile_form(value.tile, value.indices), ()

    def _is_copied_by_words(self, statement: Map) -> bool:
        """Whether words are turned around on their way, as patches read them."""
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        lane = statement.axes[-1][0]
        form = tile_form(statement.tile, statement.indices)
        return (
            self.homes.patches is not None
            and statement.tile.dtype.itemsize == WORD_BYTES
            and form.coefficient(lane) != 1
            and self.block.threads.flat_runs(statement.axes) <= MOST_RUNS
        )

    def _is_copyable(
        self, statement: Map, address: Affine, form: Affine, guard: Guard
    ) -> bool:
        """Whether every run is 16 aligned bytes on both sides, guarded alike."""
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        threads = self.block.threads
        if threads.flat_runs(statement.axes) > MOST_RUNS:
            return False
        run = threads.flat_run(statement.axes, 0)
        point = self.values.at(run)
        if run.width * statement.tile.dtype.itemsize != WIDEST_BYTES:
            return False
        guards = (*guard, *statement.guard)
        return all(
            point.moves_by_one(entry) and point.even_width(guards, entry) == run.width
            for entry in (address, form)
        )

    # --- stores -----------------------------------------------------------------------

    def _store(self, statement: Store) -> None:
        storage = self.values.slots[statement.slot]
        if statement.mode is not Mode.STORE:
            self._combine(statement, storage, statement.address, statement.mode)
            return
        narrow = self._narrow_runs(statement)
        if self.values.memory.comes_early and not narrow:
            self._load_runs(statement)
        for runs in self.alike_runs(statement, narrow or self._writers(statement)):
            points = self.values.along(runs, statement.guard)
            lanes = points.evaluate(statement.value)
            points.write(storage, statement.address, statement.guard, lanes)

    def _combine(
        self, statement: Fold | Store, storage: Storage, address: Affine, mode: Mode
    ) -> None:
        """Combine each point with what is in memory, which others do as well."""
        for run in self.runs_of(statement):
            run = self._one_writer(statement, run)
            point = self.values.at(run, statement.guard)
            lanes = point.evaluate(statement.value)
            for element in range(run.width):
                mask = point.mask(statement.guard, element)
                shown = "" if mask is None else f"@{self.builder.text(mask)} "
                place = point.linear(address, element)
                value = point.lane(lanes, element)
                self.values.memory.combine(storage, place, value, mode, shown)

    def _narrow_runs(self, statement: Store) -> Iterator[Run] | None:
        """Runs as short as what memory takes at once, where staged rows begin anywhere.

        Then the threads of a warp still write neighbours. None where longer runs do, or
        shorter ones would have to be divided anew each time.
        """
        is_staged = isinstance(statement.value, TileLoad) and statement.axes
        if not is_staged or self.homes.spread(statement) is not Spread.FLAT:
            return None
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        threads, lanes = self.block.threads, statement.axes[-1][1]
        run = threads.flat_run(statement.axes, 0)
        point = self.values.at(run)
        if not point.moves_by_one(statement.address):
            return None
        width = point.even_width(statement.guard, statement.address)
        units = lanes // width
        if width == run.width or (units % threads.count and threads.count % units):
            return None
        narrow = replace(threads, width=width)
        count = narrow.flat_runs(statement.axes)
        if count > MOST_NARROW_RUNS:
            return None
        return (narrow.flat_run(statement.axes, sweep) for sweep in range(count))
