"""Tile program -> PTX text: a kernel for each grid, a block for each iteration.

    .visible .entry {name}_{number}(.param .u64 p0, …)

The parameters are the addresses of the slots, the scalars themselves, then the
addresses of the scratch tiles. The launches that follow one another are described by
:func:`launches_of`, which is all that running the text needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tetragrad.backends.cuda.emit import formats
from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.blocks import (
    SHARED,
    Block,
    Neighbours,
    SharedMemory,
)
from tetragrad.backends.cuda.emit.joints import (
    Finish,
    Joint,
    counters,
    join_grids,
    last_of_group,
    reads_again,
)
from tetragrad.backends.cuda.emit.matrix_unit.bulk import TensorMap
from tetragrad.backends.cuda.emit.matrix_unit.role_registers import role_threads
from tetragrad.backends.cuda.emit.matrix_unit.roles import RoleGrid, map_name
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.parking import (
    Parking,
    park_rows,
    parking_blocks,
    parking_neighbours,
    parks_rows,
)
from tetragrad.backends.cuda.emit.ptx import (
    INDEX,
    Builder,
    Value,
    constant,
    register_class,
)
from tetragrad.backends.cuda.emit.spread import Coordinate, Threads
from tetragrad.backends.cuda.emit.statements import Statements
from tetragrad.backends.cuda.emit.thread_counts import (
    cluster_size,
    iterations_together,
    least_blocks,
    thread_count,
    widths_of,
)
from tetragrad.backends.cuda.emit.tiles import (
    TileHomes,
    find_homes,
    tiles_written,
)
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.backends.cuda.target import PTX_VERSIONS
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.tile.ir import (
    Extent,
    For,
    Grid,
    Mma,
    Program,
    Role,
    Statement,
    Store,
    When,
    every_statement,
)

#: A kernel's blocks may come while the last of the one before are still running; they
#: wait until all that it has written is there. The next kernel's may then come, too,
#: but not beside roles: all would come to the few multiprocessors that those leave.
#: Waiting takes a little of every block's time, so many short blocks had better not.
EARLY_LAUNCH = "early launch"
MOST_EARLY_BLOCKS = 2048
#: What multiplies for tens of microseconds gains nothing by coming early, and reads
#: through a cache that only a kernel which comes late may use.
MOST_EARLY_PRODUCTS = 1 << 33
WAIT_FOR_OTHERS = "\tgriddepcontrol.wait;"
LET_OTHERS_COME = "\tgriddepcontrol.launch_dependents;"
#: What the driver's encoding of a tensor map takes.
TENSOR_MAP_BYTES = 128


@dataclass(frozen=True)
class GridLaunch:
    """One kernel of a program: its name, and the size of its grid.

    ``maps`` are the tensor maps that it takes behind all other parameters. An
    ``early`` one waits itself for what was launched before it, and may begin to.
    """

    name: str
    blocks: int
    threads: int
    shared_bytes: int
    maps: tuple[TensorMap, ...] = ()
    early: bool = False


@dataclass(frozen=True)
class Emitted:
    """A program's text, and the launches that run it."""

    text: str
    launches: tuple[GridLaunch, ...]


def emit_program(program: Program, target: Target, settings: Settings) -> Emitted:
    """The whole program as one module of PTX text."""
    _refuse(program, target)
    kernels, launches, alignment = [], [], 16
    before: Joint | None = None
    for number, joint in enumerate(join_grids(_grids_of(program))):
        emitter = _GridEmitter(program, joint, target, settings)
        emitter.is_backwards = before is not None and reads_again(before, joint)
        before = joint
        name = f"{program.name}_{number}"
        if joint.finish is not None:
            kernels.append(counters(name, joint.finish))
        kernels.append(emitter.kernel(name))
        launches.append(emitter.launch(name))
        alignment = max(alignment, emitter.shared.alignment)
    header = [
        f".version {PTX_VERSIONS[target.architecture]}",
        f".target {target.architecture}",
        ".address_size 64",
        f".extern .shared .align {alignment} .b8 {SHARED}[];",
    ]
    return Emitted("\n".join([*header, *kernels, ""]), tuple(launches))


