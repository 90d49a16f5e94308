"""Channels as rings of shared memory with two barriers for each slot.

*full* counts the bytes that arrive; *empty* counts the warps that have finished with
the slot. Who waits for the n-th time for one of them waits for its phase n mod 2 to
end, so each role keeps the number of its slot and one bit, the parity of its round:

    producer    wait(empty, parity)   starts with parity 1: fresh slots are free
                bytes on their way -> full
    consumer    wait(full, parity)    starts with parity 0
                arrive(empty)         one lane of each warp

Neighbours in a cluster may bring parts of a slot to one another. Each then releases
its slot to all of them, and nobody leaves before the others have finished.

PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit.blocks import SharedMemory
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.core.frozen import frozen
from tetragrad.tile.ir import Channel, Role, Tile, Wait
from tetragrad.tile.layout import PANEL_BYTES, tile_elements

#: The bulk copy engine and the matrix unit count swizzled rows from multiples of this.
TILE_ALIGNMENT = 8 * PANEL_BYTES
BARRIER_BYTES = 8
#: How often a role asks for a barrier before it gives up: a fault instead of a hang.
MOST_TRIES = 1 << 24


@frozen
class Ring:
    """A channel's shared memory: ``full`` and ``empty`` are the first barriers."""

    channel: Channel
    places: dict[str, int]
    base: str
    slot_bytes: int
    full: str
    empty: str
    releasing_warps: int
    #: Neighbours that bring what this block uses, and use what it brings.
    neighbours: int = 1

    def initialise(self, builder: Builder) -> None:
        """Set all barriers up; for one thread, before any role begins."""
        for slot in range(self.channel.depth):
            offset = slot * BARRIER_BYTES
            releases = self.releasing_warps * self.neighbours
            for barrier, count in ((self.full, 1), (self.empty, releases)):
                builder.line(
                    f"mbarrier.init.shared::cta.b64 [{barrier}+{offset}], {count}"
                )


def tile_bytes(tile: Tile) -> int:
    """The bytes of a tile in shared memory."""
    return tile_elements(tile) * tile.dtype.itemsize


