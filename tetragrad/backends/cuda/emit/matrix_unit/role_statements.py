"""One role's statements, and the products of the matrix unit that are under way.

What touches a product's registers waits for it, and a slot that it reads is given back
when the next product has been issued.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.blocks import Block
from tetragrad.backends.cuda.emit.matrix_unit.bulk import (
    Arrival,
    copied_bytes,
    emit_copy,
)
from tetragrad.backends.cuda.emit.matrix_unit.channels import (
    Ring,
    RingEnd,
)
from tetragrad.backends.cuda.emit.matrix_unit.filling import fill, filled_tiles, hand_on
from tetragrad.backends.cuda.emit.matrix_unit.fragments import FragmentStatements
from tetragrad.backends.cuda.emit.matrix_unit.holding import held_words
from tetragrad.backends.cuda.emit.matrix_unit.role_registers import (
    WARPGROUP,
    copies_only,
    role_threads,
)
from tetragrad.backends.cuda.emit.matrix_unit.teams import Teams, is_step
from tetragrad.backends.cuda.emit.matrix_unit.turns import Turns
from tetragrad.backends.cuda.emit.matrix_unit.underway import UnderWay
from tetragrad.backends.cuda.emit.matrix_unit.warpgroup import (
    Held,
    Operand,
    multiply_warpgroup,
)
from tetragrad.backends.cuda.emit.spread import Coordinate, Run
from tetragrad.backends.cuda.emit.tiles import (
    Collective,
    find_homes,
    tiles_touched,
)
from tetragrad.core.errors import UnsupportedError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, atoms_of, walk
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Copy,
    For,
    Map,
    Mma,
    PassTurn,
    Pin,
    Release,
    Role,
    Statement,
    TakeTurn,
    Tile,
    View,
    Wait,
    When,
    every_statement,
)

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.matrix_unit.roles import RoleGrid


class RoleStatements(FragmentStatements):
    """Emits the body of one role, and keeps track of products under way.

    What touches a product's registers waits for it, and a slot that it reads is given
    back when the next product has been issued.
    """

    def __init__(
        self,
        grid: RoleGrid,
        role: Role,
        block: Block,
        rings: dict[str, Ring],
        end: str,
    ) -> None:
        super().__init__(
            grid.values, find_homes(role.body), block, contract=grid.contract
        )
        self.grid = grid
        self.role = role
        self.end = end
        self.ends: dict[str, RingEnd] = {}
        for statement in every_statement(role.body):
            if isinstance(statement, Acquire | Wait):
                name = statement.channel.name
                if name not in self.ends:
                    produces = isinstance(statement, Acquire)
                    self.ends[name] = RingEnd(
                        self.builder, rings[name], produces=produces
                    )
        self._full: dict[str, str] = {}
        self.filled = filled_tiles(role.body)
        self.under_way = UnderWay(self.builder, self.ends)
        #: The tile of a slot that each view shows.
        self.sources: dict[str, Tile] = {}
        self.turns = self._turns()
        self.teams: Teams | None = None
        if role.teams > 1:
            assert block.member is not None, "a role's group"
            self.teams = Teams(self.builder, block.member)

    def emit_all(self) -> None:
        """The whole body."""
        self.emit(self.role.body)

    def statement(self, statement: Statement, following: Sequence[Statement]) -> None:
        match statement:
            case Acquire(channel):
                self._full[channel.name] = self.ends[channel.name].acquire()
            case Copy():
                self._bring(statement)
            case Commit(channel):
                self._hand_on(channel)
            case Map() if self._is_filled(statement):
                self._fill([statement])
            case Map() if self._is_held(statement):
                self._hold(statement)
            case Wait(channel):
                self.ends[channel.name].wait()
            case Release(channel):
                self.under_way.release(channel)
            case TakeTurn() | PassTurn():
                self._take_turns(statement)
            case View(tile, Tile() as source):
                self.sources[tile.name] = source
            case Mma():
                self._multiply_slot(statement)
            case For():
                self._loop(statement)
            case _:
                self.under_way.finish(self._touched(statement))
                if isinstance(statement, Map) and self._reads_slots(statement):
                    self._find_slots()
                super().statement(statement, following)

    def emit(self, body: Sequence[Statement]) -> None:
        """Statements in order; what begins with no product under way ends so."""
        if self.teams is not None and is_step(body):
            with self.teams.step():
                super().emit(body)
            for end in self.ends.values():
                end.advance()
            return
        began_running = bool(self.under_way)
        super().emit(body)
        if not began_running:
            self.under_way.finish()

    # --- turns -------------------------------------------------------------------

    def _turns(self) -> Turns | None:
        """The barriers for members that take turns; nothing for a single one."""
        member, body = self.block.member, self.role.body
        takes = any(isinstance(entry, TakeTurn) for entry in every_statement(body))
        if not takes or member is None or member.count == 1:
            return None
        # Every group has a barrier to itself, and number 0 is that of all threads.
        first = role_threads(self.grid.roles) // WARPGROUP + 1
        turns = Turns(self.builder, member, self.block.threads.count, first)
        turns.begin()
        return turns

    def _take_turns(self, statement: TakeTurn | PassTurn) -> None:
        if self.turns is None:
            return
        if isinstance(statement, TakeTurn):
            self.turns.take()
        else:
            self.turns.hand_on()

    # --- copies ------------------------------------------------------------------

    def _bring(self, copy: Copy) -> None:
        assert copy.channel is not None
        end = self.ends[copy.channel.name]
        for axis, extent in copy.axes:
            self.values.extents[axis] = extent
        point = self.values.at(Run({axis: Coordinate(None) for axis, _ in copy.axes}))
        barrier = self._full[copy.channel.name]
        arrival = Arrival(end.place(copy.tile), barrier)
        share = self.grid.share_of(copy)
        emit_copy(point, copy, self.grid.parameter_of(copy), arrival, share)
        end.expect(copied_bytes(copy))

    # --- operands that are computed ----------------------------------------------

    def _find_slots(self) -> None:
        """Say where the tiles of all slots are that this role has waited for."""
        for end in self.ends.values():
            if not end.produces:
                for tile in end.ring.channel.tiles:
                    place = end.place(tile)
                    self.values.storages[tile.name] = Storage(
                        place, tile.dtype, "shared"
                    )

    def _is_held(self, statement: Map) -> bool:
        """Whether an operand in registers is made of what a channel brought."""
        is_operand = statement.tile.name in self.homes.operands
        return is_operand and self._reads_slots(statement)

    def _reads_slots(self, statement: Map) -> bool:
        """Whether a value is made of what a channel brought."""
        brought = {name for end in self.ends.values() for name in end.ring.places}
        return not brought.isdisjoint(self.homes.reads(statement))

    def _hold(self, statement: Map) -> None:
        """Compute an operand in registers, which the last product has finished with.

        The assembler does not know that products still read registers that nobody
        reads after them: it computes words where they belong, not before they move.
        """
        self.under_way.finish({statement.tile.name})
        self._find_slots()
        registers = self.values.registers[statement.tile.name]
        with self.builder.scope():
            words = held_words(self.values, self.block.threads, statement)
            for key, word in words.items():
                self.builder.line(f"mov.b32 {registers[key].text}, {word}")

    def _written_beside(self, body: Sequence[Statement], start: int) -> Sequence[Map]:
        """Tiles of a slot are filled together: all loads are under way at once."""
        found = [
            entry
            for entry in itertools.takewhile(self._is_filled, body[start:])
            if isinstance(entry, Map)
        ]
        return found or super()._written_beside(body, start)

    def _is_filled(self, statement: Statement) -> bool:
        return isinstance(statement, Map) and statement.tile.name in self.filled

    def _map_together(self, statements: Sequence[Map]) -> None:
        if self._is_filled(statements[0]):
            self._fill(statements)
        else:
            super()._map_together(statements)

    def _fill(self, statements: Sequence[Map]) -> None:
        """Compute tiles of the slot that is held, from others that are, or memory."""
        self._find_slots()
        places = []
        for statement in statements:
            name = statement.tile.name
            end = next(end for end in self.ends.values() if name in end.ring.places)
            places.append(end.place(statement.tile))
        with self.builder.scope():
            fill(self.values, self.block.threads, statements, places)

    def _hand_on(self, channel: Channel) -> None:
        """The slot is full, or will be when all copies into it have arrived."""
        end, full = self.ends[channel.name], self._full[channel.name]
        if not any(tile.name in self.filled for tile in channel.tiles):
            end.commit(full)
            return
        threads = self.block.threads
        assert self.block.member is not None, "a role's group"
        group, index = self.block.member.barrier, threads.index.text
        hand_on(self.builder, full, group, threads.count, index)
        if self.teams is None:
            end.advance()

    # --- products ----------------------------------------------------------------

    def _multiply_slot(self, product: Mma) -> None:
        """Issue a product, whose registers nothing else may be at work on."""
        elements = self.values.registers[product.accumulator.name]
        multiply_warpgroup(
            self.builder,
            product,
            self._left_operand(product),
            self._operand(product.rhs, product.rhs_offset),
            list(elements.values()),
        )
        self.under_way.issued(product)

    def _left_operand(self, product: Mma) -> Operand | Held:
        """The first operand, in a slot or in registers."""
        if product.lhs.name not in self.homes.operands:
            return self._operand(product.lhs, product.lhs_offset)
        pairs = self.values.registers[product.lhs.name]
        return Held({key: value.text for key, value in pairs.items()})

    def _operand(self, tile: Tile, offset: tuple[Affine, Affine]) -> Operand:
        """An operand where the slot that is held has it."""
        source = self.sources.get(tile.name, tile)
        end = next(end for end in self.ends.values() if source.name in end.ring.places)
        operand = Operand(self.builder, tile, end.place(source))
        depth, side = offset
        if depth.terms or depth.constant or len(side.terms) > 1:
            raise UnsupportedError("a part of a tile as operand of wgmma")
        operand.begin_side(side.constant)
        for axis, step in side.terms:
            place = self.values.places[axis]
            if place.register is not None:
                operand.move_side(place.register, step)
        return operand

    def _loop(self, loop: For) -> None:
        """A loop whose body finds the same products under way in every turn.

        Steps of a product go on from one another; before any other body all finish:
        where products were under way across a branch, ptxas moved what reads their
        sums above the wait for them.
        """
        kinds = {type(statement) for statement in loop.body}
        if not {Wait, Mma, Release} <= kinds <= {Wait, Map, Mma, Release}:
            self.under_way.finish()
        if copies_only(self.role) or self.filled:
            self._divide_before(loop)
        before = self.under_way.releases
        super().statement(loop, ())
        after = self.under_way.releases
        assert after == before, "every turn releases what it waited for"

    def _divide_before(self, loop: For) -> None:
        """Compute what copies divide where it does not change: one thread does it all.

        Boxes start at digits of a block's number, and the loop is about its steps.
        """
        inside = {loop.axis}
        for statement in every_statement(loop.body):
            inside |= {statement.axis} if isinstance(statement, For) else set()
            inside |= {axis for axis, _ in getattr(statement, "axes", ())}
        point = self.values.at(Run({}))
        for statement in every_statement(loop.body):
            for atom in divided_in(statement):
                if not atom.free_axes & inside:
                    point.evaluate(atom)

    def _touched(self, statement: Statement) -> set[str] | None:
        """The tiles of products that a statement touches; None: anything may be."""
        touched: set[str] = set()
        for entry in every_statement([statement]):
            if isinstance(entry, Collective):
                touched |= tiles_touched(entry)
            elif not isinstance(entry, When | Alloc | Pin):
                return None
        return touched


def divided_in(statement: Statement) -> list[Expression]:
    """Quotients and remainders in what a statement copies or computes."""
    forms: list[Affine] = []
    if isinstance(statement, Copy):
        forms = [dimension.index for dimension in statement.dimensions]
    elif isinstance(statement, Map):
        for entry in walk(statement.value):
            forms += entry.forms
    return atoms_of(tuple(forms))
