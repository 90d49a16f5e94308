"""Statements of the tile program as PTX for one thread of a block.

Register tiles are not registers that change: an assignment gives an element a new
value, and only where loops and branches meet are values moved to a common register.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.carriers import Carried, Carriers
from tetragrad.backends.cuda.emit.folds import Folds
from tetragrad.backends.cuda.emit.matrix_unit.matrix import multiply_fragments
from tetragrad.backends.cuda.emit.patches import multiply_patches
from tetragrad.backends.cuda.emit.product import multiply
from tetragrad.backends.cuda.emit.ptx import Value
from tetragrad.backends.cuda.emit.spread import Coordinate, Run
from tetragrad.backends.cuda.emit.tiles import (
    Collective,
    tiles_written,
)
from tetragrad.core.errors import UnsupportedError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Guard
from tetragrad.tile.ir import (
    Alloc,
    Fold,
    For,
    Map,
    Mma,
    Pin,
    Running,
    Statement,
    Store,
    Sync,
    When,
    every_statement,
)

#: Iterations of a plain loop that are written out together, for independent loads.
UNROLLED = 4
#: The same where values are added up, and perhaps stored on the way.
UNROLLED_SUMS = 16
#: Elements of a thread in those iterations; more would not stay in registers.
MOST_UNROLLED = 128


class Statements(Folds):
    """Emits the statements of one grid's body."""

    def emit(self, body: Sequence[Statement]) -> None:
        """Statements in order; what one evaluation gives is written together."""
        place = 0
        while place < len(body):
            together = self._written_beside(body, place)
            place += max(1, len(together))
            if len(together) > 1:
                for statement in together:
                    self._synchronise(statement, body[place:])
                self._map_together(together)
            else:
                self.statement(body[place - 1], body[place:])

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

    # --- shared memory ----------------------------------------------------------------

    def _synchronise(
        self, statement: Statement, following: Sequence[Statement]
    ) -> None:
        """A barrier between a write to shared memory and what others do with it.

        It also waits for the operands of the next product, which then needs no other:
        new copies and the product go on together.
        """
        if isinstance(statement, For | Alloc | Sync | Pin):
            return
        reads = {name for name in self.homes.reads(statement) if self._is_shared(name)}
        writes: set[str] = set()
        if isinstance(statement, Map | Fold) and self._is_shared(statement.tile.name):
            writes = {statement.tile.name}
        # What nobody has read yet may be written in any order.
        self.block.forget_writes(writes & self.values.written_once)
        soon: set[str] = set()
        product = next((entry for entry in following if isinstance(entry, Mma)), None)
        if product is not None and not isinstance(statement, Mma):
            soon = self.homes.reads(product)
        self.block.before(reads, writes, soon)

    def _allocate(self, statement: Alloc) -> None:
        tile = statement.tile
        if statement.once:
            self.values.written_once.add(tile.name)
        if not self.homes.in_memory(tile):
            self.values.registers[tile.name] = {}
        elif tile.name not in self.values.storages:
            self.values.storages[tile.name] = self._place(statement)

    def _place(self, statement: Alloc) -> Storage:
        """Room for a tile, or that of another one under a name of its own.

        What is known about the other one's elements is then not taken for this one's.
        """
        if statement.over is None:
            return self.block.storage(statement.tile)
        base = self.values.storages[statement.over.name].base
        again = self.builder.assign("b32", "mov.b32", base)
        return Storage(again, statement.tile.dtype, "shared")

    # --- loops ------------------------------------------------------------------------

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

    def _leave_unless(self, guard: Guard, end: str | None) -> None:
        """End a loop where its guard fails."""
        condition = self.values.at(Run({})).condition(guard)
        if condition is not None:
            self.builder.line(f"@!{self.builder.text(condition)} bra {end}")

    def _writes_shared(self, body: Sequence[Statement]) -> bool:
        return any(
            isinstance(entry, Map | Fold) and self._is_shared(entry.tile.name)
            for entry in every_statement(body)
        )

    def _unroll_factor(self, loop: For) -> int:
        """Iterations to write out together, where they do not wait for threads."""
        if loop.guard:
            return 1
        elements, factor = 1, UNROLLED_SUMS
        adds = any(isinstance(entry, Fold) for entry in loop.body)
        carries = Alloc | Fold | Store if adds else Alloc | Fold
        for statement in every_statement(loop.body):
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

    def _pin(self, pin: Pin) -> None:
        """Nothing, where nothing runs in the background."""

    # --- branches ---------------------------------------------------------------------

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

    # --- what is carried --------------------------------------------------------------

    def _carried(self, body: Sequence[Statement]) -> Carriers:
        unchanging = self.homes.fixed | self.homes.operands.keys()
        return Carriers(self.values, tiles_written(body) - unchanging)

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

    # --- products ---------------------------------------------------------------------

    def _multiply(self, product: Mma) -> None:
        if product.accumulator.name in self.homes.fragments:
            if self.homes.patches is not None:
                patches = self.homes.patches
                multiply_patches(self.values, self.block.threads, product, patches)
            else:
                multiply_fragments(self.values, self.block.threads, product)
        else:
            multiply(self.values, self.block.threads, product)
