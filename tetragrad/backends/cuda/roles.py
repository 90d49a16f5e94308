"""Roles: each group of four warps goes its own way, and takes the registers it needs.

    if this is one of the warps of the first role
        give up registers; one thread brings the operands
    else
        take registers; four warps multiply and store

What the tile program leaves open is derived here: the barriers of every channel, when
a slot may be given back, where a product must have finished, which thread copies, and
how the registers are divided.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.blocks import WARP, Block, Member, SharedMemory
from tetragrad.backends.cuda.bulk import (
    Arrival,
    Share,
    TensorMap,
    copied_bytes,
    emit_copy,
    tensor_map,
)
from tetragrad.backends.cuda.channels import (
    Ring,
    RingEnd,
    make_ring,
    warps_of,
)
from tetragrad.backends.cuda.fragments import FragmentStatements
from tetragrad.backends.cuda.ptx import INDEX, Builder, Value
from tetragrad.backends.cuda.spread import Coordinate, Run, Threads
from tetragrad.backends.cuda.tiles import (
    Collective,
    accesses_of,
    find_homes,
    statements_in,
)
from tetragrad.backends.cuda.underway import UnderWay
from tetragrad.backends.cuda.values import Values
from tetragrad.backends.cuda.warpgroup import Held, Operand, multiply_warpgroup
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Copy,
    Extent,
    For,
    Mma,
    Pin,
    Program,
    Release,
    Role,
    Statement,
    Store,
    Tile,
    Wait,
    When,
)

WARPGROUP = 4 * WARP
#: Registers of a multiprocessor; each thread has a multiple of eight, up to a limit.
REGISTERS = 65536
REGISTER_STEP = 8
MOST_REGISTERS = 240
#: What a thread that only copies needs.
COPYING_REGISTERS = 40


# --- registers -----------------------------------------------------------------------


def copies_only(role: Role) -> bool:
    """Whether a role has work for one thread only."""
    return any(isinstance(entry, Copy) for entry in statements_in(role.body))


def divide_registers(roles: Sequence[Role]) -> dict[str, int] | None:
    """Registers of a thread of each role; None where equal shares are enough.

    A kernel starts with equal shares, and nobody can take what the others have not
    given up: a sum beyond the first division would wait for ever.
    """
    threads = {role.name: warps_of(role) * WARP for role in roles}
    share = _whole_steps(REGISTERS // sum(threads.values()))
    copying = [role.name for role in roles if copies_only(role)]
    working = [role.name for role in roles if not copies_only(role)]
    if share >= MOST_REGISTERS or not copying or not working:
        return None
    pool = share * sum(threads.values())
    few = sum(threads[name] for name in copying)
    many = sum(threads[name] for name in working)
    large = min(MOST_REGISTERS, _whole_steps((pool - few * COPYING_REGISTERS) // many))
    small = min(share, _whole_steps((pool - many * large) // few))
    found = dict.fromkeys(copying, small) | dict.fromkeys(working, large)
    assert sum(threads[name] * found[name] for name in threads) <= pool
    return found


def _whole_steps(registers: int) -> int:
    return registers // REGISTER_STEP * REGISTER_STEP


# --- a grid of roles -----------------------------------------------------------------


@frozen
class RoleGrid:
    """What the roles of a kernel share."""

    values: Values
    shared: SharedMemory
    program: Program
    roles: tuple[Role, ...]
    contract: bool
    #: The tensor maps that the copies need, in the order of the kernel's parameters.
    maps: list[TensorMap]
    #: The axis of the neighbours in a cluster, if there are any.
    cluster: Extent | None

    @property
    def builder(self) -> Builder:
        return self.values.builder

    def emit(self) -> None:
        """Set the channels up, then send every warp to its role."""
        rings = self._rings()
        group = self._warpgroup()
        budget = divide_registers(self.roles)
        end = self.builder.label()
        first = 0
        for role in self.roles:
            groups = warps_of(role) * WARP // WARPGROUP
            other = self.builder.label()
            if first + groups < role_threads(self.roles) // WARPGROUP:
                is_other = self.builder.register("pred")
                self.builder.line(f"setp.ge.u32 {is_other}, {group}, {first + groups}")
                self.builder.line(f"@{is_other} bra {other}")
            if budget is not None:
                self._take_registers(role, budget[role.name], budget)
            with self.builder.scope():
                self._role(role, rings, group, first, end)
            self.builder.line(f"bra {end}")
            self.builder.place(other)
            first += groups
        self.builder.place(end)
        if self.cluster is not None:
            # Neighbours may still write into this block's memory.
            self.builder.line("barrier.cluster.arrive")
            self.builder.line("barrier.cluster.wait")

    def _rings(self) -> dict[str, Ring]:
        channels: dict[str, Channel] = {}
        for statement in statements_in(self.roles):
            channel = getattr(statement, "channel", None)
            if channel is not None:
                channels[channel.name] = channel
        rings = {
            name: make_ring(self.shared, channel, self.roles, self._neighbours(channel))
            for name, channel in channels.items()
        }
        index = self.builder.assign("b32", "mov.u32", "%tid.x")
        is_first = self.builder.assign("pred", "setp.eq.u32", f"{index}, 0")
        with self.builder.only_if(is_first):
            for ring in rings.values():
                ring.initialise(self.builder)
            # The copy engine must see the barriers too.
            self.builder.line("fence.mbarrier_init.release.cluster")
            self.builder.line("fence.proxy.async")
        self._synchronise()
        return rings

    def _neighbours(self, channel: Channel) -> int:
        """How many blocks bring what a channel of this one holds."""
        shared = any(
            self.is_shared(statement)
            for statement in statements_in(self.roles)
            if isinstance(statement, Copy) and statement.channel == channel
        )
        return self.cluster[1] if shared and self.cluster is not None else 1

    def is_shared(self, copy: Copy) -> bool:
        """Whether all blocks of the cluster copy the same."""
        if self.cluster is None:
            return False
        forms = (copy.address, *copy.guard)
        return all(self.cluster[0] not in form.axes() for form in forms)

    def _synchronise(self) -> None:
        """All threads that share barriers have come this far."""
        if self.cluster is None:
            self.builder.line("bar.sync 0")
        else:
            self.builder.line("barrier.cluster.arrive")
            self.builder.line("barrier.cluster.wait")

    def _warpgroup(self) -> str:
        """The number of the warpgroup, in a way that says it is one for all lanes."""
        assign = self.builder.assign
        index = assign("b32", "mov.u32", "%tid.x")
        group = assign("b32", "shr.u32", f"{index}, 7")
        return assign("b32", "shfl.sync.idx.b32", f"{group}, 0, 31, 0xffffffff")

    def _take_registers(self, role: Role, count: int, budget: dict[str, int]) -> None:
        change = "dec" if count == min(budget.values()) else "inc"
        self.builder.line(f"setmaxnreg.{change}.sync.aligned.u32 {count}")

    def _role(
        self, role: Role, rings: dict[str, Ring], group: str, first: int, end: str
    ) -> None:
        """One role's body, for the threads that take part in it."""
        builder = self.builder
        index = builder.assign("b32", "mov.u32", "%tid.x")
        inside = builder.assign("b32", "and.b32", f"{index}, {WARPGROUP - 1}")
        member = builder.assign("b32", "sub.u32", f"{group}, {first}")
        if role.members is not None:
            axis, count = role.members
            self.values.extents[axis] = count
            self.values.places[axis] = Coordinate(member if count > 1 else None)
        if copies_only(role):
            is_other = builder.assign("pred", "setp.ne.u32", f"{inside}, 0")
            builder.line(f"@{is_other} bra {end}")
        threads = Threads(
            builder,
            WARPGROUP,
            self._width(role),
            Value(inside, INDEX),
            is_warpgroup=True,
        )
        barrier = builder.assign("b32", "add.u32", f"{group}, 1")
        members = 1 if role.members is None else role.members[1]
        block = Block(
            self.values.ops, threads, self.shared, Member(member, members, barrier)
        )
        _RoleStatements(self, role, block, rings, end).emit_all()

    def _width(self, role: Role) -> int:
        """Elements that a thread stores at once: 16 bytes of the widest."""
        sizes = [
            self.program.slots[statement.slot].dtype.itemsize
            for statement in statements_in(role.body)
            if isinstance(statement, Store)
        ]
        return 16 // max(sizes, default=4)

    def share_of(self, copy: Copy) -> Share | None:
        """The part of a copy that this block brings, if others bring the rest."""
        if self.cluster is None or not self.is_shared(copy):
            return None
        axis, count = self.cluster
        rank = self.values.places[axis].register
        assert rank is not None, "a cluster of several blocks"
        return Share(rank, count)

    def parameter_of(self, copy: Copy) -> str:
        """A register with the address of the tensor map that a copy needs."""
        if copy.source is None:
            place = copy.slot
        else:
            first = len(self.program.slots) + len(self.program.scalars)
            place = first + self.program.scratch.index(copy.source)
        shares = self.cluster[1] if self.is_shared(copy) and self.cluster else 1
        wanted = tensor_map(copy, place, shares)
        if wanted not in self.maps:
            self.maps.append(wanted)
        name = map_name(self.maps.index(wanted))
        address = self.builder.assign("b64", "mov.b64", name)
        return self.builder.assign("b64", "cvta.param.u64", address)


