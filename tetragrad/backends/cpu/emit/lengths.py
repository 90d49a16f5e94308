"""How long the text of statements is, and what therefore becomes a loop.

LLVM takes a fifteenth of a millisecond for each instruction of a processor, which is
thousands of times as long as a loop takes for a turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.expression import Compute, Expression, walk
from tetragrad.tile.ir import (
    Copy,
    Fold,
    For,
    Map,
    Mma,
    Space,
    Statement,
    Store,
    TileLoad,
    When,
)

#: Vectors in one statement beyond which its outer axes are loops after all: of what
#: moves between memory and memory, of elementary functions, which are long, and of
#: what reads values kept in registers, which cannot be indexed.
LARGEST_UNROLLING = 8
LARGEST_HEAVY_UNROLLING = 2
LARGEST_REGISTER_UNROLLING = 64

#: Vectors in all turns of a loop beyond which it stays one, though it asks to be
#: written out.
LARGEST_WRITTEN_OUT = 24

#: Elements of a vector, and the vectors that an elementary function counts as.
LANES = 16
VECTORS_OF_FUNCTION = 16


def are_many(vectors: int, values: Sequence[Expression]) -> bool:
    """Whether vectors of some values are too many to be written one by one."""
    if vectors <= LARGEST_HEAVY_UNROLLING:
        return False
    if reads_registers(values):
        return vectors > LARGEST_REGISTER_UNROLLING
    return bool(num_functions(values)) or vectors > LARGEST_UNROLLING


def is_written_out(loop: For) -> bool:
    """Whether a loop that asks for it is short enough, with those inside of it."""
    if loop.extent <= 1:
        return True
    return loop.unroll and _num_vectors([loop]) <= LARGEST_WRITTEN_OUT


def num_functions(values: Iterable[Expression]) -> int:
    """How many elementary functions some values take."""
    return sum(
        isinstance(entry, Compute) and issubclass(entry.op, Transcendental)
        for entry in walk(*values)
    )


def reads_registers(values: Iterable[Expression]) -> bool:
    """Whether some values are made of tiles in registers."""
    return any(
        isinstance(entry, TileLoad) and entry.tile.space is Space.REGISTER
        for entry in walk(*values)
    )


def _num_vectors(body: Iterable[Statement]) -> int:
    """About how many vectors some statements are, if all that asks is written out."""
    count = 0
    for statement in body:
        match statement:
            case For():
                turns = statement.extent if statement.unroll else 1
                count += turns * _num_vectors(statement.body)
            case When():
                count += _num_vectors((*statement.body, *statement.otherwise))
            case Map() | Fold() | Store():
                heavy = VECTORS_OF_FUNCTION * num_functions([statement.value])
                count += _vectors_of(statement) * (1 + heavy)
            case Copy():
                count += _vectors_of(statement)
            case Mma():
                count += statement.rows
    return count


def _vectors_of(statement: Map | Fold | Store | Copy) -> int:
    """The vectors of one statement."""
    *outer, (_, width) = statement.axes or ((0, 1),)
    return math.prod(extent for _, extent in outer) * -(-width // LANES)
