"""What the threads of a block share: memory, barriers, and reductions over them."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.ptx import Builder, Value, constant, register_class
from tetragrad.backends.cuda.emit.spread import Threads
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Reduce
from tetragrad.tile.ir import Tile
from tetragrad.tile.layout import tile_elements

WARP = 32
_ALIGNMENT = 16
#: What a warp's result takes in shared memory, of any dtype.
PARTIAL_BYTES = 8
#: The results of so many warps are read by each thread; of more, by lanes together.
FEW_WARPS = 8
#: The name of a block's dynamic shared memory.
SHARED = "dynamic_shared"

Room = tuple[int, str | None, int]
State = tuple[frozenset[str], frozenset[str], tuple[str, ...]]


class SharedMemory:
    """The dynamic shared memory of a kernel, handed out from its start."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.nbytes = 0
        self.alignment = _ALIGNMENT

    def room(self, nbytes: int, alignment: int = _ALIGNMENT) -> str:
        """A register with the address of so many bytes."""
        start = -(-self.nbytes // alignment) * alignment
        self.nbytes = start + -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        self.alignment = max(self.alignment, alignment)
        # Written at the top of the kernel: the place is needed everywhere.
        register = self.builder.register("b32")
        self.builder.first_line(f"add.s32 {register}, {register}, {start}")
        self.builder.first_line(f"mov.b32 {register}, {SHARED}")
        return register


@frozen
class Member:
    """Which of several equal groups of threads this is: a register, and their number.

    ``barrier`` is a register with the number of the barrier that the group has to
    itself.
    """

    index: str
    count: int
    barrier: str


@frozen
class Neighbours:
    """The blocks of one cluster that share a grid iteration; a power of two."""

    count: int


class Block:
    """The threads that run one body: a grid iteration's, or one member of a role."""

    def __init__(
        self,
        ops: Operations,
        threads: Threads,
        shared: SharedMemory,
        member: Member | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.ops = ops
        self.builder = ops.builder
        self.threads = threads
        self.shared = shared
        self.member = member
        self.neighbours = neighbours
        self._have_met = neighbours is None
        # Shared tiles that were written and read since the last barrier.
        self._written: frozenset[str] = frozenset()
        self._read: frozenset[str] = frozenset()
        # Tiles that asynchronous copies are on their way into, in order.
        self._copies: tuple[str, ...] = ()
        self._partials: str | None = None
        self._partial_bytes = 0

    # --- shared memory -----------------------------------------------------------

    def storage(self, tile: Tile) -> Storage:
        """Room for a tile in shared memory."""
        base = self.room(tile_elements(tile) * tile.dtype.itemsize)
        return Storage(base, tile.dtype, "shared")

    def room(self, nbytes: int) -> str:
        """A register with the address of so many bytes of this member's own."""
        if self.member is None:
            return self.shared.room(nbytes)
        each = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        first = self.shared.room(each * self.member.count)
        operands = f"{self.member.index}, {each}, {first}"
        return self.builder.assign("b32", "mad.lo.s32", operands)

    def taken(self) -> Room:
        """How much shared memory is in use, and what of it is for partial results."""
        return self.shared.nbytes, self._partials, self._partial_bytes

    def take_again(self, before: Room) -> None:
        """Another branch may have the memory that one branch took.

        Not with members, which need not be in the same branch.
        """
        if self.member is None:
            self.shared.nbytes, self._partials, self._partial_bytes = before

    def take_both(self, other: Room) -> None:
        """Behind the branches, what either of them took is in use."""
        self.shared.nbytes = max(self.shared.nbytes, other[0])
        if self.member is None:
            self._partials, self._partial_bytes = None, 0

    # --- barriers ----------------------------------------------------------------

    def barrier(self, needed: frozenset[str] | None = None) -> None:
        """Wait for all threads; what they wrote to shared memory is then seen.

        Of the copies under way only those into ``needed`` tiles are waited for, or
        all. Copies finish in the order in which they began.
        """
        if self._copies:
            last = max(
                (
                    place
                    for place, name in enumerate(self._copies)
                    if needed is None or name in needed
                ),
                default=-1,
            )
            if last >= 0:
                left = len(self._copies) - 1 - last
                self.builder.line(f"cp.async.wait_group {left}")
                self._copies = self._copies[last + 1 :]
        if self.member is not None:
            self.builder.line(f"bar.sync {self.member.barrier}, {self.threads.count}")
        elif self.threads.count > WARP:
            self.builder.line("bar.sync 0")
        else:
            self.builder.line("bar.warp.sync 0xffffffff")
        self._written, self._read = frozenset(self._copies), frozenset()

    def before(self, reads: set[str], writes: set[str], soon: set[str]) -> None:
        """Keep in order what the next statement does and what was done before.

        A barrier that is needed now also waits for copies into what is read ``soon``.
        """
        if reads & self._written or writes & (self._written | self._read):
            self.barrier(frozenset(reads | writes | soon))
        self._read |= reads
        self._written |= writes

    def forget_writes(self, names: set[str]) -> None:
        """Tiles whose elements are written once need no order among their writes."""
        self._written -= names

    def copies_into(self, name: str) -> None:
        """The copies issued last, all into one tile, go on while others run."""
        self.builder.line("cp.async.commit_group")
        self._copies = (*self._copies, name)

    def end_of_loop(self, entry: State) -> None:
        """The next iteration must not meet what this one has not finished.

        Copies may stay under way if the same ones were when the loop was entered.
        """
        same_copies = self._copies == entry[2]
        if self._written or self._read:
            self.barrier(frozenset() if same_copies else None)

    def state(self) -> State:
        """What has happened since the last barrier."""
        return self._written, self._read, self._copies

    def restore(self, state: State) -> None:
        """Go back to the beginning of a branch."""
        self._written, self._read, self._copies = state

    def join(self, other: State) -> None:
        """Either this branch or the other one was taken."""
        assert self._copies == other[2], "copies under way in one branch only"
        self._written |= other[0]
        self._read |= other[1]

    # --- neighbours --------------------------------------------------------------

    def meet_neighbours(self) -> None:
        """Wait until all blocks of the cluster run: only then have they memory.

        What comes before, as the loads of a row, does not wait.
        """
        if self._have_met:
            return
        self._have_met = True
        self.builder.first_line("barrier.cluster.arrive.relaxed.aligned")
        self.builder.line("barrier.cluster.wait.acquire.aligned")

    def exchange(self) -> None:
        """What threads left for others is there for them to read."""
        if self.neighbours is None:
            self.barrier()
            return
        self.builder.line("barrier.cluster.arrive.release.aligned")
        self.builder.line("barrier.cluster.wait.acquire.aligned")

    # --- reductions --------------------------------------------------------------

    def reduce(self, kind: type[Reduce], values: Sequence[Value]) -> list[Value]:
        """Combine values over all threads; every thread gets the same results."""
        values = [self._over_lanes(kind, value) for value in values]
        if self.threads.count <= WARP:
            return list(values)
        self.meet_neighbours()
        partials = self.room_for_partials(len(values))
        self._leave(values, partials)
        self.exchange()
        return [
            self._collected(kind, value.dtype, partials, number)
            for number, value in enumerate(values)
        ]

    @property
    def warps(self) -> int:
        return self.threads.count // WARP

    def _over_lanes(self, kind: type[Reduce], value: Value) -> Value:
        """Combine over the threads of a warp; they all get the same bits."""
        distance = min(WARP, self.threads.count) // 2
        while distance:
            value = self.ops.combine(kind, value, self.exchanged(value, distance))
            distance //= 2
        return value

    def exchanged(self, value: Value, distance: int) -> Value:
        """The value of the thread whose number differs in one bit."""
        return self.shuffled(value, "bfly", distance, WARP - 1)

    def shuffled(
        self, value: Value, way: str, operand: int | str, limits: int
    ) -> Value:
        """The value of another thread of the warp (PTX ISA, "shfl.sync")."""
        assign = self.builder.assign
        if value.dtype.is_bool:
            number = self.ops.cast(value, dtypes.int32)
            found = self.shuffled(number, way, operand, limits)
            return self.ops.cast(found, dtypes.bool_)
        kind = register_class(value.dtype)
        text = self.builder.text(value)
        if value.constant is not None:
            text = assign(kind, f"mov.{kind}", text)
        tail = f"{operand}, {limits}, {self.together}"
        shuffle = f"shfl.sync.{way}.b32"
        if kind in ("b32", "f32"):
            return Value(assign(kind, shuffle, f"{text}, {tail}"), value.dtype)
        low, high = self.builder.register("b32"), self.builder.register("b32")
        self.builder.line(f"mov.b64 {{{low}, {high}}}, {text}")
        halves = [assign("b32", shuffle, f"{half}, {tail}") for half in (low, high)]
        whole = assign(kind, "mov.b64", f"{{{halves[0]}, {halves[1]}}}")
        return Value(whole, value.dtype)

    @property
    def together(self) -> str:
        """Which threads of the warp share an iteration, a bit for each of them."""
        count = self.threads.count
        if count >= WARP or not self.threads.may_part:
            return "0xffffffff"
        assign = self.builder.assign
        thread = assign("b32", "mov.u32", "%tid.x")
        first = assign("b32", "and.b32", f"{thread}, {WARP - count}")
        return assign("b32", "shl.b32", f"{(1 << count) - 1}, {first}")

    def room_for_partials(self, count: int) -> str:
        """Room for so many results of every warp.

        Where code may come by again, others may still read what was left there.
        """
        nbytes = count * self.warps * PARTIAL_BYTES
        if not self.builder.is_inside_scope:
            return self.room(nbytes)
        if self._partials is None or nbytes > self._partial_bytes:
            self._partials = self.room(nbytes)
            self._partial_bytes = nbytes
        self.exchange()
        return self._partials

    def _leave(self, values: Sequence[Value], partials: str) -> None:
        """Each warp leaves its results; in a cluster, with every neighbour.

        There as many lanes store as there are blocks, each into another one.
        """
        assign = self.builder.assign
        index = self.threads.index.text
        warp = assign("b32", "shr.u32", f"{index}, 5")
        lane = assign("b32", "and.b32", f"{index}, 31")
        place = assign("b32", "mad.lo.s32", f"{warp}, {PARTIAL_BYTES}, {partials}")
        space, receivers = "shared", 1
        if self.neighbours is not None:
            space, receivers = "shared::cluster", self.neighbours.count
            receiver = assign("b32", "and.b32", f"{lane}, {receivers - 1}")
            name = "mapa.shared::cluster.u32"
            place = assign("b32", name, f"{place}, {receiver}")
        stores = assign("pred", "setp.lt.u32", f"{lane}, {receivers}")
        for number, value in enumerate(values):
            stored = self.storable(value)
            kind = register_class(stored.dtype)
            offset = number * self.warps * PARTIAL_BYTES
            self.builder.line(
                f"@{stores} st.{space}.{kind} [{place}+{offset}], {stored.text}"
            )

    def storable(self, value: Value) -> Value:
        if value.dtype.is_bool:
            value = self.ops.cast(value, dtypes.int32)
        if value.constant is None:
            return value
        kind = register_class(value.dtype)
        return Value(self.builder.assign(kind, f"mov.{kind}", value.text), value.dtype)

    def _collected(
        self, kind: type[Reduce], dtype: dtypes.DType, partials: str, number: int
    ) -> Value:
        """What all warps left, combined in one order by every thread."""
        held = dtypes.int32 if dtype.is_bool else dtype
        first = number * self.warps * PARTIAL_BYTES
        if self.warps <= FEW_WARPS:
            places = [first + warp * PARTIAL_BYTES for warp in range(self.warps)]
            found = [self.partial(held, f"[{partials}+{place}]") for place in places]
            return self._combined(kind, dtype, found)
        return self._over_lanes(kind, self._by_lanes(kind, dtype, partials, first))

    def _combined(
        self, kind: type[Reduce], dtype: dtypes.DType, found: Sequence[Value]
    ) -> Value:
        total = self.ops.cast(found[0], dtype)
        for value in found[1:]:
            total = self.ops.combine(kind, total, self.ops.cast(value, dtype))
        return total

    def _by_lanes(
        self, kind: type[Reduce], dtype: dtypes.DType, partials: str, first: int
    ) -> Value:
        """A part of what the warps left for each lane of this one."""
        held = dtypes.int32 if dtype.is_bool else dtype
        assign = self.builder.assign
        lane = assign("b32", "and.b32", f"{self.threads.index.text}, 31")
        place = assign("b32", "mad.lo.s32", f"{lane}, {PARTIAL_BYTES}, {partials}")
        found = []
        for start in range(0, self.warps, WARP):
            offset = first + start * PARTIAL_BYTES
            left = self.warps - start
            has_one = None
            if left < WARP:
                has_one = assign("pred", "setp.lt.u32", f"{lane}, {left}")
            identity = self.ops.cast(constant(kind.identity(dtype), dtype), held)
            found.append(self.partial(held, f"[{place}+{offset}]", has_one, identity))
        return self._combined(kind, dtype, found)

    def partial(
        self,
        dtype: dtypes.DType,
        place: str,
        condition: str | None = None,
        otherwise: Value | None = None,
    ) -> Value:
        """One element of shared memory, or another value where there is none."""
        kind = register_class(dtype)
        register = self.builder.register(kind)
        shown = ""
        if condition is not None and otherwise is not None:
            self.builder.move(register, kind, otherwise)
            shown = f"@{condition} "
        self.builder.line(f"{shown}ld.shared.{kind} {register}, {place}")
        return Value(register, dtype)
