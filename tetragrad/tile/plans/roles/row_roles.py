"""What attention and its gradients by roles have in common.

    Grid(batch, block of rows)
      Role(load)        brings a block of rows once, and blocks of keys one by one
      Role(multiply)    members with 64 rows of a block each

Members keep the scores of their rows, and what these add to, in registers; in the end
they store what the totals have become, staged a few columns at a time where memory has
neighbours along the columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online_contraction import OnlineContraction
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
from tetragrad.tile.plans.online.online import needed_blocks
from tetragrad.tile.plans.products.operands import placed_along
from tetragrad.tile.plans.roles.boxes import COLUMN_STEP, Boxes, rounded
from tetragrad.tile.plans.roles.online_rows import quick
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    STAGED_PADDING_BYTES,
)
from tetragrad.tile.plans.roles.row_blocks import RowBlock, RowBlocks
from tetragrad.tile.plans.scope import Builder, Scope, indices_of

#: What is known at a row and a column of the results.
Known = Callable[[Affine, Affine], Mapping[Expression, Expression]]


@frozen
class RowRolePlan:
    """Sizes of attention by roles, or of its gradients.

    A block has 64 rows for each of the ``members``; ``keys`` are taken in at a time,
    and ``stages`` of such blocks lie in shared memory. Results are staged ``piece``
    columns at a time, or stored as they lie if 0. So many ``workers`` share the blocks
    (``row_blocks.py``).
    """

    members: int
    keys: int
    stages: int
    piece: int = 0
    workers: int = 0

    @property
    def rows(self) -> int:
        return self.members * MEMBER_ROWS

    def blocks(self, kernel: Kernel, form: OnlineContraction) -> int:
        """Blocks of rows, of all batches."""
        return RowBlocks(Builder(kernel), form.batch, form.row, self.rows).count


@frozen
class RowRoles(ABC):
    """The grid: blocks of rows, and what both roles need."""

    builder: Builder
    plan: RowRolePlan

    @property
    @abstractmethod
    def form(self) -> OnlineContraction:
        """What is computed."""

    @property
    @abstractmethod
    def column(self) -> int:
        """The axis of the totals' columns."""

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @property
    def key_blocks(self) -> int:
        """Blocks of keys."""
        return -(-self.kernel.axes[self.form.passed] // self.plan.keys)

    @property
    def columns(self) -> int:
        return rounded(self.kernel.axes[self.column], COLUMN_STEP)

    @cached_property
    def members(self) -> Extent:
        """The members of the role that multiplies, which take turns at it."""
        return self.builder.axis(self.plan.members), self.plan.members

    @property
    def first_row(self) -> Affine:
        """Where a member's rows begin in a block."""
        return axis_form(self.members[0]).scale(MEMBER_ROWS)

    @cached_property
    def boxes(self) -> Boxes:
        """A block of rows or keys, with all features, is brought at once."""
        chunks = {self.form.row: self.plan.rows, self.form.passed: self.plan.keys}
        return Boxes(self.builder, chunks)

    @cached_property
    def row_blocks(self) -> RowBlocks:
        """All blocks of rows; those with most to do come first."""
        form, plan = self.form, self.plan
        return RowBlocks(
            self.builder,
            form.batch,
            form.row,
            plan.rows,
            plan.workers,
            ascending=self.is_backwards,
        )

    @property
    def is_backwards(self) -> bool:
        """Whether a mask leaves the last blocks of keys to every row, not the first."""
        return False

    def needed(self, scope: Scope, rows: Affine, keys: Affine) -> Guard:
        """What holds where a block of keys adds something to a block of rows."""
        return needed_blocks(
            self.form,
            scope,
            placed_along(self.form.row, self.plan.rows, rows),
            placed_along(self.form.passed, self.plan.keys, keys),
        )

    # --- places --------------------------------------------------------------------

    def at_row(self, scope: Scope, row: Affine) -> Scope:
        """Bind the row; what is loaded beside the scores must exist."""
        return self._inside(scope, self.form.row, row)

    def _inside(self, scope: Scope, axis: int, place: Affine) -> Scope:
        """Bind an axis, where it has such a place."""
        exists = place.scale(-1).shift(self.kernel.axes[axis] - 1)
        return scope.bind(axis, place).with_guard(exists)

    # --- results -------------------------------------------------------------------

    def staged(self, outputs: Sequence[Output]) -> Tile | None:
        """Room for a piece of some results, whose rows lie in different banks."""
        piece = self.plan.piece
        steps = {output.address.coefficient(self.column) for output in outputs}
        (dtype, *others) = {self.kernel.slots[output.slot].dtype for output in outputs}
        if not piece or steps != {1} or others:
            return None
        layout = Layout((piece + STAGED_PADDING_BYTES // dtype.itemsize, 1))
        shape = (MEMBER_ROWS, piece)
        return self.builder.tile("staged", shape, dtype, Space.SHARED, layout)

    def store_all(
        self,
        block: RowBlock,
        staged: Tile | None,
        output: Output,
        result: Expression,
        known: Known,
    ) -> list[Statement]:
        """Store what a member's totals become, staged or as they lie."""
        width = self.columns if staged is None else staged.shape[1]
        found: list[Statement] = []
        for first in range(0, self.columns, width):
            extents = self.builder.axes((MEMBER_ROWS, min(width, self.columns - first)))
            rows, columns = indices_of(extents)
            column = columns.shift(first)
            place = block.scope.with_collective(*extents)
            place = self.at_row(place, block.rows + rows)
            place = self._inside(place, self.column, column)
            place = place.with_values(known(rows, column))
            value = quick(place.value(result), extents[1][0])
            if staged is not None:
                found.append(Map(extents, staged, (rows, columns), value))
                value = TileLoad(staged, (rows, columns))
            found.append(self.store(place, output, value))
        return found

    def store(self, place: Scope, output: Output, value: Expression) -> Store:
        """Store a value where an output is at a place."""
        rewriter = place.rewriter()
        guard = place.guard + rewriter.guards(output.guard)
        address = rewriter.form(output.address)
        return Store(place.collective, output.slot, address, value, guard)