def _refuse(program: Program, target: Target) -> None:
    if target.architecture not in PTX_VERSIONS:
        known = ", ".join(PTX_VERSIONS)
        raise UnsupportedError(
            f"PTX for {target.architecture}", hint=f"use one of {known}"
        )
    for dtype in [slot.dtype for slot in program.slots] + list(program.scalars):
        if dtype.is_complex:
            raise UnsupportedError(
                f"{dtype} buffers in program {program.name!r} on CUDA",
                hint="lower complex numbers to pairs of reals first",
            )


def _grids_of(program: Program) -> list[Grid]:
    grids = []
    for statement in program.body:
        if not isinstance(statement, Grid):
            raise UnsupportedError(
                f"{type(statement).__name__} at the top of program {program.name!r}",
                hint="put it into a Grid; one without axes runs once",
            )
        if math.prod(extent for _, extent in statement.axes) > 0:
            grids.append(statement)
    return grids


def stored_slots(body: Sequence[Statement]) -> Iterator[int]:
    """Slots that some statement writes."""
    for statement in every_statement(body):
        if isinstance(statement, Store):
            yield statement.slot


def scalar_at(ops: Operations, dtype: DType, space: str, operand: str) -> Value:
    """A scalar from where the launch has left it."""
    assign = ops.builder.assign
    if dtype.itemsize >= 4:
        kind = register_class(dtype)
        return Value(assign(kind, f"ld.{space}.{kind}", operand), dtype)
    if dtype.is_floating_point:
        half = assign("b16", f"ld.{space}.b16", operand)
        return formats.settled(formats.widened(ops, half, dtype))
    letter = "s" if dtype.is_signed else "u"
    number = assign("b32", f"ld.{space}.{letter}{dtype.itemsize * 8}", operand)
    if not dtype.is_bool:
        return Value(number, dtype)
    return ops.cast(Value(number, dtypes.uint8), dtype)


def products_in(body: Sequence[Statement]) -> int:
    """Multiplications of the matrix unit in statements, at most."""
    total = 0
    for statement in body:
        match statement:
            case Mma():
                total += statement.rows * statement.columns * statement.depth
            case For():
                total += statement.extent * products_in(statement.body)
            case Role():
                members = 1 if statement.members is None else statement.members[1]
                total += members * products_in(statement.body)
            case When():
                total += products_in(statement.body) + products_in(statement.otherwise)
    return total


