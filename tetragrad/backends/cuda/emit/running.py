"""Running values over the threads of a block: what comes before each thread's part.

    parts of the threads     a0  a1  a2 …  a31 | a32 …       one register each
    inside a warp            five steps of shuffles
    the warps' totals        left in shared memory, and combined by every warp alike

(W. D. Hillis and G. L. Steele, "Data parallel algorithms", 1986.) How values are
combined depends on the number of threads alone, so equal numbers give equal bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit.blocks import PARTIAL_BYTES, Block
from tetragrad.backends.cuda.emit.ptx import Value, constant, register_class
from tetragrad.backends.cuda.emit.spread import WARP
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Reduce, Sum

#: What comes before each sweep of a thread (None: nothing), and all sweeps together.
Before = tuple[list[Value | None], Value]


def before_each(
    block: Block,
    kind: type[Reduce],
    totals: Sequence[Sequence[Value]],
    *,
    reverse: bool,
) -> list[Before]:
    """For each list of a thread's totals, one a sweep: what comes before them.

    All threads' parts of a sweep come before the next sweep; in reverse threads and
    sweeps count backwards.
    """
    assert block.neighbours is None, "threads of one block"
    scan = _Scan(block, kind, reverse)
    if reverse:
        totals = [entry[::-1] for entry in totals]
    inside = [[scan.inside_warp(value) for value in entry] for entry in totals]
    found = scan.over_sweeps(inside) if block.warps <= 1 else scan.over_warps(inside)
    if reverse:
        found = [(before[::-1], total) for before, total in found]
    return found


@frozen
class _Part:
    """A thread's value combined with those before it in its warp, and those alone."""

    inclusive: Value
    exclusive: Value


