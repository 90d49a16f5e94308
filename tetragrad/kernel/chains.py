"""Kernels that hand rows to one another, as one kernel.

    t[e, r] = f(x[r, e]);  u[e, r] = g(t[e, r], t[e ^ 1, r]);  y[r, e] = h(u[e, r])

Each row goes its own way through all three, so a block that has computed a row of ``t``
can go on with it: what is between the first and the last kernel stays in shared memory,
and the passes of a sort are one launch that reads and writes each element once.

Before: lowered kernels in an order that can run. After: runs of kernels that hand on
what is to be kept (:class:`tetragrad.graph.movement.Kept`) are replaced by one, whose
outputs come in the same order and whose inner slots hold what was between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph.movement import Kept
from tetragrad.graph.node import Node
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, Reduction, Scan, walk
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.ir import Inner, Kernel, Mode, Output, Slot
from tetragrad.kernel.lowering import Lowered
from tetragrad.kernel.substitution import renumber, substitute

#: Elements that leave most of a GPU idle anyway.
FEW = 1 << 12
#: The shortest row that is worth a place of its own.
SHORTEST_ROW = 32


def join_chains(
    groups: Sequence[Group],
    kernels: Sequence[Lowered],
    seen: Set[Node],
    target: Target,
) -> tuple[list[Group], list[Lowered]]:
    """Groups and kernels with chains joined; what is ``seen`` stays in memory."""
    if not target.has_free_iterations:
        return list(groups), list(kernels)
    readers = _readers(kernels)
    joined_groups: list[Group] = []
    joined: list[Lowered] = []
    place = 0
    while place < len(kernels):
        chain = _longest(kernels, place, readers, seen, target)
        count = 1 if chain is None else len(chain.members)
        lowered = kernels[place] if chain is None else chain.lowered()
        joined.append(lowered)
        joined_groups.append(_group_of(groups[place : place + count]))
        place += count
    return joined_groups, joined


def _group_of(groups: Sequence[Group]) -> Group:
    if len(groups) == 1:
        return groups[0]
    reason = f"chain: {len(groups)} kernels whose rows stay in shared memory"
    return Group(groups[-1].roots, [*groups[-1].reasons, reason])


def _readers(kernels: Sequence[Lowered]) -> dict[Node, list[int]]:
    """The numbers of the kernels that read each node."""
    found: dict[Node, list[int]] = {}
    for number, lowered in enumerate(kernels):
        for node in dict.fromkeys(lowered.inputs):
            found.setdefault(node, []).append(number)
    return found


def _longest(
    kernels: Sequence[Lowered],
    start: int,
    readers: dict[Node, list[int]],
    seen: Set[Node],
    target: Target,
) -> _Chain | None:
    """The longest chain that begins with a kernel, if there is one."""
    if not _may_join(kernels[start]):
        return None
    members = [kernels[start]]
    for number in range(start + 1, len(kernels)):
        handed = members[-1].outputs[0]
        if readers.get(handed) != [number] or handed in seen:
            break
        if not isinstance(handed, Kept):
            break
        if not _may_join(kernels[number]):
            break
        members.append(kernels[number])
    while len(members) > 1:
        chain = _chain_of(members, target)
        if chain is not None:
            return chain
        members.pop()
    return None


def _may_join(lowered: Lowered) -> bool:
    """Whether each element is computed by itself and stored once."""
    if len(lowered.outputs) != 1 or len(lowered.kernel.outputs) != 1:
        return False
    (output,) = lowered.kernel.outputs
    if output.mode is not Mode.STORE or output.guard:
        return False
    forms = [atom for atom, _ in output.address.terms]
    return all(isinstance(atom, int) for atom in forms) and not any(
        isinstance(entry, Reduction | Scan) for entry in walk(output.value)
    )


def _chain_of(members: Sequence[Lowered], target: Target) -> _Chain | None:
    """The members as a chain, if their rows fit and need not one another."""
    handed = [member.outputs[0] for member in members[:-1]]
    if len({node.numel for node in handed}) > 1 or not all(
        offset == 0
        for member in members
        for node, offset, _ in _inputs(member)
        if node in handed
    ):
        return None
    itemsize = max(node.dtype.itemsize for node in handed)
    most = target.chained_bytes // itemsize
    numel = handed[0].numel
    for step, rows in _divisions(members[0].kernel):
        # Two kernels that fill a GPU are better than one that does not.
        is_worth_it = len(members) > 2 or rows >= target.units or numel <= FEW
        if is_worth_it and SHORTEST_ROW <= numel // rows <= most:
            chain = _Chain(tuple(members), rows, step)
            if all(map(chain.keeps_rows, members)):
                return chain
    return None


def _divisions(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Ways in which what is stored consists of rows, many first: step and number."""
    (output,) = kernel.outputs
    found = [
        (output.address.coefficient(axis), kernel.axes[axis]) for axis in output.axes
    ]
    yield from sorted(found, key=lambda entry: -entry[1])
    yield 1, 1


