"""How long the vectors of a statement are: one register, or several at once.

LLVM divides a vector that is longer than registers into registers that all do the
same. Where a statement does the same along its last axis anyway, one long vector thus
takes a fraction of the text of many short ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tetragrad.backends.cpu.emit.expressions import Expressions, tile_form
from tetragrad.backends.cpu.emit.vector import REGISTERS_PER_VECTOR
from tetragrad.graph import elementwise as op
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Literal,
    Load,
    Scalar,
    Select,
    walk,
)
from tetragrad.tile.ir import For, Grid, Mma, Space, Statement, TileLoad, When

#: Elementary functions keep so many values at a time that registers would run out.
REGISTERS_PER_HEAVY_VECTOR = 2


def products(body: Sequence[Statement]) -> Iterator[Mma]:
    """The products among some statements."""
    for statement in body:
        match statement:
            case Mma():
                yield statement
            case Grid() | For():
                yield from products(statement.body)
            case When():
                yield from products(statement.body)
                yield from products(statement.otherwise)


def vector_lanes(
    expressions: Expressions,
    axis: int,
    values: Sequence[Expression],
    targets: Sequence[Affine],
    guard: Guard,
) -> int:
    """Lanes of a statement's vectors along an axis."""
    lanes = expressions.lanes_for(values)
    entries = walk(*values)
    targets_follow = all(_step(form, axis) == 1 for form in targets)
    guard_is_common = all(_step(form, axis) == 0 for form in guard)
    if not targets_follow or not guard_is_common:
        return lanes
    if not all(_is_plain(expressions, entry, axis) for entry in entries):
        return lanes
    return lanes * _registers(entries)


def _registers(entries: Iterable[Expression]) -> int:
    """Registers that one vector may stand for."""
    is_heavy = any(
        isinstance(entry, Compute) and issubclass(entry.op, Transcendental)
        for entry in entries
    )
    return REGISTERS_PER_HEAVY_VECTOR if is_heavy else REGISTERS_PER_VECTOR


def _step(form: Affine, axis: int) -> int | None:
    """How far a form goes from lane to lane; None if that depends on other values."""
    return form.coefficient(axis) if form.moves_evenly((axis,)) else None


def _is_plain(expressions: Expressions, entry: Expression, axis: int) -> bool:
    """Whether an expression is the same work for all lanes, in memory's order."""
    match entry:
        case Literal() | Scalar():
            return True
        case Compute():
            return entry.op not in (op.IDiv, op.Mod)
        case Load():
            guard_is_common = all(_step(form, axis) == 0 for form in entry.guard)
            return guard_is_common and _step(entry.address, axis) in (0, 1)
        case TileLoad():
            # LLVM keeps a tile in registers best if all its vectors have one length.
            tile = entry.tile
            in_registers = tile.space is Space.REGISTER
            if in_registers and tile.name not in expressions.accumulators:
                return False
            return _step(tile_form(tile, entry.indices), axis) in (0, 1)
        case Select():
            return all(_step(form, axis) == 0 for form in entry.guard)
    return False
