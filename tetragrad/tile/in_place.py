"""Which outputs of a program may be written where one of its inputs lies.

An update ``p = p - rate * g`` needs no second buffer, as every element of ``p`` is
read before it is written, and by nobody else:

    Store(s3[64*i0 + i1] = s0[64*i0 + i1] - s1[0] * s2[64*i0 + i1])    s3 may be s0

The answer is read off the program, whichever plan made it. All pairs may be used at
once, as long as no input is used for two outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Guard, Load, atoms_of, walk
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Copy,
    Extent,
    Fold,
    For,
    Grid,
    Map,
    Program,
    Role,
    Running,
    Statement,
    Store,
    View,
    When,
)

#: An output's slot, and the slot of an input.
Pair = tuple[int, int]


def in_place_pairs(program: Program, *, by_threads: bool = False) -> tuple[Pair, ...]:
    """Outputs, each with an input whose memory it may have.

    Args:
        by_threads: the points of a statement are divided among the threads of a GPU,
            and those of a fold otherwise than those of a store, so a thread may still
            fold what another has already written.
    """
    alike = [
        (output, entry)
        for output in sorted(program.outputs)
        for entry, slot in enumerate(program.slots)
        if slot == program.slots[output] and entry not in program.outputs
    ]
    if not alike:
        return ()
    uses = list(_uses(program.body, (), ()))
    return tuple(
        (output, entry)
        for output, entry in alike
        if _may_share(
            [use for use in uses if use.slot == entry and use.store is None],
            [use for use in uses if use.slot == output and use.store is not None],
            by_threads=by_threads,
        )
    )


def _may_share(
    reads: Sequence[_Use], stores: Sequence[_Use], *, by_threads: bool
) -> bool:
    """Whether an input that is read so may lie where an output is stored to."""
    if not reads or (by_threads and any(use.is_folded for use in reads)):
        return False
    are_overtaken = all(_is_overtaken(use, stores) for use in reads)
    return are_overtaken and all(map(_writes_once, stores))


@frozen
class _Use:
    """A load or store: its address, and the number of its statement in which body."""

    slot: int
    address: Affine | None
    body: tuple[int, ...]
    position: int
    loops: tuple[Extent, ...]
    store: Store | None = None
    is_folded: bool = False


def _is_overtaken(load: _Use, stores: Sequence[_Use]) -> bool:
    """Whether what is loaded is stored to at the same point, and not earlier."""
    return any(
        store.address == load.address
        and store.body == load.body
        and store.position >= load.position
        for store in stores
    )


def _writes_once(use: _Use) -> bool:
    """Whether every point of all loops around it writes an element of its own."""
    assert use.store is not None and use.address is not None
    if use.store.mode is not Mode.STORE or not use.address.is_pure():
        return False
    extents = {axis: size for axis, size in use.loops if size > 1}
    if not extents.keys() <= use.address.axes():
        return False
    reach = 1
    # An axis of one position moves nothing.
    terms = [term for term in use.address.terms if term[0] in extents]
    for axis, step in sorted(terms, key=lambda term: term[1]):
        if step < reach:
            return False
        reach += step * (extents[axis] - 1)
    return True


def _uses(
    statements: Sequence[Statement], body: tuple[int, ...], loops: tuple[Extent, ...]
) -> Iterator[_Use]:
    """All loads and stores, with where they stand."""
    for position, statement in enumerate(statements):
        inner = (*body, position)
        match statement:
            case Grid():
                yield from _uses(statement.body, inner, loops + statement.axes)
            case Role():
                members = () if statement.members is None else (statement.members,)
                yield from _uses(statement.body, inner, loops + members)
            case For():
                around = (*loops, (statement.axis, statement.extent))
                yield from _uses(statement.body, inner, around)
            case When():
                for number, branch in enumerate((statement.body, statement.otherwise)):
                    held = _held_loops(loops, statement.guard, fails=bool(number))
                    yield from _uses(branch, (*inner, number), held)
            case Copy() if statement.source is None:
                # It may be on its way while later statements run.
                yield _Use(statement.slot, None, body, position, loops)
            case View() if isinstance(statement.source, int):
                # Later statements read it.
                yield _Use(statement.source, None, body, position, loops)
        is_folded = isinstance(statement, Fold | Running)
        for load in _loads(statement):
            place = (load.slot, load.address, body, position, loops)
            yield _Use(*place, is_folded=is_folded)
        if isinstance(statement, Store):
            around = loops + statement.axes
            address = statement.address
            yield _Use(statement.slot, address, body, position, around, statement)


def _held_loops(
    loops: tuple[Extent, ...], guard: Guard, *, fails: bool
) -> tuple[Extent, ...]:
    """Loops in a branch: a condition on one axis leaves fewer of its positions."""
    match guard:
        case (Affine(constant=last, terms=((int(limited), -1),)),):
            counts = {axis: min(extent, last + 1) for axis, extent in loops}
            return tuple(
                (axis, extent - counts[axis] if fails else counts[axis])
                if axis == limited
                else (axis, extent)
                for axis, extent in loops
            )
        case _:
            return loops


def _loads(statement: Statement) -> list[Load]:
    """The loads in a statement's values, addresses and conditions."""
    match statement:
        case Store():
            roots = [statement.value, *atoms_of((statement.address, *statement.guard))]
        case Map() | Fold() | Running():
            roots = [statement.value, *atoms_of((*statement.indices, *statement.guard))]
        case Copy():
            roots = atoms_of((statement.address, *statement.guard))
        case For() | When():
            roots = atoms_of(statement.guard)
        case _:
            return []
    return [entry for entry in walk(*roots) if isinstance(entry, Load)]
