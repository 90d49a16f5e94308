"""The inline join: is a value computed again by each reader, or stored once?"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.decisions import FEW_BYTES, Decisions, bytes_of

#: A value of more operations an element than this is not computed twice. Along a
#: recurrence each step's kernel would hold the steps before it, and none of them
#: would be equal.
MAXIMUM_RECOMPUTED_WORK = 100.0
#: What more kernels than this read is stored if it takes more operations.
FEW_READERS = 8
LITTLE_WORK = 4.0
#: Operations that take no longer than reading their result would.
WORK_OF_A_LOAD = 8.0
#: The operations on whole vectors that a processor begins until one of them is done.
LATENCY = 8
#: Steps from a value to the product that reads it, at most.
LONGEST_WAY = 8


def storing_pays(decisions: Decisions, node: Node) -> bool:
    """Compare computing the node in each reader with storing it once."""
    times = sum(decisions.readers[node].values())
    if times <= 1.0 or _is_at_hand(decisions, node):
        return False
    kernels = len(decisions.readers[node])
    if decisions.work[node] > _maximum_work(decisions, node, kernels):
        return True
    target = decisions.target
    elements = max(node.numel, _elements_at_once(decisions))
    compute = decisions.work[node] * elements / target.arithmetic_rate
    read = sum(
        min(size, node.numel * 8.0) for size in decisions.reads[node].values()
    ) / _bandwidth(decisions, node)
    own = bytes_of(node) / _bandwidth(decisions, node)
    inline = times * max(compute, read)
    if target.chunk_bytes:
        # The copy engine brings what is in memory: each product would store it.
        again = 2.0 * own + target.launch_seconds
        inline += again * _products_of(decisions, node)
    stored = max(compute, read) + own + kernels * own + target.launch_seconds
    return stored < inline


def _is_at_hand(decisions: Decisions, node: Node) -> bool:
    """Whether a value is made of next to nothing, as quickly as it could be read.

    Such as the places that an index means, which tell how little an update changes.
    """
    reads = sum(decisions.reads[node].values())
    return decisions.work[node] <= WORK_OF_A_LOAD and reads <= FEW_BYTES


def _maximum_work(decisions: Decisions, node: Node, kernels: int) -> float:
    """The most operations that so many kernels may each do again."""
    is_light = node.numel == 1 or not decisions.reads[node] or kernels <= FEW_READERS
    return MAXIMUM_RECOMPUTED_WORK if is_light else LITTLE_WORK


def _elements_at_once(decisions: Decisions) -> int:
    """How many elements take no longer than one, which others wait for."""
    target = decisions.target
    if target.has_free_iterations:
        return 1
    return LATENCY * target.units * target.vector_lanes(4)


def _products_of(decisions: Decisions, node: Node) -> int:
    """How many products have an operand that is made from the node inline."""
    products: set[Node] = set()
    nodes = {node}
    for _ in range(LONGEST_WAY):
        users = {user for entry in nodes for user in decisions.facts.users[entry]}
        products |= users & decisions.facts.contractions
        nodes = {
            user
            for user in users - decisions.in_memory
            if isinstance(user, ops.Elementwise | moves.Movement)
        }
    return len(products)


def _bandwidth(decisions: Decisions, node: Node) -> float:
    """Small values stay in the cache between kernels."""
    fits = bytes_of(node) <= decisions.target.cache_bytes // 2
    return decisions.target.memory_bandwidth * (4.0 if fits else 1.0)
