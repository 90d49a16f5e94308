"""Statements of the tile program as PTX for one thread of a block.

Register tiles are not registers that change: an assignment gives an element a new
value, and only where loops and branches meet are values moved to a common register.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

from tetragrad.backends.cuda.access import WIDEST_BYTES, Storage
from tetragrad.backends.cuda.blocks import Block
from tetragrad.backends.cuda.matrix import multiply_fragments
from tetragrad.backends.cuda.patches import multiply_patches
from tetragrad.backends.cuda.product import multiply
from tetragrad.backends.cuda.ptx import INDEX, Value, constant, register_class
from tetragrad.backends.cuda.running import before_each
from tetragrad.backends.cuda.spread import MOST_RUNS, Coordinate, Run
from tetragrad.backends.cuda.tiles import (
    Collective,
    Spread,
    TileHomes,
    statements_in,
    tiles_read,
    tiles_written,
)
from tetragrad.backends.cuda.values import Point, Values, tile_form
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Mul
from tetragrad.graph.reduce import Sum
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
from tetragrad.tile.ir import (
    Alloc,
    Fold,
    For,
    Map,
    Mma,
    Pin,
    Running,
    Space,
    Statement,
    Store,
    Sync,
    TileLoad,
    When,
)
from tetragrad.tile.plans.rewrite import walk_until

#: Runs of fewer elements than a thread could take that are written out.
MOST_NARROW_RUNS = 64
#: Runs that are written out where each thread has about as many.
MOST_EVEN_RUNS = 64
#: Iterations of a plain loop that are written out together, for independent loads.
UNROLLED = 4
#: The same where values are added up, and perhaps stored on the way.
UNROLLED_SUMS = 16
#: Runs that are loaded together before anything is stored.
MOST_LOADED_FIRST = 16
#: The fewest bytes that are copied without waiting.
WORD_BYTES = 4
#: Elements of a thread in those iterations; more would not stay in registers.
MOST_UNROLLED = 128
Key = tuple[int, ...]


class Statements:
    """Emits the statements of one grid's body."""

    def __init__(
        self, values: Values, homes: TileHomes, block: Block, *, contract: bool
    ) -> None:
        self.values = values
        self.builder = values.builder
        self.ops = values.ops
        self.homes = homes
        self.block = block
        self.contract = contract

    def emit(self, body: Sequence[Statement]) -> None:
        """Statements in order."""
        for place, statement in enumerate(body):
            self.statement(statement, body[place + 1 :])

    def fetch_ahead(self, body: Sequence[Statement]) -> None:
        """Load now what single stores at the end need from memory.

        What was loaded is known, so it is not loaded again where it is used.
        """
        for statement in body:
            if not isinstance(statement, Store) or statement.axes:
                continue
            (run,) = self._runs(statement)
            point = self.values.at(self._one_writer(statement, run), statement.guard)
            for entry in walk_until({}, statement.value):
                if isinstance(entry, Load) and not _reads_tiles(entry):
                    point.evaluate(entry)

    def statement(self, statement: Statement, following: Sequence[Statement]) -> None:
        """One statement, after the barrier that it may need."""
        self._synchronise(statement, following)
        match statement:
            case For():
                self._for(statement)
            case When():
                self._when(statement)
            case Alloc():
                self._allocate(statement)
            case Map():
                self._map(statement)
            case Fold():
                self._fold(statement, following)
            case Running():
                self._running(statement)
            case Store():
                self._store(statement)
            case Mma():
                self._multiply(statement)
            case Sync():
                self.block.barrier()
            case Pin():
                self._pin(statement)
            case _:
                raise UnsupportedError(f"{type(statement).__name__} on CUDA")

    # --- shared memory -----------------------------------------------------------

    def _synchronise(
        self, statement: Statement, following: Sequence[Statement]
    ) -> None:
        """A barrier between a write to shared memory and what others do with it.

        It also waits for the operands of the next product, which then needs no other:
        new copies and the product go on together.
        """
        if isinstance(statement, For | Alloc | Sync | Pin):
            return
        reads = {name for name in tiles_read(statement) if self._is_shared(name)}
        writes: set[str] = set()
        if isinstance(statement, Map | Fold) and self._is_shared(statement.tile.name):
            writes = {statement.tile.name}
        # What nobody has read yet may be written in any order.
        self.block.forget_writes(writes & self.values.written_once)
        soon: set[str] = set()
        product = next((entry for entry in following if isinstance(entry, Mma)), None)
        if product is not None and not isinstance(statement, Mma):
            soon = tiles_read(product)
        self.block.before(reads, writes, soon)

    def _is_shared(self, name: str) -> bool:
        storage = self.values.storages.get(name)
        return storage is not None and storage.space == "shared"

    def _allocate(self, statement: Alloc) -> None:
        tile = statement.tile
        if statement.once:
            self.values.written_once.add(tile.name)
        if not self.homes.in_memory(tile):
            self.values.registers[tile.name] = {}
        elif tile.name not in self.values.storages:
            self.values.storages[tile.name] = self.block.storage(tile)

    # --- control -----------------------------------------------------------------

    def _for(self, loop: For) -> None:
        self.values.extents[loop.axis] = loop.extent
        places = self.values.places
        step = self._unroll_factor(loop)
        is_written_out = loop.unroll or loop.extent <= step
        if is_written_out and not loop.guard:
            self._positions(loop, range(loop.extent))
            return
        whole = loop.extent // step * step
        self.block.meet_neighbours()
        self._load_before(loop)
        entry = self.block.state()
        with self._carried(loop.body) as carriers:
            counter = self.builder.register("b32")
            again = self.builder.label()
            self.builder.line(f"mov.b32 {counter}, 0")
            self.builder.place(again)
            end = self.builder.label() if loop.guard else None
            with self.builder.scope():
                if not loop.guard:
                    self._load_first(loop, counter, range(step))
                for position in range(step):
                    places[loop.axis] = Coordinate(counter, position)
                    self._leave_unless(loop.guard, end)
                    self.emit(loop.body)
                self._carry(carriers)
                if self._writes_shared(loop.body):
                    self.block.end_of_loop(entry)
            self.builder.line(f"add.s32 {counter}, {counter}, {step}")
            more = self.builder.register("pred")
            self.builder.line(f"setp.lt.s32 {more}, {counter}, {whole}")
            self.builder.line(f"@{more} bra {again}")
            if end is not None:
                self.builder.place(end)
        self._positions(loop, range(whole, loop.extent))

    def _positions(self, loop: For, positions: range) -> None:
        """Iterations that are written out."""
        self._load_first(loop, None, positions)
        for position in positions:
            self.values.places[loop.axis] = Coordinate(None, position)
            self.emit(loop.body)

    def _load_before(self, loop: For) -> None:
        """Load before a loop what is the same in all of its iterations."""
        for statement in loop.body:
            if isinstance(statement, Collective):
                inside = {axis for axis, _ in statement.axes}
                known = self.values.places.keys() - {loop.axis} | inside
                self._load_runs(statement, known)

    def _load_first(
        self, loop: For, counter: str | None, positions: Sequence[int]
    ) -> None:
        """Load what several iterations need before the first one stores anything.

        The assembler does so by itself only with loads that it knows to be unchanging.
        """
        stores = any(isinstance(entry, Store) for entry in loop.body)
        if not self.values.memory.comes_early or not stores or len(positions) < 2:
            return
        for position in positions:
            self.values.places[loop.axis] = Coordinate(counter, position)
            for statement in loop.body:
                if isinstance(statement, Collective):
                    self._load_runs(statement)

    def _load_runs(self, statement: Collective, known: Set[int] | None = None) -> None:
        """Load what the runs of a statement read from memory that nobody changes.

        Only what depends on ``known`` axes alone, if those are given.
        """
        loads = [
            entry
            for entry in walk_until({}, statement.value)
            if self._is_unchanging(entry)
            and (known is None or entry.free_axes <= known)
        ]
        runs = self._known_runs(statement) if loads else []
        if len(runs) * len(loads) > MOST_LOADED_FIRST:
            return
        for run in runs:
            point = self.values.at(run, statement.guard)
            for entry in loads:
                point.evaluate(entry)

    def _is_unchanging(self, value: Expression) -> bool:
        """Whether it is read from device memory that this kernel does not write."""
        if isinstance(value, TileLoad):
            return value.tile.name in self.values.given
        if not isinstance(value, Load) or value.slot in self.values.written:
            return False
        return not _reads_tiles(value)

    def _known_runs(self, statement: Collective) -> list[Run]:
        """The runs of a statement, where they are no loop."""
        is_flat = self.homes.spread(statement) is Spread.FLAT
        if is_flat and self.block.threads.flat_runs(statement.axes) > MOST_RUNS:
            return []
        return list(self._runs(statement))

    def _leave_unless(self, guard: Guard, end: str | None) -> None:
        """End a loop where its guard fails."""
        condition = self.values.at(Run({})).condition(guard)
        if condition is not None:
            self.builder.line(f"@!{self.builder.text(condition)} bra {end}")

    def _pin(self, pin: Pin) -> None:
        """Nothing, where nothing runs in the background."""

    def _writes_shared(self, body: Sequence[Statement]) -> bool:
        return any(
            isinstance(entry, Map | Fold) and self._is_shared(entry.tile.name)
            for entry in statements_in(body)
        )

    def _unroll_factor(self, loop: For) -> int:
        """Iterations to write out together, where they do not wait for threads."""
        if loop.guard:
            return 1
        elements, factor = 1, UNROLLED_SUMS
        adds = any(isinstance(entry, Fold) for entry in loop.body)
        carries = Alloc | Fold | Store if adds else Alloc | Fold
        for statement in statements_in(loop.body):
            if not isinstance(statement, Alloc | Collective):
                return 1
            if isinstance(statement, Running):
                return 1
            if isinstance(statement, Map | Fold) and (
                self.homes.in_memory(statement.tile) or self._crosses(statement)
            ):
                return 1
            if not isinstance(statement, carries):
                factor = UNROLLED
            if isinstance(statement, Collective):
                points = math.prod(size for _, size in statement.axes)
                elements = max(elements, points // self.block.threads.count)
        while factor > 1 and (
            factor > loop.extent or factor * elements > MOST_UNROLLED
        ):
            factor //= 2
        return factor

    def _crosses(self, statement: Map | Fold) -> bool:
        if not isinstance(statement, Fold) or not statement.axes:
            return False
        lane = statement.axes[-1][0]
        return all(lane not in form.axes() for form in statement.indices)

    def _carried(self, body: Sequence[Statement]) -> _Carriers:
        unchanging = self.homes.fixed | self.homes.operands.keys()
        return _Carriers(self.values, tiles_written(body) - unchanging)

    def _carry(self, carriers: Carried) -> None:
        """Move what a body made of the carried elements to where they are kept."""
        kept = {register for register, _ in carriers.values()}
        moves = []
        for (name, key), (register, kind) in carriers.items():
            value = self.values.registers[name][key]
            if value.text == register:
                continue
            if value.text in kept:
                # Another move may change it first.
                copy = self.builder.register(kind)
                self.builder.move(copy, kind, value)
                value = Value(copy, value.dtype)
            moves.append((register, kind, value))
        for register, kind, value in moves:
            self.builder.move(register, kind, value)

    def _when(self, when: When) -> None:
        condition = self.values.at(Run({})).condition(when.guard)
        if condition is None or condition.constant is not None:
            chosen = condition is None or condition.constant
            self.emit(when.body if chosen else when.otherwise)
            return
        predicate = condition.text
        self.block.meet_neighbours()
        with self._carried((*when.body, *when.otherwise)) as carriers:
            before = self.block.state()
            room = self.block.taken()
            start = {name: dict(found) for name, found in self.values.registers.items()}
            with self._known_by(when.guard, holds=True):
                self._branch(when.body, predicate, carriers, negated=False)
            after = self.block.state()
            more_room = self.block.taken()
            self.values.registers.update(
                {name: dict(found) for name, found in start.items()}
            )
            self.block.restore(before)
            self.block.take_again(room)
            if when.otherwise:
                with self._known_by(when.guard, holds=False):
                    self._branch(when.otherwise, predicate, carriers, negated=True)
            self.block.take_both(more_room)
            self.block.join(after)

    @contextmanager
    def _known_by(self, guard: Guard, *, holds: bool) -> Iterator[None]:
        """Where one axis is known to be less than a number, or to be its last one."""
        extents, places = self.values.extents, self.values.places
        match guard:
            case (Affine(constant=last, terms=((int(axis), -1),)),):
                extent, place = extents[axis], places[axis]
                if holds:
                    extents[axis] = min(extent, last + 1)
                elif extent == last + 2:
                    places[axis] = Coordinate(None, last + 1)
                yield
                extents[axis], places[axis] = extent, place
            case _:
                yield

    def _branch(
        self,
        body: Sequence[Statement],
        predicate: str,
        carriers: Carried,
        *,
        negated: bool,
    ) -> None:
        with self.builder.only_if(predicate, negated=negated):
            self.emit(body)
            self._carry(carriers)

    # --- runs --------------------------------------------------------------------

    def _runs(self, statement: Collective) -> Iterator[Run]:
        """The runs of points of this thread; in a loop where they are many."""
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        threads = self.block.threads
        spread = self.homes.spread(statement)
        if spread is Spread.EVERYWHERE:
            yield from threads.everywhere(statement.axes)
        elif spread is Spread.LANES:
            yield from threads.on_lanes(statement.axes)
        elif spread is Spread.FRAGMENTS:
            if self.homes.patches is not None:
                yield from self.homes.patches.runs(threads, statement.axes)
            else:
                yield from threads.on_fragments(statement.axes)
        elif spread is Spread.FRAGMENT_ROWS:
            yield from threads.on_fragment_rows(statement.axes)
        else:
            yield from self._flat_runs(statement)

    def _flat_runs(self, statement: Collective) -> Iterator[Run]:
        threads = self.block.threads
        count = threads.flat_runs(statement.axes)
        if count <= (MOST_EVEN_RUNS if threads.is_even else MOST_RUNS):
            for sweep in range(count):
                yield threads.flat_run(statement.axes, sweep)
            return
        counter, more = self.builder.register("b32"), self.builder.register("pred")
        again = self.builder.label()
        self.builder.line(f"mov.b32 {counter}, 0")
        self.builder.place(again)
        with self.builder.scope():
            yield threads.flat_run(statement.axes, Value(counter, INDEX))
        self.builder.line(f"add.s32 {counter}, {counter}, 1")
        self.builder.line(f"setp.lt.s32 {more}, {counter}, {count}")
        self.builder.line(f"@{more} bra {again}")

    def _one_writer(self, statement: Collective, run: Run) -> Run:
        """Where every thread has a point, one of them writes it."""
        if self.homes.spread(statement) is not Spread.EVERYWHERE:
            return run
        mask = self.block.threads.is_thread(run.number % self.block.threads.count)
        return Run(run.places, run.lane, run.width, mask, run.number)

    # --- collective statements ---------------------------------------------------

    def _map(self, statement: Map) -> None:
        tile = statement.tile
        if self.homes.in_memory(tile):
            form = tile_form(tile, statement.indices)
            if self._copy(statement, form):
                return
            storage = self.values.storages[tile.name]
            for run in self._runs(statement):
                run = self._one_writer(statement, run)
                point = self.values.at(run, statement.guard)
                with self._where_there_are_rows(point, statement):
                    lanes = point.evaluate(statement.value)
                    point.write(storage, form, statement.guard, lanes)
            return
        written: dict[Key, Value] = {}
        elements = self.values.registers[tile.name]
        for run in self._runs(statement):
            point = self.values.at(run, statement.guard)
            for element in range(run.width):
                key = point.key(statement.indices, element)
                value = point.value(statement.value, element)
                condition = point.condition(statement.guard, element)
                if condition is not None:
                    before = elements.get(key, constant(0, tile.dtype))
                    value = self.ops.where(condition, value, before)
                written[key] = value
        elements.update(written)

    @contextmanager
    def _where_there_are_rows(self, point: Point, statement: Map) -> Iterator[None]:
        """Where each thread has a row, only those whose row there is go on.

        Others would divide by what nobody wrote, which takes long.
        """
        mask = None
        if self.block.threads.is_even and point.run.width == 1:
            mask = point.mask(statement.guard)
        if mask is None or mask.constant is not None:
            yield
            return
        with self.builder.only_if(self.builder.text(mask)):
            yield

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
        for run in self._runs(statement):
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

    def _multiply(self, product: Mma) -> None:
        if product.accumulator.name in self.homes.fragments:
            if self.homes.patches is not None:
                patches = self.homes.patches
                multiply_patches(self.values, self.block.threads, product, patches)
            else:
                multiply_fragments(self.values, self.block.threads, product)
        else:
            multiply(self.values, self.block.threads, product)

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
            and statement.tile.name in tiles_read(entry)
            for entry in following
        )

    def _fold_into(self, statement: Fold, elements: dict[Key, Value]) -> None:
        """Combine each point into an element that this thread holds."""
        for run in self._runs(statement):
            point = self.values.at(run, statement.guard)
            for element in range(run.width):
                key = point.key(statement.indices, element)
                before = elements.get(key)
                elements[key] = self._combined(statement, point, element, before)

    def _combined(
        self, statement: Fold, point: Point, element: int, before: Value | None
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
        for run in self._runs(statement):
            point = self.values.at(run, statement.guard)
            for element in range(run.width):
                key = point.key(statement.indices, element)
                before = partial.get(key)
                partial[key] = self._combined(statement, point, element, before)
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
        for run in self._runs(statement):
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
        for run in self._runs(statement):
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

    def _store(self, statement: Store) -> None:
        storage = self.values.slots[statement.slot]
        if statement.mode is not Mode.STORE:
            self._combine(statement, storage, statement.address, statement.mode)
            return
        narrow = self._narrow_runs(statement)
        if self.values.memory.comes_early and not narrow:
            self._load_runs(statement)
        for run in narrow or self._runs(statement):
            run = self._one_writer(statement, run)
            point = self.values.at(run, statement.guard)
            lanes = point.evaluate(statement.value)
            point.write(storage, statement.address, statement.guard, lanes)

    def _combine(
        self, statement: Fold | Store, storage: Storage, address: Affine, mode: Mode
    ) -> None:
        """Combine each point with what is in memory, which others do as well."""
        for run in self._runs(statement):
            run = self._one_writer(statement, run)
            point = self.values.at(run, statement.guard)
            lanes = point.evaluate(statement.value)
            for element in range(run.width):
                mask = point.mask(statement.guard, element)
                shown = "" if mask is None else f"@{self.builder.text(mask)} "
                place = point.linear(address, element)
                value = lanes[element % len(lanes)]
                self.values.memory.combine(storage, place, value, mode, shown)

    def _narrow_runs(self, statement: Store) -> list[Run]:
        """Runs as short as what memory takes at once, where staged rows begin anywhere.

        Then the threads of a warp still write neighbours. None where longer runs do, or
        shorter ones would have to be divided anew each time.
        """
        is_staged = isinstance(statement.value, TileLoad) and statement.axes
        if not is_staged or self.homes.spread(statement) is not Spread.FLAT:
            return []
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        threads, lanes = self.block.threads, statement.axes[-1][1]
        run = threads.flat_run(statement.axes, 0)
        point = self.values.at(run)
        if not point.moves_by_one(statement.address):
            return []
        width = point.even_width(statement.guard, statement.address)
        units = lanes // width
        if width == run.width or (units % threads.count and threads.count % units):
            return []
        narrow = replace(threads, width=width)
        count = narrow.flat_runs(statement.axes)
        if count > MOST_NARROW_RUNS:
            return []
        return [narrow.flat_run(statement.axes, sweep) for sweep in range(count)]


def _reads_tiles(value: Expression) -> bool:
    return any(isinstance(entry, TileLoad) for entry in walk_until({}, value))


def _without_identity(statement: Fold, elements: dict[Key, Value]) -> dict[Key, Value]:
    """The elements that something has been combined into."""
    identity = statement.op.identity(statement.tile.dtype)
    return {
        key: value
        for key, value in elements.items()
        if value.constant is None or value.constant != identity
    }


Carried = dict[tuple[str, Key], tuple[str, str]]
"""(tile, element) -> the register that keeps it, and that register's type."""


@frozen
class _Part:
    """A thread's neighbours on a lane: where they are kept, and what they give.

    ``order`` is that in which they are combined.
    """

    keys: tuple[Key, ...]
    values: tuple[Value, ...]
    order: range
    total: Value


class _Carriers:
    """Gives elements that a loop or branch changes a register of their own."""

    def __init__(self, values: Values, names: set[str]) -> None:
        self.values = values
        self.names = names
        self.carried: Carried = {}

    def __enter__(self) -> Carried:
        builder = self.values.builder
        for name in sorted(self.names & self.values.registers.keys()):
            elements = self.values.registers[name]
            for key, value in elements.items():
                kind = register_class(value.dtype)
                register = builder.register(kind)
                builder.move(register, kind, value)
                builder.changing.add(register)
                self.carried[name, key] = (register, kind)
                elements[key] = Value(register, value.dtype)
        return self.carried

    def __exit__(self, *error: object) -> None:
        for (name, key), (register, _) in self.carried.items():
            elements = self.values.registers[name]
            elements[key] = Value(register, elements[key].dtype)