class _GridEmitter:
    """Writes one grid as a kernel."""

    def __init__(
        self, program: Program, joint: Joint, target: Target, settings: Settings
    ) -> None:
        self.program = program
        self.joint = joint
        self.grid = joint.grid
        self.contract = settings.fma
        self.builder = Builder()
        self.shared = SharedMemory(self.builder)
        self.maps: list[TensorMap] = []
        self.roles = tuple(entry for entry in self.grid.body if isinstance(entry, Role))
        self.thread_count = role_threads(self.roles)
        self.neighbour_count = 1 if self.grid.cluster is None else self.grid.axes[-1][1]
        #: Iterations that share a block.
        self.together = 1
        #: Whether rows wait in shared memory from pass to pass.
        self.parks = False
        #: Whether the last iterations come first: what the kernel before has read
        #: last is still in the cache.
        self.is_backwards = False
        ops = Operations(self.builder, target.features)
        homes = TileHomes() if self.roles else find_homes(self.grid.body)
        block = None if self.roles else self._divide(ops, homes, target)
        self.values = self._make_values(ops)
        self.early = EARLY_LAUNCH in target.features and self._may_come_early()
        self.values.memory.comes_early = self.early
        self._find_scratch()
        if self.parks:
            self.values.memory.parking = Parking(
                self.builder, self.shared, self.thread_count
            )
        if block is not None:
            self.statements = Statements(
                self.values, homes, block, contract=self.contract
            )

    def _divide(self, ops: Operations, homes: TileHomes, target: Target) -> Block:
        """Divide iterations among threads and neighbours, and blocks among them."""
        grid, finish = self.grid, self.joint.finish
        widths = widths_of(self.program, grid)
        most = target.neighbours if finish is None else 1
        wanted = grid.threads or thread_count(grid, homes, widths, most)
        self.parks = most > 1 and parks_rows(grid, homes, widths, wanted)
        divide = parking_neighbours if self.parks else cluster_size
        self.neighbour_count = divide(wanted, most)
        self.thread_count = wanted // self.neighbour_count
        if finish is None:
            iterations = math.prod(extent for _, extent in grid.axes)
            self.together = iterations_together(grid, homes, wanted, iterations)
        return self._block(ops, wanted, widths.even)

    def _make_values(self, ops: Operations) -> Values:
        """Slots and scalars in registers."""
        finish = self.joint.finish
        bodies = [*self.grid.body, *(() if finish is None else finish.grid.body)]
        return Values(
            ops,
            [self._slot(place) for place in range(len(self.program.slots))],
            [self._scalar(ops, place) for place in range(len(self.program.scalars))],
            frozenset(stored_slots(bodies)),
        )

    def _may_come_early(self) -> bool:
        """Whether blocks are few, and what they multiply, so that it is worth it."""
        iterations = math.prod(extent for _, extent in self.grid.axes)
        products = iterations * products_in(self.grid.body)
        return self._blocks() <= MOST_EARLY_BLOCKS and products <= MOST_EARLY_PRODUCTS

    def _block(self, ops: Operations, count: int, width: int) -> Block:
        """The threads of an iteration, which may be those of several blocks."""
        index = Value(self.builder.assign("b32", "mov.u32", "%tid.x"), INDEX)
        neighbours = None
        if self.together > 1:
            operands = f"{index.text}, {count - 1}"
            index = Value(self.builder.assign("b32", "and.b32", operands), INDEX)
        if self.neighbour_count > 1:
            rank = self.builder.assign("b32", "mov.u32", "%cluster_ctarank")
            operands = f"{rank}, {self.thread_count}, {index.text}"
            neighbours = Neighbours(self.neighbour_count)
            index = Value(self.builder.assign("b32", "mad.lo.s32", operands), INDEX)
        is_even = self.grid.threads > 0
        may_part = any(isinstance(e, When) for e in every_statement(self.grid.body))
        threads = Threads(
            self.builder, count, width, index, is_even=is_even, may_part=may_part
        )
        return Block(ops, threads, self.shared, neighbours=neighbours)

    # --- parameters --------------------------------------------------------------

    def _address(self, place: int) -> str:
        generic = self.builder.assign("b64", "ld.param.b64", f"[p{place}]")
        return self.builder.assign("b64", "cvta.to.global.u64", generic)

    def _slot(self, place: int) -> Storage:
        dtype = self.program.slots[place].dtype
        return Storage(self._address(place), dtype, "global")

    def _scalar(self, ops: Operations, place: int) -> Value:
        operand = f"[p{len(self.program.slots) + place}]"
        return scalar_at(ops, self.program.scalars[place], "param", operand)

    def _find_scratch(self) -> None:
        bodies = [self.grid.body]
        if self.joint.finish is not None:
            bodies.append(self.joint.finish.grid.body)
        written = {name for body in bodies for name in tiles_written(body)}
        names = {tile.name for tile in self.program.scratch}
        self.values.given = frozenset(names - written)
        first = len(self.program.slots) + len(self.program.scalars)
        for place, tile in enumerate(self.program.scratch):
            base = self._address(first + place)
            self.values.storages[tile.name] = Storage(base, tile.dtype, "global")

    # --- the kernel --------------------------------------------------------------

    def kernel(self, name: str) -> str:
        """The whole text of the kernel."""
        self._find_block()
        self._body()
        if self.joint.finish is not None:
            self._finish(name, self.joint.finish)
        count = (
            len(self.program.slots)
            + len(self.program.scalars)
            + len(self.program.scratch)
        )
        parameters = [f"\t.param .b64 p{place}" for place in range(count)]
        parameters += [
            f"\t.param .align 64 .b8 {map_name(number)}[{TENSOR_MAP_BYTES}]"
            for number in range(len(self.maps))
        ]
        threads = self.thread_count * self.together
        limits = [f".maxntid {threads}, 1, 1"]
        if not self.roles:
            blocks = parking_blocks(threads)
            if not self.parks:
                blocks = least_blocks(self.program, self.grid, threads)
            limits += [f".minnctapersm {blocks}"] if blocks > 1 else []
        if self.roles:
            # So that the assembler gives each role what it asks for.
            limits.append(".minnctapersm 1")
        elif self.statements.homes.patches is not None:
            # One block's products go on while another one waits for operands.
            limits.append(".minnctapersm 2")
        if self.neighbour_count > 1:
            limits.append(f".reqnctapercluster {self.neighbour_count}, 1, 1")
        return "\n".join(
            [
                f".visible .entry {name}(",
                ",\n".join(parameters),
                ")",
                *limits,
                "{",
                *self.builder.declarations(),
                *self._early_lines(),
                *self.builder.lines,
                "\tret;",
                "}",
            ]
        )

    def _early_lines(self) -> list[str]:
        if not self.early:
            return []
        return [WAIT_FOR_OTHERS] if self.roles else [LET_OTHERS_COME, WAIT_FOR_OTHERS]

    def _body(self) -> None:
        if self.parks:
            park_rows(self.statements, self.grid.body)
        if not self.roles:
            self.statements.fetch_ahead(self.grid.body)
            self.statements.emit(self.grid.body)
            return
        if len(self.roles) != len(self.grid.body):
            raise UnsupportedError(
                "statements beside roles on CUDA", hint="put them into a role"
            )
        RoleGrid(
            self.values,
            self.shared,
            self.program,
            self.roles,
            self.contract,
            self.maps,
            self.cluster,
        ).emit()

    def _finish(self, name: str, finish: Finish) -> None:
        """The grid that the last of these blocks run."""
        values, builder = self.values, self.builder
        blocks = math.prod(extent for _, extent in self.grid.axes)
        group = None if finish.group is None else values.places[finish.group]
        register = None if group is None else group.register
        last = last_of_group(builder, name, finish, blocks, register)
        for axis, extent in finish.grid.axes:
            values.extents[axis] = extent
            values.places[axis] = Coordinate(None)
        if finish.axis is not None and group is not None:
            values.places[finish.axis] = group
        homes = find_homes(finish.grid.body)
        width = widths_of(self.program, finish.grid).even
        with builder.only_if(last):
            block = self._block(values.ops, self.thread_count, width)
            statements = Statements(values, homes, block, contract=self.contract)
            statements.emit(finish.grid.body)

    @property
    def cluster(self) -> Extent | None:
        """The axis of blocks that are neighbours, which is the last one."""
        return None if self.grid.cluster is None else self.grid.axes[-1]

    def launch(self, name: str) -> GridLaunch:
        """How the kernel is launched, once its text is written."""
        neighbours = 1 if self.roles else self.neighbour_count
        return GridLaunch(
            name,
            self._blocks() * neighbours,
            self.thread_count * self.together,
            self.shared.nbytes,
            tuple(self.maps),
            self.early,
        )

    def _blocks(self) -> int:
        """Blocks of the grid, where neighbours that share an iteration count once."""
        iterations = math.prod(extent for _, extent in self.grid.axes)
        return -(-iterations // self.together)

    def _iteration(self, block: Value) -> Value:
        """The iteration of this thread's group; groups without one end here."""
        assign = self.builder.assign
        thread = assign("b32", "mov.u32", "%tid.x")
        shift = self.thread_count.bit_length() - 1
        group = assign("b32", "shr.u32", f"{thread}, {shift}")
        operands = f"{block.text}, {self.together}, {group}"
        number = assign("b32", "mad.lo.s32", operands)
        iterations = math.prod(extent for _, extent in self.grid.axes)
        if iterations % self.together:
            beyond = assign("pred", "setp.ge.u32", f"{number}, {iterations}")
            self.builder.line(f"@{beyond} exit")
        return Value(number, INDEX)

    def _find_block(self) -> None:
        """The grid's axes from the block's number."""
        values = self.values
        # With roles, neighbours are iterations of their own; else they share one.
        shares = self.neighbour_count > 1 and not self.roles
        number = "%clusterid.x" if shares else "%ctaid.x"
        rest = Value(self.builder.assign("b32", "mov.u32", number), INDEX)
        if self.is_backwards:
            last = constant(self._blocks() - 1, INDEX)
            rest = self.builder.compute("sub.s32", INDEX, last, rest)
        if self.together > 1:
            rest = self._iteration(rest)
        for axis, extent in reversed(self.grid.axes[1:]):
            values.extents[axis] = extent
            operands = f"{rest.text}, {extent}"
            position = self.builder.assign("b32", "rem.u32", operands)
            values.places[axis] = Coordinate(position if extent > 1 else None)
            rest = Value(self.builder.assign("b32", "div.u32", operands), INDEX)
        if self.grid.axes:
            axis, extent = self.grid.axes[0]
            values.extents[axis] = extent
            values.places[axis] = Coordinate(rest.text if extent > 1 else None)
        for alias, axis in self.joint.aliases.items():
            values.extents[alias] = values.extents[axis]
            values.places[alias] = values.places[axis]
