"""From kernels to a schedule: which memory each argument of each launch is.

Results get buffers of their own; everything else that a kernel writes is temporary
and shares one arena. Must run after fusion has put the kernels in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.backends.backend import Executable
from tetragrad.engine.joining import Joined
from tetragrad.engine.schedule import Argument, Launch, Result, Schedule, Source
from tetragrad.engine.structure import Structure, results_of
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.lowering import Lowered
from tetragrad.kernel.memory import Lifetime, plan_arena
from tetragrad.kernel.naming import kernel_name
from tetragrad.tile.plans.pieces import PIECE


def place(
    kernels: Sequence[Lowered | Joined],
    groups: Sequence[Group],
    programs: Sequence[Executable],
    outputs: Sequence[Node],
    structure: Structure,
) -> Schedule:
    """The schedule for kernels that are already in order."""
    stored = {node for lowered in kernels for node in lowered.outputs}
    kept = [i for i, node in enumerate(structure.held) if node in stored]
    results = results_of(outputs) + [structure.held[i] for i in kept]
    arguments: dict[Node, Argument] = {
        node: Argument(Source.LEAF, i) for i, node in enumerate(structure.buffers)
    }
    arguments |= {node: Argument(Source.OUTPUT, i) for i, node in enumerate(results)}
    temporaries, arena_bytes = _arena(kernels, arguments)
    arguments |= temporaries
    constants = {node: i for i, node in enumerate(structure.constants)}
    names = {kernel: kernel_name(kernel) for kernel in {k.kernel for k in kernels}}
    launches = tuple(
        Launch(
            names[lowered.kernel],
            lowered.kernel,
            program,
            _arguments_of(lowered, arguments),
            tuple(constants[node] for node in lowered.scalars),
            tuple(group.reasons),
            _repeats(lowered),
        )
        for lowered, group, program in zip(kernels, groups, programs, strict=True)
    )
    shapes = tuple(Result(node.shape, node.dtype) for node in results)
    return Schedule(launches, shapes, tuple(kept), arena_bytes)


def _repeats(lowered: Lowered | Joined) -> float:
    """How often a launch does the work of its kernel."""
    return sum(lowered.counts) / PIECE if isinstance(lowered, Joined) else 1.0


def _arguments_of(
    lowered: Lowered | Joined, places: dict[Node, Argument]
) -> tuple[Argument, ...]:
    if isinstance(lowered, Joined):
        each = (_arguments_of(member, places) for member in lowered.members)
        return tuple(argument for arguments in each for argument in arguments)
    inputs = tuple(
        replace(places[node], offset=offset * node.dtype.itemsize)
        for node, offset in zip(lowered.inputs, lowered.offsets, strict=True)
    )
    return (*inputs, *(places[node] for node in lowered.outputs))


def _arena(
    kernels: Sequence[Lowered | Joined], known: dict[Node, Argument]
) -> tuple[dict[Node, Argument], int]:
    """Offsets for what is written by one launch and only read by later ones."""
    first: dict[Node, int] = {}
    last: dict[Node, int] = {}
    for position, lowered in enumerate(kernels):
        for node in (*lowered.inputs, *lowered.outputs):
            if node not in known:
                first.setdefault(node, position)
                last[node] = position
    nodes = list(first)
    lifetimes = [
        Lifetime(node.numel * node.dtype.itemsize, first[node], last[node])
        for node in nodes
    ]
    offsets, arena_bytes = plan_arena(lifetimes)
    arguments = {
        node: Argument(Source.ARENA, offset)
        for node, offset in zip(nodes, offsets, strict=True)
    }
    return arguments, arena_bytes
