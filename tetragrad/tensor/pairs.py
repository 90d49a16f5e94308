"""Complex numbers as pairs of real ones, along the last dimension of a node.

A graph holds real numbers only. A complex tensor of shape (2, 3) is a handle on a real
node of shape (2, 3, 2); so its gradient needs no rules of its own, and is PyTorch's:
the derivative for the real part plus i times that for the imaginary part.

``FORMS`` says which function of pairs stands for a function of real nodes; the
formulas are in ``complex_functions.py`` and ``complex_angles.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import Iota, constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape


@frozen(slots=True)
class Pair:
    """The real and the imaginary parts: two nodes of one shape and dtype."""

    real: Node
    imag: Node


def split(node: Node) -> Pair:
    """The parts of a node of pairs."""
    joined = _joined_from(node)
    return Pair(_part(node, 0), _part(node, 1)) if joined is None else joined


def _part(node: Node, place: int) -> Node:
    shape = node.shape[:-1]
    bounds = (*((0, size) for size in shape), (place, place + 1))
    return graph.Reshape(graph.Shrink(node, bounds), shape)


def join(pair: Pair) -> Node:
    """A node of pairs, bit for bit; the opposite of ``split``."""
    shape = pair.real.shape
    zero = constant(0, pair.real.dtype)
    kept = ((0, 0),) * len(shape)
    real, imag = (graph.Reshape(part, (*shape, 1)) for part in (pair.real, pair.imag))
    return ops.Where(
        _is_real_place(shape),
        graph.Pad(real, (*kept, (0, 1)), zero),
        graph.Pad(imag, (*kept, (1, 0)), zero),
    )


def _is_real_place(shape: Shape) -> Node:
    place = Iota(2, dtypes.int64)
    is_first = ops.Eq(place, full_like(place, 0))
    return broadcast_to(graph.Reshape(is_first, (*(1 for _ in shape), 2)), (*shape, 2))


def _joined_from(node: Node) -> Pair | None:
    """The parts that a node was joined from, so that they are not cut out of it."""
    shape = node.shape[:-1]
    if not isinstance(node, ops.Where) or node.condition is not _is_real_place(shape):
        return None
    sides = (node.if_true, node.if_false)
    if not all(isinstance(side, graph.Pad) for side in sides):
        return None
    parts = [graph.Reshape(side.sources[0], shape) for side in sides]
    return Pair(*parts)


def is_joined(node: Node) -> bool:
    """Whether the parts of a node of pairs are there without being cut out of it."""
    return _joined_from(node) is not None


def conjugate_pairs(node: Node) -> Node:
    """a - ib for every pair of a node; in one pass, where parts would be three."""
    if is_joined(node):
        parts = split(node)
        return join(Pair(parts.real, ops.Neg(parts.imag)))
    return ops.Where(_is_real_place(node.shape[:-1]), node, ops.Neg(node))


def to_pairs(node: Node, dtype: DType) -> Node:
    """Pairs of a complex dtype, from real numbers."""
    real = ops.Cast(node, dtypes.part_dtype(dtype))
    return join(Pair(real, full_like(real, 0)))


def constant_pair(value: complex, dtype: DType) -> Node:
    """One complex number."""
    part = dtypes.part_dtype(dtype)
    return join(Pair(constant(value.real, part), constant(value.imag, part)))


def are_nonzero(node: Node) -> Node:
    """Where a pair is not 0 + 0i."""
    parts = split(node)
    is_true = [ops.Cast(part, dtypes.bool_) for part in (parts.real, parts.imag)]
    return ops.Or(*is_true)


def beside_pairs(movement: type[graph.Movement], arguments: Any, shape: Shape) -> Any:
    """The arguments of a movement of complex elements that keeps pairs together."""
    first, *rest = arguments
    if movement in (graph.Reshape, graph.Expand):
        return ((*first, 2),)
    if movement is graph.Permute:
        return ((*first, len(shape)),)
    if movement is graph.Shrink:
        return ((*first, (0, 2)),)
    if movement is graph.Stride:
        return ((*first, 1),)
    if movement in (graph.Flip, graph.Window):
        return (first, *rest)
    raise AssertionError(f"{movement.__name__} is not a view")


#: For a function of real nodes, the function of pairs with the same meaning: it takes
#: pairs and gives a pair, or a node where the result is real.
FORMS: dict[Callable[..., Any], Callable[..., Pair | Node]] = {}


def form_of(function: Callable[..., Any]) -> Callable[..., Pair | Node]:
    """The complex form of a function; raises if it has none."""
    if function not in FORMS:
        # Who uses real numbers only need not wait for the formulas.
        importlib.import_module("tetragrad.tensor.complex_angles")
    if function not in FORMS:
        name = function.__name__.lower().strip("_")
        raise UnsupportedError(
            f"{name} of complex numbers",
            hint="it is defined for real ones; take x.real, x.imag or x.abs()",
        )
    return FORMS[function]
