"""Make one launch of kernels that differ in their sizes only.

The step of an optimiser over a hundred parameters is one launch of one small kernel,
which is compiled once, whatever shapes the parameters have
([decision 10](../../docs/decisions/0010-pieces.md)). Must run after lowering and before
memory is planned, as it moves kernels next to one another.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.engine.assembly import executables
from tetragrad.graph.leaves import LaunchValue
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.joined import join_equal
from tetragrad.kernel.lowering import Lowered
from tetragrad.tile.plans.pieces import PIECE, Piece, piece_of


@frozen
class Joined:
    """Kernels with one piece, and how many elements each computes."""

    piece: Piece
    members: tuple[Lowered, ...]
    counts: tuple[int, ...]

    @property
    def kernel(self) -> Kernel:
        """What most of the launch consists of."""
        return self.piece.whole

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for member in self.members for node in member.inputs)

    @property
    def outputs(self) -> tuple[Node, ...]:
        return tuple(node for member in self.members for node in member.outputs)

    @property
    def scalars(self) -> tuple[LaunchValue, ...]:
        return tuple(value for member in self.members for value in member.scalars)


def programs_of(
    launches: Sequence[Lowered | Joined], device: Device, settings: Settings
) -> list[Executable]:
    """What each launch runs."""
    kernels = [
        kernel
        for entry in launches
        for kernel in (
            (entry.piece.whole, entry.piece.rest)
            if isinstance(entry, Joined)
            else (entry.kernel,)
        )
    ]
    programs = executables(kernels, device, settings)
    found = dict(zip(kernels, programs, strict=True))
    return [
        device.over_pieces(
            found[entry.piece.whole],
            found[entry.piece.rest],
            entry.piece.steps,
            entry.counts,
            PIECE,
        )
        if isinstance(entry, Joined)
        else found[entry.kernel]
        for entry in launches
    ]


def join(
    groups: Sequence[Group],
    kernels: Sequence[Lowered],
    device: Device,
    settings: Settings,
) -> tuple[list[Group], list[Lowered | Joined]]:
    """Groups and kernels with one of each for every launch, in order."""
    if not (settings.fuse and device.target.joins_pieces):
        return list(groups), list(kernels)
    joined_groups: list[Group] = []
    joined: list[Lowered | Joined] = []
    for batch in join_equal(groups, kernels, _piece_key):
        if len(batch) == 1:
            ((group, lowered),) = batch
            joined_groups.append(group)
            joined.append(lowered)
        else:
            joined_groups.append(_group_of([group for group, _ in batch]))
            joined.append(_joined([lowered for _, lowered in batch]))
    return joined_groups, joined


def _piece_key(lowered: Lowered) -> Piece | None:
    found = piece_of(lowered.kernel)
    return None if found is None else found[0]


def _joined(members: Sequence[Lowered]) -> Joined:
    found = [piece_of(member.kernel) for member in members]
    pieces = [entry for entry in found if entry is not None]
    counts = tuple(count for _, count in pieces)
    return Joined(pieces[0][0], tuple(members), counts)


def _group_of(groups: Sequence[Group]) -> Group:
    """All roots, and the reasons of the first, which are like the others'."""
    reason = f"pieces: {len(groups)} kernels that differ in their sizes only"
    roots = [root for group in groups for root in group.roots]
    return Group(roots, [*groups[0].reasons, reason])
