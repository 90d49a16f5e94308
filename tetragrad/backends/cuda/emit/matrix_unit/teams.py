"""Teams: groups of a role's warps that fill one slot each, side by side.

    steps      0  1  2  3  4  5
    team 0     a-----  b-----
    team 1        a-----  b-----          a loads and stores, b the next slot
    team 2           a-----  b-----

A step is mostly waiting, first for a free slot, then for memory. All threads of a role
could wait for the same step; teams wait for several at once, and a thread of a team
has more loads under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tetragrad.backends.cuda.emit.blocks import Member
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.tile.ir import Acquire, Statement


def is_step(body: Sequence[Statement]) -> bool:
    """Whether a body fills a slot, and is not about several of them."""
    return any(isinstance(statement, Acquire) for statement in body)


class Teams:
    """How many slots are left to others before this team's next one."""

    def __init__(self, builder: Builder, team: Member) -> None:
        self.builder = builder
        self.count = team.count
        self.left = builder.assign("b32", "mov.b32", team.index)

    @contextmanager
    def step(self) -> Iterator[None]:
        """What only the team does whose slot it is."""
        line = self.builder.line
        mine = self.builder.register("pred")
        line(f"setp.eq.u32 {mine}, {self.left}, 0")
        with self.builder.only_if(mine):
            yield
        line(f"setp.eq.u32 {mine}, {self.left}, 0")
        line(f"sub.u32 {self.left}, {self.left}, 1")
        line(f"@{mine} mov.b32 {self.left}, {self.count - 1}")
