"""What is fetched while micro-tiles are multiplied: the next panel of rows.

A panel that is about to be packed, or read, waits in the third-level cache or further
away. All products of the panel before it together fetch it, a few lines of memory at
a time, so that nothing has to wait.
"""

from __future__ import annotations

from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import Quotient, Remainder
from tetragrad.tile.ir import Ahead, Fetch, Tile
from tetragrad.tile.layout import CACHE_LINE_BYTES
from tetragrad.tile.plans.products.operands import Operand, Placed, at_run
from tetragrad.tile.plans.scope import Builder, Scope

#: Parts of the depth between which lines are fetched: many lines at once would have to
#: wait for one another.
PARTS = 16


def fetch_rows(
    operand: Operand,
    scope: Scope,
    places: tuple[Placed, Placed],
    panel: Affine,
    turn: tuple[Affine, int],
) -> Ahead | None:
    """Fetch a panel that will be packed, where memory runs along the depth.

    ``places`` are those of the depth and of the side; ``turn`` says which product this
    is, and of how many.
    """
    load = operand.only_load
    if load is None or not operand.is_by_depth or len(operand.depth_runs) != 1:
        return None
    assert operand.cut is not None
    first = operand.cut.start(panel)
    (depth_run,), (side_run,) = operand.depth_runs, operand.side_runs
    line = CACHE_LINE_BYTES // load.dtype.itemsize
    lines = -(-operand.depth.size(operand.kernel) // line)
    number, products = turn
    # Each part fetches lines of one row only.
    each = -(-lines * operand.panel // (products * PARTS))
    while -(-lines // each) * operand.panel > products * PARTS:
        each += 1
    pieces = -(-lines // each)
    part = scope.builder.axis(PARTS)
    piece = number.scale(PARTS) + axis_form(part)
    row = of_atom(Quotient(piece, pieces, products * PARTS // pieces + 1))
    within = of_atom(Remainder(piece, pieces)).scale(each * line)
    depth, side = places
    scope = at_run(scope, depth_run, depth, within)
    scope = at_run(scope, side_run, side, first + row)
    address = scope.rewriter().form(load.address)
    return Ahead((part, PARTS), Fetch(load.slot, address, each * line))


def fetch_panel(
    builder: Builder, tile: Tile, start: Affine, size: int, turn: tuple[Affine, int]
) -> Ahead:
    """Fetch a packed panel, of so many elements in one piece."""
    number, products = turn
    line = CACHE_LINE_BYTES // tile.dtype.itemsize
    each = -(-size // (products * PARTS * line)) * line
    part = builder.axis(PARTS)
    piece = number.scale(PARTS) + axis_form(part)
    return Ahead((part, PARTS), Fetch(tile, start + piece.scale(each), each))