@frozen
class _Scan:
    """Running values of one op over the threads of a block."""

    block: Block
    kind: type[Reduce]
    reverse: bool

    # --- in one warp -------------------------------------------------------------

    @property
    def width(self) -> int:
        """Threads that shuffle among themselves."""
        return min(WARP, self.block.threads.count)

    def inside_warp(self, value: Value) -> _Part:
        """The values of the threads up to this one, and before it."""
        own, distance = value, 1
        while distance < self.width:
            value = self._joined(value, distance, self.width, self.reverse)
            distance *= 2
        if self.kind is Sum and value.dtype.is_integer:
            return _Part(value, self.block.ops.sub(value, own))
        identity = self._identity(value.dtype)
        return _Part(value, self._earlier(value, 1, identity, self.width, self.reverse))

    def _joined(self, value: Value, distance: int, width: int, reverse: bool) -> Value:
        """A value combined with that of the thread so far before, if there is one."""
        ops = self.block.ops
        earlier = self._shuffled(value, distance, width, reverse)
        has_one = self._has_earlier(distance, width, reverse)
        return ops.where(has_one, ops.combine(self.kind, earlier, value), value)

    def _earlier(
        self, value: Value, distance: int, otherwise: Value, width: int, reverse: bool
    ) -> Value:
        """The value of the thread so far before, or another one if there is none."""
        earlier = self._shuffled(value, distance, width, reverse)
        has_one = self._has_earlier(distance, width, reverse)
        return self.block.ops.where(has_one, earlier, otherwise)

    def _shuffled(
        self, value: Value, distance: int, width: int, reverse: bool
    ) -> Value:
        segment = (WARP - width) << 8
        if reverse:
            limits = segment | (WARP - 1)
            return self.block.shuffled(value, "down", distance, limits)
        return self.block.shuffled(value, "up", distance, segment)

    def _has_earlier(self, distance: int, width: int, reverse: bool) -> Value:
        assign, lane = self.block.builder.assign, self.lane(width)
        if reverse:
            found = assign("pred", "setp.lt.u32", f"{lane}, {width - distance}")
        else:
            found = assign("pred", "setp.ge.u32", f"{lane}, {distance}")
        return Value(found, dtypes.bool_)

    def lane(self, width: int) -> str:
        """This thread's number among so many."""
        index = self.block.threads.index.text
        if self.block.threads.count <= width:
            return index
        return self.block.builder.assign("b32", "and.b32", f"{index}, {width - 1}")

    def _identity(self, dtype: DType) -> Value:
        return constant(self.kind.identity(dtype), dtype)

    # --- one warp has everything ---------------------------------------------------

    def over_sweeps(self, inside: Sequence[Sequence[_Part]]) -> list[Before]:
        """What comes before each sweep, where a warp's threads have everything."""
        return [self._over_sweeps(entry) for entry in inside]

    def _over_sweeps(self, parts: Sequence[_Part]) -> Before:
        combine = self.block.ops.combine
        last = 0 if self.reverse else self.width - 1
        limits = ((WARP - self.width) << 8) | (WARP - 1)
        before: list[Value | None] = []
        so_far: Value | None = None
        for part in parts:
            exclusive, total = part.exclusive, part.inclusive
            if self.width > 1:
                total = self.block.shuffled(total, "idx", last, limits)
            if so_far is None:
                before.append(exclusive if self.width > 1 else None)
                so_far = total
                continue
            before.append(combine(self.kind, so_far, exclusive))
            so_far = combine(self.kind, so_far, total)
        assert so_far is not None, "there is a sweep"
        return before, so_far

    # --- several warps -------------------------------------------------------------

    def over_warps(self, inside: Sequence[Sequence[_Part]]) -> list[Before]:
        """What comes before each sweep, with all warps' totals in shared memory."""
        block, sweeps = self.block, len(inside[0])
        row = sweeps * self.slots
        count = -(-len(inside) * row // block.warps)
        partials = block.room_for_partials(count)
        self._leave(inside, partials)
        block.exchange()
        return [
            self._collected(entry, partials, number * row)
            for number, entry in enumerate(inside)
        ]

    @property
    def slots(self) -> int:
        """Places for the warps' totals of a sweep: a power of two."""
        return 1 << (self.block.warps - 1).bit_length()

    def _leave(self, inside: Sequence[Sequence[_Part]], partials: str) -> None:
        """The last thread of each warp leaves what the warp's threads give together."""
        builder = self.block.builder
        last = 0 if self.reverse else WARP - 1
        operands = f"{self.lane(WARP)}, {last}"
        is_last = builder.assign("pred", "setp.eq.u32", operands)
        operands = f"{self._turn()}, {PARTIAL_BYTES}, {partials}"
        place = builder.assign("b32", "mad.lo.s32", operands)
        slot = 0
        for parts in inside:
            for part in parts:
                stored = self.block.storable(part.inclusive)
                kind = register_class(stored.dtype)
                where = f"[{place}+{slot * PARTIAL_BYTES}]"
                builder.line(f"@{is_last} st.shared.{kind} {where}, {stored.text}")
                slot += self.slots

    def _turn(self) -> str:
        """Which warp this is, in the order in which their totals are combined."""
        assign = self.block.builder.assign
        warp = assign("b32", "shr.u32", f"{self.block.threads.index.text}, 5")
        if not self.reverse:
            return warp
        return assign("b32", "sub.s32", f"{self.block.warps - 1}, {warp}")

    def _collected(self, parts: Sequence[_Part], partials: str, first: int) -> Before:
        """The warps' totals, combined up to each of them, and this warp's share."""
        block, combine = self.block, self.block.ops.combine
        dtype = parts[0].inclusive.dtype
        count = len(parts) * self.slots
        so_far = self._identity(dtype)
        earlier = []
        for start in range(0, count, WARP):
            width = min(WARP, count - start)
            value = self._left(partials, first + start, width, dtype)
            distance = 1
            while distance < width:
                value = self._joined(value, distance, WARP, reverse=False)
                distance *= 2
            if start:
                value = combine(self.kind, so_far, value)
            earlier.append(self._earlier(value, 1, so_far, WARP, reverse=False))
            so_far = block.shuffled(value, "idx", width - 1, WARP - 1)
        before: list[Value | None] = []
        for sweep, part in enumerate(parts):
            chunk, lane = divmod(sweep * self.slots, WARP)
            source = self._plus(self._turn(), lane)
            mine = block.shuffled(earlier[chunk], "idx", source, WARP - 1)
            before.append(combine(self.kind, mine, part.exclusive))
        return before, so_far

    def _plus(self, register: str, amount: int) -> str:
        if not amount:
            return register
        return self.block.builder.assign("b32", "add.s32", f"{register}, {amount}")

    def _left(self, partials: str, first: int, width: int, dtype: DType) -> Value:
        """For each lane of a warp one of the totals, where there is one."""
        block, assign = self.block, self.block.builder.assign
        held = dtypes.int32 if dtype.is_bool else dtype
        lane = self.lane(WARP)
        operands = f"{lane}, {PARTIAL_BYTES}, {partials}"
        place = assign("b32", "mad.lo.s32", operands)
        is_there = None
        if width < WARP:
            is_there = assign("pred", "setp.lt.u32", f"{lane}, {width}")
        if self.slots != block.warps:
            number = assign("b32", "and.b32", f"{lane}, {self.slots - 1}")
            is_warp = assign("pred", "setp.lt.u32", f"{number}, {block.warps}")
            both = f"{is_warp}, {is_there}"
            is_there = is_warp if is_there is None else assign("pred", "and.pred", both)
        identity = block.ops.cast(self._identity(dtype), held)
        where = f"[{place}+{first * PARTIAL_BYTES}]"
        return block.ops.cast(block.partial(held, where, is_there, identity), dtype)
