"""The unit that fusion works on: nodes that one kernel will compute."""

from __future__ import annotations

from dataclasses import dataclass, field

from tetragrad.graph.node import Node


@dataclass
class Group:
    """Nodes that one kernel computes, and why they are together."""

    roots: list[Node]
    reasons: list[str] = field(default_factory=list)