def map_name(number: int) -> str:
    """The name of a kernel's parameter that is a tensor map."""
    return f"map{number}"


def role_threads(roles: Sequence[Role]) -> int:
    """Threads of a block with these roles."""
    return sum(warps_of(role) for role in roles) * WARP


# --- one role ------------------------------------------------------------------------


class _RoleStatements(FragmentStatements):
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
        for statement in statements_in(role.body):
            if isinstance(statement, Acquire | Wait):
                name = statement.channel.name
                if name not in self.ends:
                    produces = isinstance(statement, Acquire)
                    self.ends[name] = RingEnd(
                        self.builder, rings[name], produces=produces
                    )
        self._full: dict[str, str] = {}
        self.under_way = UnderWay(self.builder, self.ends)

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
                self.ends[channel.name].commit(self._full[channel.name])
            case Wait(channel):
                self.ends[channel.name].wait()
            case Release(channel):
                self.under_way.release(channel)
            case Mma():
                self._multiply_slot(statement)
            case For():
                self._loop(statement)
            case _:
                self.under_way.finish(self._touched(statement))
                super().statement(statement, following)

    def emit(self, body: Sequence[Statement]) -> None:
        """Statements in order; what begins with no product under way ends so."""
        began_running = bool(self.under_way)
        super().emit(body)
        if not began_running:
            self.under_way.finish()

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
        end = next(end for end in self.ends.values() if tile.name in end.ring.places)
        operand = Operand(self.builder, tile, end.place(tile))
        depth, side = offset
        if depth.terms or depth.constant or side.constant or len(side.terms) > 1:
            raise UnsupportedError("a part of a tile as operand of wgmma")
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
        if {type(statement) for statement in loop.body} != {Wait, Mma, Release}:
            self.under_way.finish()
        if copies_only(self.role):
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
        for statement in statements_in(loop.body):
            inside |= {statement.axis} if isinstance(statement, For) else set()
            inside |= {axis for axis, _ in getattr(statement, "axes", ())}
        point = self.values.at(Run({}))
        for statement in statements_in(loop.body):
            if isinstance(statement, Copy):
                for dimension in statement.dimensions:
                    for atom, _ in dimension.index.terms:
                        is_fixed = not isinstance(atom, int)
                        if is_fixed and not atom.free_axes & inside:
                            point.evaluate(atom)

    def _touched(self, statement: Statement) -> set[str] | None:
        """The tiles of products that a statement touches; None: anything may be."""
        touched: set[str] = set()
        for entry in statements_in([statement]):
            if isinstance(entry, Collective):
                touched |= {access.tile.name for access in accesses_of(entry)}
            elif not isinstance(entry, When | Alloc | Pin):
                return None
        return touched
