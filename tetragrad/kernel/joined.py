"""Several kernels with one text and different sizes, as one launch.

Before: kernels in order, and for each what it does to a piece of its buffers.
After: kernels with equal pieces stand together where the last of them stood, unless
something in between needs what one of them computes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.lowering import Lowered

#: What equal pieces have in common; None for a kernel that has no pieces.
KeyOf = Callable[[Lowered], Hashable | None]


@dataclass
class _Batch:
    """Kernels that wait for others of their kind."""

    members: list[tuple[Group, Lowered]] = field(default_factory=list)
    outputs: set[Node] = field(default_factory=set)


def join_equal(
    groups: Sequence[Group], kernels: Sequence[Lowered], key_of: KeyOf
) -> list[list[tuple[Group, Lowered]]]:
    """What each launch consists of, in an order that can run."""
    finished: list[list[tuple[Group, Lowered]]] = []
    waiting: dict[Hashable, _Batch] = {}
    for group, lowered in zip(groups, kernels, strict=True):
        needed = [
            key
            for key, batch in waiting.items()
            if not batch.outputs.isdisjoint(lowered.inputs)
        ]
        for key in needed:
            finished.append(waiting.pop(key).members)
        key = key_of(lowered)
        if key is None:
            finished.append([(group, lowered)])
            continue
        batch = waiting.setdefault(key, _Batch())
        batch.members.append((group, lowered))
        batch.outputs.update(lowered.outputs)
    return finished + [batch.members for batch in waiting.values()]
