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

from tetragrad.backends.cuda.emit.blocks import WARP, Block, Member, SharedMemory
from tetragrad.backends.cuda.emit.matrix_unit.bulk import (
    Share,
    TensorMap,
    tensor_map,
)
from tetragrad.backends.cuda.emit.matrix_unit.channels import (
    Ring,
    make_ring,
    warps_of,
)
from tetragrad.backends.cuda.emit.matrix_unit.filling import filled_tiles
from tetragrad.backends.cuda.emit.matrix_unit.role_registers import (
    WARPGROUP,
    copies_only,
    divide_registers,
    equal_share,
    role_threads,
)
from tetragrad.backends.cuda.emit.matrix_unit.role_statements import RoleStatements
from tetragrad.backends.cuda.emit.ptx import INDEX, Builder, Value
from tetragrad.backends.cuda.emit.spread import Coordinate, Threads
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.core.frozen import frozen
from tetragrad.tile.ir import (
    Channel,
    Copy,
    Extent,
    Program,
    Role,
    Store,
    every_statement,
)

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
                self._take_registers(budget[role.name])
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
        for statement in every_statement(self.roles):
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
            for statement in every_statement(self.roles)
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

    def _take_registers(self, count: int) -> None:
        change = "inc" if count > equal_share(self.roles) else "dec"
        self.builder.line(f"setmaxnreg.{change}.sync.aligned.u32 {count}")

    def _role(
        self, role: Role, rings: dict[str, Ring], group: str, first: int, end: str
    ) -> None:
        """One role's body, for the threads that take part in it."""
        builder = self.builder
        index = builder.assign("b32", "mov.u32", "%tid.x")
        size = role.warps * WARP // role.teams
        inside = builder.assign("b32", "and.b32", f"{index}, {WARPGROUP - 1}")
        if size > WARPGROUP:
            inside = builder.assign("b32", "sub.u32", f"{index}, {first * WARPGROUP}")
        member = builder.assign("b32", "sub.u32", f"{group}, {first}")
        barrier = builder.assign("b32", "add.u32", f"{group}, 1")
        if role.members is None and role.teams == 1:
            member = builder.assign("b32", "mov.b32", "0")
            barrier = builder.assign("b32", "mov.b32", str(first + 1))
        if role.members is not None:
            axis, count = role.members
            self.values.extents[axis] = count
            self.values.places[axis] = Coordinate(member if count > 1 else None)
        if copies_only(role):
            is_other = builder.assign("pred", "setp.ne.u32", f"{inside}, 0")
            builder.line(f"@{is_other} bra {end}")
        threads = Threads(
            builder,
            size,
            self._width(role),
            Value(inside, INDEX),
            is_warpgroup=True,
        )
        members = role.teams if role.members is None else role.members[1]
        block = Block(
            self.values.ops, threads, self.shared, Member(member, members, barrier)
        )
        RoleStatements(self, role, block, rings, end).emit_all()

    def _width(self, role: Role) -> int:
        """Elements that a thread stores at once: 16 bytes of the widest."""
        sizes = [
            self.program.slots[statement.slot].dtype.itemsize
            for statement in every_statement(role.body)
            if isinstance(statement, Store)
        ]
        sizes += [tile.dtype.itemsize for tile in filled_tiles(role.body).values()]
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
