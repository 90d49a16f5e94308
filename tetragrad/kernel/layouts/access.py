"""How a kernel walks through each of its buffers: what a layout is chosen by.

Addresses are forms over loop axes. Which axes move along which dimension of a stored
node follows from how far a step takes: one row further, or one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.node import size_of
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Load,
    Reduction,
    Select,
    walk,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.layouts.orders import strides

#: A dimension's part, such as a head, that boxes could be cut from like a dimension.
SHORTEST_PART = 16


@frozen
class Access:
    """How far a step of each axis moves in one buffer, while it is row-major.

    ``guarded`` are axes that a guard limits: what they move along is padded. Of an
    ``odd`` buffer no such thing can be said: several loads walk differently, or an
    address is no form over axes alone.
    """

    slot: int
    steps: dict[int, int]
    guarded: frozenset[int]
    is_operand: bool
    is_stored: bool
    is_odd: bool


@frozen
class Walk:
    """An access to a node of known shape: the axes that move along each dimension.

    ``inner`` is the one that would go from neighbour to neighbour if the dimension were
    innermost in memory, or None.
    """

    access: Access
    movers: tuple[tuple[int, ...], ...]
    inner: tuple[int | None, ...]


@frozen
class Accesses:
    """Everything that a kernel reads and writes, by slot."""

    by_slot: dict[int, Access]
    has_product: bool
    #: Axes along which every buffer's elements are as far apart as they can be.
    outermost: frozenset[int]


def accesses_of(kernel: Kernel) -> Accesses:
    """How a kernel walks through its buffers."""
    operands = _operand_slots(kernel)
    found: dict[int, Access] = {}
    for slot, form, guard, is_stored in _addresses(kernel):
        steps = {atom: abs(part) for atom, part in form.terms if isinstance(atom, int)}
        known = found.get(slot)
        is_odd = not form.is_pure() or (known is not None and known.steps != steps)
        limited = frozenset(axis for entry in guard for axis in entry.axes())
        found[slot] = Access(
            slot,
            steps,
            limited if known is None else known.guarded | limited,
            slot in operands,
            is_stored,
            is_odd or (known is not None and known.is_odd),
        )
    return Accesses(found, bool(operands), _outermost(found.values()))


def _addresses(
    kernel: Kernel,
) -> Iterator[tuple[int, Affine, Sequence[Affine], bool]]:
    for entry in walk(*(output.value for output in kernel.outputs)):
        if isinstance(entry, Load):
            yield entry.slot, entry.address, entry.guard, False
    for output in kernel.outputs:
        yield output.slot, output.address, output.guard, True


def _outermost(accesses: Iterable[Access]) -> frozenset[int]:
    """Axes whose steps are the longest wherever they and others move."""
    longest: set[int] = set()
    others: set[int] = set()
    for access in accesses:
        if len(access.steps) < 2:
            continue
        first = max(access.steps, key=lambda axis: access.steps[axis])
        longest.add(first)
        others |= access.steps.keys() - {first}
    return frozenset(longest - others)


# --- products -------------------------------------------------------------------------


def _operand_slots(kernel: Kernel) -> set[int]:
    """What sums of products read, each element many times."""
    found: set[int] = set()
    for reduction in kernel.reductions:
        sides = _sides(reduction.body) if reduction.op is Sum else None
        if sides is None:
            continue
        loads = [_loads(side) for side in sides]
        axes = [{axis for load in side for axis in load.free_axes} for side in loads]
        own = [axes[0] - axes[1], axes[1] - axes[0]]
        if all(size_of(kernel.axes[axis] for axis in part) > 1 for part in own):
            found |= {load.slot for side in loads for load in side}
    return found


def _sides(body: Expression) -> tuple[Expression, Expression] | None:
    """The two factors of a product, whatever stands around it."""
    while isinstance(body, Select) or _is_cast(body):
        body = body.operands[0]
    if isinstance(body, Compute) and body.op is ops.Mul:
        lhs, rhs = body.inputs
        return lhs, rhs
    return None


def _is_cast(body: Expression) -> bool:
    return isinstance(body, Compute) and body.op is ops.Cast


def _loads(side: Expression) -> list[Load]:
    """The loads of a factor that is no reduction itself."""
    entries = walk(side)
    if any(isinstance(entry, Reduction) for entry in entries):
        return []
    return [entry for entry in entries if isinstance(entry, Load)]


# --- dimensions -----------------------------------------------------------------------


def walk_through(kernel: Kernel, access: Access, shape: Sequence[int]) -> Walk:
    """Which axes move along which dimension of a node that is row-major."""
    distance = strides(shape, tuple(range(len(shape))))
    dims = [dim for dim, size in enumerate(shape) if size > 1]
    movers: list[list[int]] = [[] for _ in shape]
    for axis, step in access.steps.items():
        reach = step * kernel.axes[axis]
        own = max((d for d in dims if distance[d] <= step), key=distance.__getitem__)
        for dim in dims:
            if dim == own or step < distance[dim] < reach:
                movers[dim].append(axis)
    inner = [
        _innermost(kernel, access, axes, distance[dim])
        for dim, axes in enumerate(movers)
    ]
    return Walk(access, tuple(map(tuple, movers)), tuple(inner))


def _innermost(
    kernel: Kernel, access: Access, axes: Sequence[int], distance: int
) -> int | None:
    """The axis that goes from neighbour to neighbour, if that is all it does.

    Others may move along the same dimension in steps of that axis's whole length, as
    from head to head; not as from window to window.
    """
    if not axes:
        return None
    first, *others = sorted(axes, key=access.steps.__getitem__)
    if access.steps[first] != distance:
        return None
    length = kernel.axes[first]
    if others and length < SHORTEST_PART:
        return None
    reach = distance * length
    for axis in others:
        if access.steps[axis] != reach:
            return None
        reach *= kernel.axes[axis]
    return first
