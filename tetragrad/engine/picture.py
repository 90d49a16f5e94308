"""A picture of which nodes share which kernel, as a DOT file (``GRAPH=1``).

Every kernel is a frame with its name and the reasons for its joins. A node that
several kernels compute stands in each of them. To stay readable with hundreds of
nodes, constants are written into the ops that use them, and movement is a small
label between ops. ``dot -Tsvg file.dot`` draws it.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from tetragrad.graph.leaves import Buffer, Constant
from tetragrad.graph.movement import Movement, constant_of
from tetragrad.graph.node import Node, walk
from tetragrad.graph.reduce import Reduce
from tetragrad.graph.text import type_text
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.lowering import Lowered
from tetragrad.kernel.naming import kernel_name

_numbers = itertools.count(1)


def draw(groups: Sequence[Group], kernels: Sequence[Lowered]) -> Path:
    """Write the picture of one schedule; its path is printed."""
    name = f"tetragrad-{os.getpid()}-{next(_numbers)}.dot"
    path = Path(tempfile.gettempdir()) / name
    path.write_text(dot_text(groups, kernels), encoding="utf-8")
    print(f"graph of {len(groups)} kernels: {path}", file=sys.stderr)
    return path


def dot_text(groups: Sequence[Group], kernels: Sequence[Lowered]) -> str:
    """The picture as text."""
    in_memory = {root for group in groups for root in group.roots}
    lines = [
        "digraph tetragrad {",
        '  node [shape=box, style=filled, fillcolor=white, fontname="Helvetica"];',
        '  edge [fontname="Helvetica", fontsize=9];',
        "  compound=true; nodesep=0.2; ranksep=0.3;",
    ]
    for node in walk([root for group in groups for root in group.roots]):
        if isinstance(node, Buffer):
            label = type_text(node.dtype, node.shape)
            lines.append(f'  {_key(node)} [label="{label}", shape=cylinder];')
    for number, (group, lowered) in enumerate(zip(groups, kernels, strict=True)):
        lines += _cluster(number, group, lowered, in_memory)
    return "\n".join([*lines, "}", ""])


def _cluster(
    number: int, group: Group, lowered: Lowered, in_memory: Set[Node]
) -> Iterator[str]:
    """One kernel: a frame around its nodes, then the edges into them."""
    others = in_memory - set(group.roots)

    def ends_here(node: Node) -> bool:
        return node in others or isinstance(node, Buffer) or _is_constant(node)

    inside = [node for node in walk(group.roots, stop=ends_here) if not ends_here(node)]
    title = "\\n".join([kernel_name(lowered.kernel), *group.reasons])
    yield f"  subgraph cluster_{number} {{"
    yield f'    label="{_quoted(title)}"; style="rounded,filled"; fillcolor="#eef3fb";'
    for node in inside:
        yield f"    {_key(node, number, in_memory)} [{_style(node, in_memory)}];"
    yield "  }"
    for node in inside:
        for source in node.sources:
            if not _is_constant(source):
                start = _key(source, number, in_memory)
                yield f"  {start} -> {_key(node, number, in_memory)};"


def _key(node: Node, kernel: int = 0, in_memory: Set[Node] = frozenset()) -> str:
    """A value in memory is one node of the picture, an inline one is one a kernel."""
    shared = isinstance(node, Buffer) or node in in_memory
    return f"n{id(node):x}" if shared else f"n{id(node):x}_{kernel}"


def _style(node: Node, in_memory: Set[Node]) -> str:
    label = _quoted(_label(node))
    if node in in_memory:
        return f'label="{label}", fillcolor="#ffe9b0", penwidth=2'
    if isinstance(node, Movement):
        return f'label="{label}", shape=plaintext, fillcolor="none", fontsize=9'
    if isinstance(node, Reduce):
        return f'label="{label}", fillcolor="#d9f2d9"'
    return f'label="{label}"'


def _label(node: Node) -> str:
    """``Mul 0.5`` and, where something is stored, its type."""
    name = type(node).__name__
    if isinstance(node, Movement):
        return f"{name} {'x'.join(map(str, node.shape))}"
    if isinstance(node, Reduce):
        name += f" over {', '.join(str(node.source.shape[dim]) for dim in node.dims)}"
    constants = [constant_of(source) for source in node.sources]
    values = [f"{value.value:.4g}" for value in constants if value is not None]
    return "\n".join([" ".join([name, *values]), type_text(node.dtype, node.shape)])


def _is_constant(node: Node) -> bool:
    return isinstance(node, Constant) or constant_of(node) is not None


def _quoted(text: str) -> str:
    return text.replace('"', "'").replace("\n", "\\n")
