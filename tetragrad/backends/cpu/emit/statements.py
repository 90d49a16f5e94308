"""The statements of a tile program as instructions: one method for each.

A statement with ``axes`` is unrolled over all but the last; the last becomes vector
registers of the processor's width, then halves of it for what is left over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tetragrad.backends.cpu.emit.addresses import Mask
from tetragrad.backends.cpu.emit.expressions import Expressions, Recipe, tile_form
from tetragrad.backends.cpu.emit.folds import Contribution, Folds, may_contract
from tetragrad.backends.cpu.emit.interleaved import groups_of_stores
from tetragrad.backends.cpu.emit.lengths import (
    are_many,
    is_written_out,
    num_functions,
    reads_registers,
)
from tetragrad.backends.cpu.emit.memory import Storage
from tetragrad.backends.cpu.emit.merges import (
    Collective,
    merged,
    reads_itself,
    target_of,
    with_short_rows,
)
from tetragrad.backends.cpu.emit.moves import Moves
from tetragrad.backends.cpu.emit.operands import emit_fetch
from tetragrad.backends.cpu.emit.product import emit_product
from tetragrad.backends.cpu.emit.scopes import VectorAxis, chunks
from tetragrad.backends.cpu.emit.turned_squares import Turns
from tetragrad.backends.cpu.emit.vector import Value, constant, scalar_type
from tetragrad.backends.cpu.emit.widths import vector_lanes
from tetragrad.core import dtypes
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import replace
from tetragrad.graph import reduce
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard, Load
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Alloc,
    Copy,
    Extent,
    Fetch,
    Fold,
    For,
    Map,
    Mma,
    Pin,
    Space,
    Statement,
    Store,
    Sync,
    Tile,
    View,
    When,
)

#: Bytes of a tile that every thread's stack has room for, several times over.
LARGEST_ON_STACK = 1 << 14

MODE_REDUCTIONS = {Mode.ADD: reduce.Sum, Mode.MAX: reduce.Max}


class Statements:
    """Writes statements at the current place of a function."""

    def __init__(self, expressions: Expressions, contract: bool) -> None:
        self.expressions = expressions
        self.builder = expressions.builder
        self.scopes = expressions.scopes
        self.memory = expressions.memory
        self.ops = expressions.ops
        self.contract = contract
        self.folds = Folds(expressions)
        self.moves = Moves(expressions)
        self.turns = Turns(expressions)
        self._methods: dict[type[Statement], Callable[..., None]] = {
            For: self._for,
            When: self._when,
            Alloc: self._alloc,
            View: self._view,
            Map: self._map,
            Fold: self._fold,
            Store: self._store,
            Mma: self._mma,
            Fetch: self._fetch,
            Copy: self._copy,
            Sync: self._nothing,
            Pin: self._nothing,
        }

    def emit(self, body: Iterable[Statement]) -> None:
        """Write statements in order."""
        for group in groups_of_stores(tuple(body)):
            statement = group[0]
            if len(group) > 1:
                self._store_together(group)
                continue
            method = self._methods.get(type(statement))
            if method is None:
                raise UnsupportedError(
                    f"{type(statement).__name__} statements on the CPU",
                    hint="roles and channels are for GPUs; plan with plain loops",
                )
            method(statement)

    # --- control -----------------------------------------------------------------

    def _for(self, statement: For) -> None:
        if is_written_out(statement):
            for place in range(statement.extent):
                with self.scopes.unrolled([statement.axis], [place]):
                    self.emit(statement.body)
            return
        if self._ends_early(statement):
            return
        with self.scopes.loop(statement.axis, statement.extent):
            self.emit(statement.body)

    def _ends_early(self, statement: For) -> bool:
        """Write a loop whose turns do nothing from one on with fewer turns."""
        found = _conditional(statement)
        if found is None:
            return False
        left, step, body = found
        self.expressions.evaluate(self.expressions.prepare([], (left,)))
        mask = self.memory.mask((left,))
        if mask.never or mask.lanes is not None:
            return mask.never
        with ExitStack() as stack:
            if mask.uniform is not None:
                stack.enter_context(self.scopes.branch(mask.uniform))
            number = self.ops.cast(self.memory.form_value(left), dtypes.int64)
            one, by = (constant(value, dtypes.int64) for value in (1, step))
            turns = self.ops.add(self.builder.binary("udiv", number, by), one)
            last = self.ops.min(turns, constant(statement.extent, dtypes.int64))
            self.scopes.extents[statement.axis] = statement.extent
            stack.enter_context(
                self.scopes.counted(statement.axis, constant(0, dtypes.int64), last)
            )
            self.emit(body)
        return True

    def _when(self, statement: When) -> None:
        self.expressions.evaluate(self.expressions.prepare([], statement.guard))
        mask = self.memory.mask(statement.guard)
        if mask.always:
            self.emit(statement.body)
        elif mask.never:
            self.emit(statement.otherwise)
        else:
            self._branches(self.memory.condition(mask), statement)

    def _branches(self, condition: Value, statement: When) -> None:
        if statement.body:
            with self.scopes.branch(condition):
                self.emit(statement.body)
        if statement.otherwise:
            with self.scopes.branch(self.ops.invert(condition)):
                self.emit(statement.otherwise)

    def _nothing(self, statement: Statement) -> None:
        """One thread is always in step with itself."""

    def _alloc(self, statement: Alloc) -> None:
        tile = statement.tile
        in_registers = tile.space is Space.REGISTER
        element, count = (
            Storage("", tile.dtype, in_registers).element,
            elements_of(tile),
        )
        nbytes = count * element.itemsize
        if nbytes > LARGEST_ON_STACK:
            slot = self.builder.heap_slot(nbytes)
        else:
            slot = self.builder.stack_slot(scalar_type(element), count)
        self.expressions.tiles[tile.name] = Storage(slot, tile.dtype, in_registers)

    def _view(self, statement: View) -> None:
        """Nothing but an address, which is known from here on."""
        source = statement.source
        tiles = self.expressions.tiles
        storage = (
            self.expressions.slots[source]
            if isinstance(source, int)
            else tiles[source.name]
        )
        self.expressions.evaluate(self.expressions.prepare([], [statement.address]))
        first = self.memory.pointer(storage, statement.address)
        tiles[statement.tile.name] = replace(
            storage, base=first, level=self.scopes.depth
        )

    # --- collective statements ---------------------------------------------------

    def _map(self, statement: Map) -> None:
        if self.moves.write(statement):
            return
        statement, single = merged(statement)
        with self.scopes.unrolled(single, [0] * len(single)):
            if not self.turns.write(statement):
                self._map_values(self._with_short_rows(statement))

    def _map_values(self, statement: Map) -> None:
        """A map of computed values."""
        tile = statement.tile
        storage = self.expressions.tiles[tile.name]
        form = tile_form(tile, statement.indices)

        def write(values: dict[Expression, Value], mask: Mask) -> None:
            value = self.ops.cast(values[statement.value], tile.dtype)
            self.memory.store(storage, form, value, mask)

        axes, guard = statement.axes, statement.guard
        first_read = reads_itself(statement)
        may_loop = tile.space is not Space.REGISTER
        with self._collective(axes, guard, (statement.value,), (form,)) as place:
            place.write_long_vectors()
            place.visit(write, first_read=first_read, may_loop=may_loop)

    def _copy(self, statement: Copy) -> None:
        """A map of loads; outside the guard they are 0."""
        if statement.channel is not None:
            raise UnsupportedError("channels on the CPU", hint="copy without one")
        slot = self.expressions.slots[statement.slot]
        load = Load(statement.slot, statement.address, statement.guard, slot.dtype)
        indices = tuple(axis_form(axis) for axis, _ in statement.axes)
        self._map(Map(statement.axes, statement.tile, indices, load))

    def _store(self, statement: Store) -> None:
        statement, single = merged(statement)
        with self.scopes.unrolled(single, [0] * len(single)):
            self._store_values(self._with_short_rows(statement))

    def _store_values(self, statement: Store) -> None:
        """A store of computed values."""
        storage = self.expressions.slots[statement.slot]
        address, op = statement.address, MODE_REDUCTIONS.get(statement.mode)

        def write(values: dict[Expression, Value], mask: Mask) -> None:
            value = self.ops.cast(values[statement.value], storage.dtype)
            if op is None:
                self.memory.store(storage, address, value, mask)
            else:
                self.folds.into_memory(storage, address, op, value, mask)

        axes, guard = statement.axes, statement.guard
        first_read = reads_itself(statement)
        with self._collective(axes, guard, (statement.value,), (address,)) as place:
            place.write_long_vectors()
            place.visit(write, first_read=first_read, may_loop=True)

    def _with_short_rows(self, statement: Collective) -> Collective:
        """Rows of one vector, instead of several, of what is long to write.

        The other vectors are along a further axis, which becomes a loop.
        """
        values, targets = (statement.value,), (target_of(statement),)
        if not statement.axes or not num_functions(values) or reads_registers(values):
            return statement
        axis, _ = statement.axes[-1]
        guard = statement.guard
        lanes = vector_lanes(self.expressions, axis, values, targets, guard)
        return with_short_rows(statement, lanes, self.scopes.fresh_axis())

    def _store_together(self, group: Sequence[Statement]) -> None:
        """Stores to neighbouring elements, of vectors whose lanes are as far apart."""
        stores = [entry for entry in group if isinstance(entry, Store)]
        first = stores[0]
        storage = self.expressions.slots[first.slot]

        def write(values: dict[Expression, Value], mask: Mask) -> None:
            parts = [
                self.ops.cast(values[entry.value], storage.dtype) for entry in stores
            ]
            if self.memory.store_interleaved(storage, first.address, parts, mask):
                return
            for entry, part in zip(stores, parts, strict=True):
                self.memory.store(storage, entry.address, part, mask)

        wanted = tuple(entry.value for entry in stores)
        forms = tuple(entry.address for entry in stores)
        with self._collective(first.axes, first.guard, wanted, forms) as place:
            place.visit(write, may_loop=True)

    def _fold(self, statement: Fold) -> None:
        tile, value = statement.tile, statement.value
        form = tile_form(tile, statement.indices)
        contract = self.contract and may_contract(statement)
        operands = value.inputs if contract else (value,)
        contributions: list[Contribution] = []

        def collect(values: dict[Expression, Value], mask: Mask) -> None:
            found = tuple(
                self.ops.cast(values[operand], tile.dtype) for operand in operands
            )
            contribution = self.folds.contribution(statement.op, form, found, mask)
            contributions.append(contribution)

        with self._collective(
            statement.axes, statement.guard, operands, (form,)
        ) as place:
            place.visit(collect)
            self.folds.into_tile(
                self.expressions.tiles[tile.name], statement.op, contributions
            )

    def _fetch(self, statement: Fetch) -> None:
        emit_fetch(self.expressions, statement)

    def _mma(self, statement: Mma) -> None:
        emit_product(self.expressions, statement)

    @contextmanager
    def _collective(
        self,
        axes: Sequence[Extent],
        guard: Guard,
        values: Sequence[Expression],
        forms: Sequence[Affine],
    ) -> Iterator[Points]:
        """The points of a statement, inside a branch if its guard holds for none."""
        own = {axis for axis, _ in axes}
        uniform = tuple(form for form in guard if not form.axes() & own)
        rest = tuple(form for form in guard if form.axes() & own)
        with ExitStack() as stack:
            if uniform:
                self.expressions.evaluate(self.expressions.prepare([], uniform))
                condition = self.memory.condition(self.memory.mask(uniform))
                if condition.constant is not True:
                    stack.enter_context(self.scopes.branch(condition))
            stack.enter_context(self.scopes.statement())
            outer = self.expressions.guard
            # Loads of what a data-dependent guard is made of come before it.
            self.expressions.guard = tuple(form for form in rest if form.is_pure())
            yield Points(self, axes, rest, values, forms)
            self.expressions.guard = outer


class Points:
    """The points of one collective statement."""

    def __init__(
        self,
        statements: Statements,
        axes: Sequence[Extent],
        guard: Guard,
        values: Sequence[Expression],
        forms: Sequence[Affine],
    ) -> None:
        self.expressions = statements.expressions
        self.scopes = statements.scopes
        self.axes = axes
        self.guard = guard
        self.values = values
        self.forms = forms
        #: Of a register, and of the vectors that are written.
        self.lanes = self.vector_lanes = self.expressions.lanes_for(values)

    def write_long_vectors(self) -> None:
        """Let one vector stand for several registers, where they do the same."""
        if self.axes:
            axis, _ = self.axes[-1]
            self.vector_lanes = vector_lanes(
                self.expressions, axis, self.values, self.forms, self.guard
            )

    def visit(
        self,
        write: Callable[[dict[Expression, Value], Mask], None],
        *,
        first_read: bool = False,
        may_loop: bool = False,
    ) -> None:
        """Evaluate at every point and pass on the values, and where they count.

        With ``first_read`` all points are evaluated before the first is written.
        """
        outer, inner = self.axes[:-1], self.axes[-1:]
        with ExitStack() as loops:
            many = are_many(self._num_vectors(), self.values)
            if may_loop and many and not first_read:
                for axis, extent in outer:
                    loops.enter_context(self.scopes.loop(axis, extent))
                outer = ()
            forms = [*self.forms, *self.guard]
            recipe = self.expressions.prepare(self.values, forms)
            if first_read:
                self._visit(recipe, outer, inner, lambda values, mask: None)
            self._visit(recipe, outer, inner, write)

    def _num_vectors(self) -> int:
        count = 1
        for _, extent in self.axes[:-1]:
            count *= extent
        return count * -(-self.axes[-1][1] // self.lanes) if self.axes else 1

    def _visit(
        self,
        recipe: Recipe,
        outer: Sequence[Extent],
        inner: Sequence[Extent],
        write: Callable[[dict[Expression, Value], Mask], None],
    ) -> None:
        memory, scopes = self.expressions.memory, self.scopes
        axes = [axis for axis, _ in outer]
        vectors = list(self._vectors(inner))
        points, lanes = scopes.points, scopes.vector
        for point in itertools.product(*(range(extent) for _, extent in outer)):
            scopes.points = {**points, **dict(zip(axes, point, strict=True))}
            for scopes.vector in vectors:
                values = self.expressions.evaluate(recipe)
                write(values, memory.mask(self.guard))
        scopes.points, scopes.vector = points, lanes

    def _vectors(self, inner: Sequence[Extent]) -> Iterator[VectorAxis | None]:
        if not inner:
            yield None
        for axis, extent in inner:
            for start, lanes in chunks(0, extent, self.vector_lanes):
                yield VectorAxis(axis, start, lanes)


def _conditional(
    statement: For,
) -> tuple[Affine, int, Sequence[Statement]] | None:
    """What a loop's body asks for, if that fails from some turn on.

    A form that must not be below 0 in the first turn, by how much it falls each turn,
    and what is done while it holds.
    """
    match statement.body:
        case (When((form,), body, ()),):
            step = -form.coefficient(statement.axis)
            if step > 0 and form.moves_evenly((statement.axis,)):
                return form.substitute({statement.axis: ZERO}), step, body
    return None


def elements_of(tile: Tile) -> int:
    """Elements from the first to the last of a tile's layout."""
    pairs = zip(tile.shape, tile.layout.strides, strict=True)
    return 1 + sum((size - 1) * stride for size, stride in pairs)