def row_axis(address: Affine, sizes: Sequence[int], rows: int, step: int) -> int | None:
    """The axis along which an address goes from row to row; None if none does so."""
    for axis, part in address.terms:
        if part == step and isinstance(axis, int) and sizes[axis] == rows:
            others = Affine(address.constant, address.terms) - axis_form(axis).scale(
                step
            )
            inside = [
                (atom, factor)
                for atom, factor in others.terms
                if factor % (step * rows)
            ]
            start = others.constant % (step * rows)
            low, high = Affine(start, tuple(inside)).range(sizes)
            return axis if low >= 0 and high < step else None
    return None


@frozen
class _Chain:
    """Kernels of which each hands its result to the next one, row by row."""

    members: tuple[Lowered, ...]
    rows: int
    step: int

    def keeps_rows(self, member: Lowered) -> bool:
        """Whether a kernel reads and writes a row for each of its own."""
        kernel = member.kernel
        (output,) = kernel.outputs
        loads = self._loads(member)
        if any(load.guard or not load.address.is_pure() for load in loads):
            return False
        if self.rows == 1:
            return True
        forms = [load.address for load in loads]
        if member is not self.members[-1]:
            forms.append(output.address)
        axes = {row_axis(form, kernel.axes, self.rows, self.step) for form in forms}
        return len(axes) == 1 and None not in axes

    def _loads(self, member: Lowered) -> list[Expression]:
        """Where a kernel reads what the one before has left."""
        if member is self.members[0]:
            return []
        before = self.members[self.members.index(member) - 1].outputs[0]
        slot = member.inputs.index(before)
        (output,) = member.kernel.outputs
        return [
            entry
            for entry in walk(output.value)
            if isinstance(entry, Load) and entry.slot == slot
        ]

    def lowered(self) -> Lowered:
        """The chain as one kernel, with what its arguments are."""
        handed = [member.outputs[0] for member in self.members[:-1]]
        inputs: dict[tuple[Node, int], Slot] = {}
        for member in self.members:
            for node, offset, slot in _inputs(member):
                if node not in handed:
                    known = inputs.get((node, offset), slot)
                    inputs[node, offset] = max(known, slot, key=lambda e: e.numel)
        last = self.members[-1]
        slots = (*inputs.values(), last.kernel.slots[-1])
        numbers = {key: number for number, key in enumerate(inputs)}
        numbers |= {(node, 0): len(slots) + place for place, node in enumerate(handed)}
        numbers[last.outputs[0], 0] = len(slots) - 1
        axes: tuple[int, ...] = ()
        scalars = tuple(
            dict.fromkeys(value for member in self.members for value in member.scalars)
        )
        outputs = []
        for member in self.members:
            places = [numbers[node, offset] for node, offset, _ in _inputs(member)]
            places.append(numbers[member.outputs[0], 0])
            given = [scalars.index(value) for value in member.scalars]
            outputs.append(_renumbered(member.kernel, len(axes), places, given))
            axes += member.kernel.axes
        inner = tuple(
            Inner(Slot(node.dtype, node.numel), self.rows, self.step) for node in handed
        )
        dtypes = tuple(value.dtype for value in scalars)
        return Lowered(
            Kernel(axes, slots, dtypes, tuple(outputs), inner),
            tuple(node for node, _ in inputs),
            last.outputs,
            scalars,
            tuple(offset for _, offset in inputs),
        )


def _inputs(member: Lowered) -> Iterator[tuple[Node, int, Slot]]:
    """The inputs of a kernel, from which element on it sees them, and their slots."""
    slots = member.kernel.slots[: len(member.inputs)]
    yield from zip(member.inputs, member.offsets, slots, strict=True)


def _renumbered(
    kernel: Kernel, first_axis: int, slots: Sequence[int], scalars: Sequence[int]
) -> Output:
    """The kernel's output with other numbers for axes, slots and scalars."""
    (output,) = kernel.outputs
    forms = {axis: axis_form(axis + first_axis) for axis in range(len(kernel.axes))}
    sizes = (0,) * first_axis + kernel.axes
    value = substitute(output.value, forms, sizes)
    return replace(
        output,
        slot=slots[output.slot],
        address=output.address.substitute(forms),
        value=renumber(value, slots, scalars),
        axes=tuple(axis + first_axis for axis in output.axes),
    )
