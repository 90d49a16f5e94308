"""Members of a role take turns: one at a time has the matrix unit to itself.

Warps that all multiply at the same time share the unit, finish at the same time, and
then leave it idle together while they work on what it gave them. In turns, one's
products run while the others do the rest. Each member has a barrier on which it waits
for the one before: 128 threads wait and 128 arrive (PTX ISA, "bar.arrive"). The order
is that of "FlashAttention-3" (Shah et al., 2024), section 3.1.
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit.blocks import Member
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.core.frozen import frozen

#: Barriers of a block, of which the groups of four warps use the first ones.
MOST_BARRIERS = 16


@frozen
class Turns:
    """The barriers of a role's members, from number ``first`` on."""

    builder: Builder
    member: Member
    threads: int
    first: int

    def __post_init__(self) -> None:
        assert self.first + self.member.count <= MOST_BARRIERS, "too many groups"

    def begin(self) -> None:
        """The last member hands the first turn to the first one."""
        is_last = self.builder.assign(
            "pred", "setp.eq.u32", f"{self.member.index}, {self.member.count - 1}"
        )
        self._arrive(str(self.first), f"@{is_last} ")

    def take(self) -> None:
        """Wait for this member's turn."""
        barrier = self.builder.assign(
            "b32", "add.u32", f"{self.member.index}, {self.first}"
        )
        self.builder.line(f"bar.sync {barrier}, {2 * self.threads}")

    def hand_on(self) -> None:
        """It is the next member's turn."""
        assign, last = self.builder.assign, self.member.count - 1
        is_last = assign("pred", "setp.eq.u32", f"{self.member.index}, {last}")
        after = assign("b32", "add.u32", f"{self.member.index}, {self.first + 1}")
        barrier = assign("b32", "selp.b32", f"{self.first}, {after}, {is_last}")
        self._arrive(barrier)

    def _arrive(self, barrier: str, condition: str = "") -> None:
        self.builder.line(f"{condition}bar.arrive {barrier}, {2 * self.threads}")
