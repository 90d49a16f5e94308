"""What becomes of a product's sums: computed, staged a piece at a time, and stored.

    for each piece of the columns
      Map(staged = what the outputs make of the accumulator)
      Store(staged)

A member stages its rows as the output lies in memory, so that neighbouring threads
store what is side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.ir import Output
from tetragrad.tile.ir import (
    Extent,
    Layout,
    Map,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.roles.cells import (
    digits_of,
    flat_position,
    join_digits,
    split_radices,
)
from tetragrad.tile.plans.roles.role_plan import (
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    is_result,
    staged_pitch,
)
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of


@frozen
class BlockPlace:
    """Which block of rows and of columns a worker computes, and its batch."""

    row: Affine
    column: Affine
    batch: Mapping[int, Affine]


@frozen
class Piece:
    """Some columns of a member's results in a block, all pieces of which are alike."""

    block: BlockPlace
    member: Affine
    number: int


@frozen
class RoleResults:
    """The results of a product, of so many ``blocks`` of rows and of columns."""

    builder: Builder
    plan: RolePlan
    product: RoleProduct
    sides: Sides
    blocks: tuple[int, int]

    def staged(self, output: Output) -> Tile | None:
        """A shared tile for a piece of results, contiguous as the output is.

        None for an output that has nothing of the sums in it.
        """
        if not is_result(output, self.product):
            return None
        plan = self.plan
        dtype = self.builder.kernel.slots[output.slot].dtype
        along_rows = is_along_rows(output, self.product)
        pitch = staged_pitch(plan, dtype.itemsize, along_rows=along_rows)
        layout = Layout((1, pitch) if along_rows else (pitch, 1))
        shape = (plan.member_rows, plan.piece)
        return self.builder.tile("staged", shape, dtype, Space.SHARED, layout)

    def finish(
        self,
        output: Output,
        staged: Tile | None,
        totals: Sequence[Tile],
        piece: Piece,
    ) -> list[Statement]:
        """Compute one piece of an output, then store it as memory likes it."""
        if staged is None:
            return [self.store(output, None, piece)]
        computed = self.compute(output, staged, totals, piece)
        return [computed, self.store(output, staged, piece)]

    def compute(
        self, output: Output, staged: Tile, totals: Sequence[Tile], piece: Piece
    ) -> Map:
        """Stage what an output makes of a member's results in one piece."""
        extents = self.builder.axes(staged.shape)
        row, column = indices_of(extents)
        inner = [
            digits_of(number, [size for size, _ in pairs], size)
            for number, pairs, size in zip(
                (row, column), self.divided(), staged.shape, strict=True
            )
        ]
        scope = self.scope(piece, extents, inner)
        number, first = divmod(piece.number * self.plan.piece, totals[0].shape[1])
        held = TileLoad(totals[number], (row, column.shift(first)))
        reduction = self.product.contraction.reduction
        scope = scope.with_values({reduction: cast(held, reduction.dtype)})
        # Beyond the edge nothing is loaded, and what is computed there is not stored.
        return Map(extents, staged, (row, column), scope.value(output.value))

    def store(self, output: Output, staged: Tile | None, piece: Piece) -> Store:
        """Store a staged piece, along the axes as they lie in memory."""
        extents: list[list[Extent]] = []
        inner, indices = [], []
        for pairs in self.divided():
            sizes = [size for size, _ in pairs]
            mine = [(self.builder.axis(size), size) for size in sizes if size > 1]
            axes = iter(mine)
            digits = [axis_form(next(axes)[0]) if size > 1 else ZERO for size in sizes]
            extents.append(mine[::-1])
            inner.append(digits)
            indices.append(flat_position(sizes, digits))
        rows, columns = extents
        along_rows = is_along_rows(output, self.product)
        order = tuple([*columns, *rows] if along_rows else [*rows, *columns])
        scope = self.scope(piece, order, inner)
        rewriter = scope.rewriter()
        value = rewriter(output.value)
        if staged is not None:
            value = TileLoad(staged, tuple(indices))
        return Store(
            order,
            output.slot,
            rewriter.form(output.address),
            value,
            scope.guard + rewriter.guards(output.guard),
        )

    def divided(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The digits of rows and columns: inside a member or a piece, and outside."""
        rows = split_radices(self.sides.rows.radices, self.plan.member_rows)
        columns = split_radices(self.sides.columns.radices, self.plan.piece)
        assert rows is not None and columns is not None, "whole digits"
        return rows, columns

    def scope(
        self,
        piece: Piece,
        extents: tuple[Extent, ...],
        inner: Sequence[Sequence[Affine]],
    ) -> Scope:
        """The kernel's axes at the positions of a piece of a member's results."""
        place, sides = piece.block, self.sides
        scope = Scope(self.builder).with_collective(*extents)
        for axis, form in place.batch.items():
            scope = scope.bind(axis, form)
        rows, columns = self.divided()
        down = join_digits(rows, inner[0], piece.member)
        across = join_digits(columns, inner[1], Affine(piece.number))
        for cells, block, blocks, digits in (
            (sides.rows, place.row, self.blocks[0], down),
            (sides.columns, place.column, self.blocks[1], across),
        ):
            places = cells.positions(block, digits, blocks)
            for axis, form in places.items():
                scope = scope.bind(axis, form)
            scope = scope.with_guard(*cells.ends(places))
        return scope