def make_ring(
    shared: SharedMemory, channel: Channel, roles: Sequence[Role], neighbours: int
) -> Ring:
    """Room for a channel between some roles, here and in neighbouring blocks."""
    places, slot_bytes = {}, 0
    for tile in channel.tiles:
        places[tile.name] = slot_bytes
        slot_bytes += -(-tile_bytes(tile) // TILE_ALIGNMENT) * TILE_ALIGNMENT
    base = shared.room(slot_bytes * channel.depth, TILE_ALIGNMENT)
    full = shared.room(channel.depth * BARRIER_BYTES)
    empty = shared.room(channel.depth * BARRIER_BYTES)
    warps = sum(warps_of(role) for role in roles if waits_for(role.body, channel))
    return Ring(channel, places, base, slot_bytes, full, empty, warps, neighbours)


def warps_of(role: Role) -> int:
    """All warps of a role's members."""
    return role.warps * (1 if role.members is None else role.members[1])


def waits_for(body: Sequence[object], channel: Channel) -> bool:
    """Whether some statement, at any depth, waits for a channel."""
    return any(
        (isinstance(entry, Wait) and entry.channel == channel)
        or waits_for(getattr(entry, "body", ()), channel)
        or waits_for(getattr(entry, "otherwise", ()), channel)
        for entry in body
    )


class RingEnd:
    """How far one role has come in a channel.

    Its registers change as the role goes on, so nothing that is computed from them
    may be remembered: every address is computed where it is needed.
    """

    def __init__(self, builder: Builder, ring: Ring, *, produces: bool) -> None:
        self.builder = builder
        self.ring = ring
        self.produces = produces
        self.slot = self._register(0)
        self.parity = self._register(1 if produces else 0)
        # The barrier that a postponed release will arrive at.
        self._released: str | None = None
        self._arriving_bytes = 0

    def _register(self, value: int) -> str:
        register = self.builder.register("b32")
        self.builder.line(f"mov.b32 {register}, {value}")
        return register

    def _barrier(self, first: str) -> str:
        address = self.builder.register("b32")
        self.builder.line(
            f"mad.lo.u32 {address}, {self.slot}, {BARRIER_BYTES}, {first}"
        )
        return address

    def place(self, tile: Tile) -> str:
        """A register with the address of a tile in the slot that the role holds."""
        address = self.builder.register("b32")
        ring = self.ring
        self.builder.line(
            f"mad.lo.u32 {address}, {self.slot}, {ring.slot_bytes}, {ring.base}"
        )
        offset = ring.places[tile.name]
        if offset:
            self.builder.line(f"add.u32 {address}, {address}, {offset}")
        return address

    def advance(self) -> None:
        """Go on to the next slot; after the last one, to the next round."""
        is_last = self.builder.register("pred")
        line = self.builder.line
        line(f"add.u32 {self.slot}, {self.slot}, 1")
        line(f"setp.eq.u32 {is_last}, {self.slot}, {self.ring.channel.depth}")
        line(f"@{is_last} mov.b32 {self.slot}, 0")
        line(f"@{is_last} xor.b32 {self.parity}, {self.parity}, 1")

    # --- the producer ------------------------------------------------------------

    def acquire(self) -> str:
        """Wait for a free slot; the barrier that copies into it complete on."""
        wait_for(self.builder, self._barrier(self.ring.empty), self.parity)
        self._arriving_bytes = 0
        return self._barrier(self.ring.full)

    def expect(self, nbytes: int) -> None:
        """So many more bytes are on their way into the slot."""
        self._arriving_bytes += nbytes

    def commit(self, barrier: str) -> None:
        """The slot is full when all that was announced has arrived."""
        self.builder.line(
            f"mbarrier.arrive.expect_tx.shared::cta.b64 _, [{barrier}], "
            f"{self._arriving_bytes}"
        )
        self.advance()

    # --- consumers ---------------------------------------------------------------

    def wait(self) -> None:
        """Wait until the next slot is full."""
        wait_for(self.builder, self._barrier(self.ring.full), self.parity)

    def release_later(self) -> None:
        """Go on to the next slot, and note the one to be released."""
        if self._released is None:
            self._released = self.builder.register("b32")
        address = self._barrier(self.ring.empty)
        self.builder.line(f"mov.b32 {self._released}, {address}")
        self.advance()

    def release_noted(self) -> None:
        """This warp has finished with the slot that was noted.

        Every neighbour brings a part of it, so every one of them must know.
        """
        builder, count = self.builder, self.ring.neighbours
        lane = builder.assign("b32", "mov.u32", "%laneid")
        speaks = builder.assign("pred", "setp.lt.u32", f"{lane}, {count}")
        if count == 1:
            barrier, space = self._released, "shared::cta"
        else:
            # Nothing was written that a neighbour should see, so that the arrival
            # need not release anything to the cluster: that would cost a fence.
            barrier, space = builder.register("b32"), "shared::cluster"
            builder.line(
                f"@{speaks} mapa.shared::cluster.u32 {barrier}, {self._released}, "
                f"{lane}"
            )
        builder.line(f"@{speaks} mbarrier.arrive.{space}.b64 _, [{barrier}]")


def wait_for(builder: Builder, barrier: str, parity: str) -> None:
    """Wait for the phase with this parity to end; a fault if it never does."""
    again, after = builder.label(), builder.label()
    done, tries = builder.register("pred"), builder.register("b32")
    builder.line(f"mov.b32 {tries}, 0")
    builder.place(again)
    builder.line(
        f"mbarrier.try_wait.parity.shared::cta.b64 {done}, [{barrier}], {parity}"
    )
    builder.line(f"@{done} bra {after}")
    builder.line(f"add.u32 {tries}, {tries}, 1")
    builder.line(f"setp.lt.u32 {done}, {tries}, {MOST_TRIES}")
    builder.line(f"@{done} bra {again}")
    builder.line("trap")
    builder.place(after)
