"""Tile program -> LLVM IR text for a processor.

Each grid becomes a function that runs a part of its iterations, and the program one
function that runs the grids in order, in parallel where the work is worth it:

    void @{name}_0(ptr arguments, i64 part, i64 parts)
    void @{name}(ptr pool, ptr arguments)

An only grid that one thread runs is put in place of its call: LLVM takes half a
millisecond for a function, however little is in it.
``arguments`` is an array of addresses: of each slot's buffer, of each scalar's value,
of each tile of scratch. A captured step can thus call one program after the other
with nothing in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.memory import (
    TRUE,
    ZEROS,
    ZEROS_BYTES,
    Memory,
    Storage,
)
from tetragrad.backends.cpu.emit.operations import Operations
from tetragrad.backends.cpu.emit.reductions import Reductions
from tetragrad.backends.cpu.emit.scopes import Scopes
from tetragrad.backends.cpu.emit.statements import Statements
from tetragrad.backends.cpu.emit.vector import Builder, Value, constant, quoted
from tetragrad.backends.cpu.emit.widths import products
from tetragrad.backends.cpu.emit.work import may_run_in_parallel, work_of
from tetragrad.backends.cpu.pool import PARALLEL
from tetragrad.core import dtypes
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.tile.in_place import in_place_pairs
from tetragrad.tile.ir import Extent, For, Grid, Program, Role, Statement, Store, When

#: Scalar operations that are worth waking another thread for.
WORK_PER_PART = 1 << 17
PARTS_PER_THREAD = 4

_MODULE_END = f"""\
{ZEROS} = private constant [{ZEROS_BYTES} x i8] zeroinitializer, align 64
{TRUE} = private global i8 1
declare void @{PARALLEL}(ptr, ptr, ptr, i64)
attributes #0 = {{ nounwind "prefer-vector-width"="512" }}
"""


def emit(program: Program, target: Target, settings: Settings) -> str:
    """The whole program as one module of LLVM IR text."""
    _refuse_complex(program)
    functions = []
    shared: dict[str, str] = {}
    declarations: set[str] = set()
    grids = _grids_of(program)
    overlaps = Overlaps(program)
    parts = [_parts_of(grid, target) for grid in grids]
    in_place = parts == [1]
    for number, grid in enumerate(grids):
        emitter = _GridEmitter(program, target, settings, overlaps)
        functions.append(emitter.function(f"{program.name}_{number}", grid, in_place))
        shared |= emitter.builder.functions
        declarations |= emitter.builder.declarations
    functions.append(_entry(program, parts))
    end = [*sorted(declarations), _MODULE_END, *overlaps.metadata()]
    return "\n".join([*functions, *shared.values(), *end])


def _refuse_complex(program: Program) -> None:
    dtypes_met = [slot.dtype for slot in program.slots] + list(program.scalars)
    for dtype in dtypes_met:
        if dtype.is_complex:
            raise UnsupportedError(
                f"{dtype} buffers in program {program.name!r} on the CPU",
                hint="lower complex numbers to pairs of reals first",
            )


def _grids_of(program: Program) -> list[Grid]:
    for statement in program.body:
        if not isinstance(statement, Grid):
            raise UnsupportedError(
                f"{type(statement).__name__} at the top of program {program.name!r}",
                hint="put it into a Grid; one without axes runs once",
            )
    grids = [entry for entry in program.body if isinstance(entry, Grid)]
    return [grid for grid in grids if iterations_of(grid) > 0]


def iterations_of(grid: Grid) -> int:
    """How often the body of a grid runs."""
    return math.prod(extent for _, extent in grid.axes)


def uses_threads(program: Program, target: Target) -> bool:
    """Whether some grid of the program is handed to the pool."""
    return any(_parts_of(grid, target) > 1 for grid in _grids_of(program))


def _entry(program: Program, parts: Sequence[int]) -> str:
    """The function that runs the grids in order, each in so many parts."""
    lines = [f"define void {quoted(program.name)}(ptr %pool, ptr %arguments) #0 {{"]
    for number, count in enumerate(parts):
        function = quoted(f"{program.name}_{number}")
        if count == 1:
            lines.append(f"  call void {function}(ptr %arguments, i64 0, i64 1)")
        else:
            lines.append(
                f"  call void @{PARALLEL}"
                f"(ptr %pool, ptr {function}, ptr %arguments, i64 {count})"
            )
    return "\n".join([*lines, "  ret void", "}"])


def _parts_of(grid: Grid, target: Target) -> int:
    """Parts to hand to threads: enough to balance them, none too small to pay."""
    iterations = iterations_of(grid)
    if target.units == 1 or iterations == 1 or not may_run_in_parallel(grid):
        return 1
    worthwhile = int(iterations * work_of(grid.body)) // WORK_PER_PART
    return max(1, min(iterations, worthwhile, PARTS_PER_THREAD * target.units))


class Overlaps:
    """Which loads and stores meet in memory, for LLVM to know.

    What a program only reads overlaps none of what it writes, but for an output that
    may be written where that input lies. Each such input is a scope of its own.
    """

    def __init__(self, program: Program) -> None:
        self.written = frozenset(stored_slots(program.body)) | program.outputs
        self._partners: dict[int, set[int]] = {}
        for output, entry in in_place_pairs(program):
            self._partners.setdefault(output, set()).add(entry)
        self._read = [
            place for place in range(len(program.slots)) if place not in self.written
        ]
        self._lists: dict[tuple[int, ...], int] = {}

    def of_load(self, slot: int) -> str:
        """What is appended to loads from a slot."""
        if slot in self.written:
            return ""
        return f", !alias.scope !{self._list((slot,))}"

    def of_store(self, slot: int | None = None) -> str:
        """What is appended to stores to a slot, or to scratch."""
        partners = set() if slot is None else self._partners.get(slot, set())
        apart = tuple(place for place in self._read if place not in partners)
        return f", !noalias !{self._list(apart)}" if apart else ""

    def metadata(self) -> list[str]:
        """The definitions of everything that was referred to."""
        scopes = {slot: 1 + place for place, slot in enumerate(self._read)}
        lines = ["!0 = distinct !{!0}"]
        lines += [f"!{name} = distinct !{{!{name}, !0}}" for name in scopes.values()]
        for slots, name in self._lists.items():
            inside = ", ".join(f"!{scopes[slot]}" for slot in slots)
            lines.append(f"!{name} = !{{{inside}}}")
        return [*lines, ""]

    def _list(self, slots: tuple[int, ...]) -> int:
        return self._lists.setdefault(slots, 1 + len(self._read) + len(self._lists))


def stored_slots(body: Sequence[Statement]) -> Iterator[int]:
    """Slots that some statement writes."""
    for statement in body:
        match statement:
            case Store():
                yield statement.slot
            case Grid() | For() | Role():
                yield from stored_slots(statement.body)
            case When():
                yield from stored_slots(statement.body)
                yield from stored_slots(statement.otherwise)


class _GridEmitter:
    """Writes one grid as a function."""

    def __init__(
        self, program: Program, target: Target, settings: Settings, overlaps: Overlaps
    ) -> None:
        self.program = program
        self.overlaps = overlaps
        found = list(products(program.body))
        self.builder = Builder(keeps_calls=bool(found))
        self.scopes = Scopes(self.builder)
        self.ops = Operations(self.builder, target.features)
        self.memory = Memory(self.builder, self.scopes, self.ops)
        self.expressions = Expressions(
            self.builder,
            self.scopes,
            self.memory,
            self.ops,
            [self._slot(place) for place in range(len(program.slots))],
            [self._scalar(place) for place in range(len(program.scalars))],
            overlaps.written,
            settings.vector_bytes or target.vector_bytes,
            target.dot_steps,
            frozenset(entry.accumulator.name for entry in found if entry.group == 1),
        )
        self._find_scratch()
        extents = dict(program.axes)
        self.expressions.reduce = Reductions(self.expressions, extents).reduce
        self.statements = Statements(self.expressions, contract=settings.fma)

    # --- arguments ---------------------------------------------------------------

    def _argument(self, place: int) -> str:
        cell = self.builder.assign(f"getelementptr ptr, ptr %arguments, i64 {place}")
        return self.builder.assign(f"load ptr, ptr {cell}")

    def _slot(self, place: int) -> Storage:
        dtype = self.program.slots[place].dtype
        load, store = self.overlaps.of_load(place), self.overlaps.of_store(place)
        return Storage(self._argument(place), dtype, False, load, store)

    def _scalar(self, place: int) -> Value:
        dtype = self.program.scalars[place]
        address = self._argument(len(self.program.slots) + place)
        return self.memory.load_at(Storage(address, dtype), address)

    def _find_scratch(self) -> None:
        first = len(self.program.slots) + len(self.program.scalars)
        for place, tile in enumerate(self.program.scratch):
            base = self._argument(first + place)
            access = self.overlaps.of_store()
            storage = Storage(base, tile.dtype, False, "", access)
            self.expressions.tiles[tile.name] = storage

    # --- the loop over the grid --------------------------------------------------

    def function(self, name: str, grid: Grid, in_place: bool) -> str:
        """The function that runs part ``%part`` of ``%parts`` of a grid."""
        once = [axis for axis, extent in grid.axes if extent == 1]
        axes = [entry for entry in grid.axes if entry[1] > 1]
        with self.scopes.unrolled(once, [0] * len(once)):
            if axes:
                self._part_of(axes, grid.body)
            else:
                self.statements.emit(grid.body)
        parameters = "ptr %arguments, i64 %part, i64 %parts"
        return self.builder.function(name, parameters, in_place=in_place)

    def _part_of(self, axes: Sequence[Extent], body: Sequence[Statement]) -> None:
        """Iterations part·n/parts up to (part+1)·n/parts of the linearised grid."""
        iterations = math.prod(extent for _, extent in axes)
        count = constant(iterations, dtypes.int64)
        part, parts = Value("%part", dtypes.int64), Value("%parts", dtypes.int64)
        following = self.builder.binary("add", part, constant(1, dtypes.int64))
        first, last = (
            self.builder.binary(
                "udiv", self.builder.binary("mul", number, count), parts
            )
            for number in (part, following)
        )
        some = self.builder.compare("icmp ult", first, last)
        with self.scopes.branch(some):
            if len(axes) == 1:
                self._count(axes[-1], body, first, last)
            else:
                self._rows(axes, body, first, last)

    def _count(
        self, axis: Extent, body: Sequence[Statement], first: Value, last: Value
    ) -> None:
        """One axis of the grid, from first to below last."""
        number, extent = axis
        self.scopes.extents[number] = extent
        with self.scopes.counted(number, first, last):
            self.statements.emit(body)

    def _rows(
        self,
        axes: Sequence[Extent],
        body: Sequence[Statement],
        first: Value,
        last: Value,
    ) -> None:
        """A loop over rows of the last axis; the first and last may be partial."""
        divide, one = self._divide, constant(1, dtypes.int64)
        width = constant(axes[-1][1], dtypes.int64)
        first_row, first_column = divide(first, width)
        last_row, last_column = divide(self.ops.sub(last, one), width)
        end = self.ops.add(last_row, one)
        row_axis = self.scopes.fresh_axis()
        with self.scopes.counted(row_axis, first_row, end):
            row = self.scopes.counters[row_axis]
            for axis, extent in reversed(axes[:-1]):
                row, counter = divide(row, constant(extent, dtypes.int64))
                self.scopes.extents[axis] = extent
                self.scopes.bind(axis, counter)
            row = self.scopes.counters[row_axis]
            starts, ends = self.ops.eq(row, first_row), self.ops.eq(row, last_row)
            zero = constant(0, dtypes.int64)
            start = self.ops.where(starts, first_column, zero)
            stop = self.ops.where(ends, self.ops.add(last_column, one), width)
            self._count(axes[-1], body, start, stop)
            for axis, _ in axes[:-1]:
                self.scopes.unbind(axis)

    def _divide(self, number: Value, divisor: Value) -> tuple[Value, Value]:
        quotient = self.builder.binary("udiv", number, divisor)
        product = self.builder.binary("mul", quotient, divisor)
        return quotient, self.builder.binary("sub", number, product)
