"""Lower every group of a graph, and groups that repeat one another only once.

The layers of a network are equal but for their weights. Two groups with the same
*pattern* have the same kernel; only which nodes fill its slots differs, and that is
read off by position. Patterns are remembered from graph to graph, too: the second step
of a training differs from the first in its optimiser's state only. Must run after
fusion, which makes the groups.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.graph.extents import NO_EXTENTS, Extents, sizes_in
from tetragrad.graph.leaves import Buffer, is_given_at_launch, launch_signature
from tetragrad.graph.node import Node, walk
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.layouts.orders import ROW_MAJOR, Layouts
from tetragrad.kernel.lowering import Lowered, lower

#: Patterns that are remembered; all are forgotten when there are more.
MAXIMUM_TEMPLATES = 2048


def lower_groups(
    groups: Sequence[Group],
    extents: Extents = NO_EXTENTS,
    layouts: Layouts = ROW_MAJOR,
    plain: Sequence[Lowered] = (),
) -> list[Lowered]:
    """The kernel of each group, with the nodes that are its arguments.

    With the ``plain`` kernels of all groups, those that no layout concerns stay.
    """
    in_memory = {root for group in groups for root in group.roots}
    lowered = []
    for place, group in enumerate(groups):
        if plain and layouts.keys().isdisjoint(plain[place].nodes):
            lowered.append(plain[place])
            continue
        lowered.append(lower_group(group, in_memory, extents, layouts))
    return lowered


def lower_group(
    group: Group,
    in_memory: Set[Node],
    extents: Extents = NO_EXTENTS,
    layouts: Layouts = ROW_MAJOR,
) -> Lowered:
    """One group's kernel: lowered now, or taken from a group with its pattern."""
    pattern = pattern_of(group, in_memory, extents, layouts)
    template = _templates.get(pattern.key)
    if template is not None:
        return template.filled(group, pattern)
    made = lower(group.roots, in_memory, extents, layouts)
    if len(_templates) >= MAXIMUM_TEMPLATES:
        _templates.clear()
    _templates[pattern.key] = _Template.of(made, pattern)
    return made


@frozen(slots=True)
class Pattern:
    """What a group computes but not on what: ``nodes`` fill its open places."""

    key: tuple[Any, ...]
    nodes: tuple[Node, ...]


@frozen(slots=True)
class _Template:
    """A kernel whose inputs and scalars are positions in a pattern's nodes."""

    kernel: Kernel
    inputs: tuple[int, ...]
    scalars: tuple[int, ...]
    offsets: tuple[int, ...]

    @classmethod
    def of(cls, lowered: Lowered, pattern: Pattern) -> _Template:
        place = {node: position for position, node in enumerate(pattern.nodes)}
        inputs = tuple(place[node] for node in lowered.inputs)
        scalars = tuple(place[node] for node in lowered.scalars)
        return cls(lowered.kernel, inputs, scalars, lowered.offsets)

    def filled(self, group: Group, pattern: Pattern) -> Lowered:
        """The same kernel on another group's nodes."""
        scalars = [pattern.nodes[position] for position in self.scalars]
        return Lowered(
            self.kernel,
            tuple(pattern.nodes[position] for position in self.inputs),
            tuple(group.roots),
            tuple(node for node in scalars if is_given_at_launch(node)),
            self.offsets,
        )


#: Kernels by pattern. A pattern holds no node, so it keeps no value alive.
_templates: dict[tuple[Any, ...], _Template] = {}


def pattern_of(
    group: Group,
    in_memory: Set[Node],
    extents: Extents = NO_EXTENTS,
    layouts: Layouts = ROW_MAJOR,
) -> Pattern:
    """Describe the nodes from the roots down to what is in memory."""
    roots = set(group.roots)
    number: dict[Node, int] = {}
    parts: list[Any] = []
    open_nodes: list[Node] = []

    def is_loaded(node: Node) -> bool:
        return isinstance(node, Buffer) or (node in in_memory and node not in roots)

    needed = {root: extents[root] for root in group.roots if root in extents}
    for node in walk([*group.roots, *sizes_in(needed)], stop=is_loaded):
        number[node] = len(number)
        if is_loaded(node):
            open_nodes.append(node)
            parts.append((node.shape, node.dtype, layouts.get(node)))
        elif is_given_at_launch(node):
            open_nodes.append(node)
            parts.append(launch_signature(node))
        else:
            arguments = (
                number[entry] if isinstance(entry, Node) else entry
                for entry in node.arguments
            )
            parts.append((type(node), *arguments))
    parts.append(tuple((number[root], layouts.get(root)) for root in group.roots))
    for root, ends in needed.items():
        parts.append((number[root], tuple((dim, number[size]) for dim, size in ends)))
    return Pattern(tuple(parts), tuple(open_nodes))
