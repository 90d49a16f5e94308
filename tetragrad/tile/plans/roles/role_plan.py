"""What a product by roles is planned as: its sizes, its sides, the order of its blocks.

``choose_roles.py`` chooses these sizes, ``roles.py`` makes the tile program of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import Expression, walk
from tetragrad.kernel.ir import Kernel, Output, combines
from tetragrad.tile.ir import Dimension, ends_of
from tetragrad.tile.layout import CHUNK_BYTES
from tetragrad.tile.plans.products.contraction import Contraction
from tetragrad.tile.plans.roles.bulk import BulkOperand, bulk_operand
from tetragrad.tile.plans.roles.cells import Cells, digits_of
from tetragrad.tile.plans.roles.filled import (
    FilledOperand,
    filled_operand,
    levels_of,
)

WARPS = 4
#: Warps of the role that computes operands, if there is one; and where it is the only
#: one beside a single member, so that there are registers for more.
FILLING_WARPS = 8
LOADING_WARPS = 12
#: Bytes of the depth that a step has of every row and column.
STEP_BYTES = 128
#: Rows that one matrix instruction of four warps computes.
MEMBER_ROWS = 64
#: Space between the rows of staged results, so that neighbours lie in other banks.
STAGED_PADDING_BYTES = 16


#: A thread has registers for all sums and for one product of so many columns, where
#: steps are summed apart.
COLUMNS_SUMMED = 128


@frozen
class RolePlan:
    """Sizes of a product by roles.

    ``rows`` and ``columns`` of a block, ``depth`` of a step; each is made of boxes over
    the axes of its side, nearest in memory first: of ``row_chunks`` positions and so
    on, or along its only axis. The channel has
    ``stages`` steps; results are staged ``piece`` columns at a time. ``workers`` run
    side by side; ``group`` is the number of row blocks that are visited before the
    next column block is. A worker is a ``cluster`` of so many neighbours, with a
    block of rows each, that bring the columns together. ``sums_steps`` adds the
    products of each step up in float32, where the matrix unit's own sums are coarse.
    ``splits`` says that operands are float32 and multiplied in two parts each.
    ``filled`` says which operands threads compute, the left or the right one, in the
    ``dtype`` that is multiplied; these go through a channel of ``filled_stages``. If
    the left one is ``held``, members compute it in registers for themselves.
    """

    swap: bool
    rows: int
    columns: int
    depth: int
    members: int
    stages: int
    piece: int
    group: int
    workers: int
    cluster: int = 1
    sums_steps: bool = False
    splits: bool = False
    row_chunks: tuple[int, ...] = ()
    column_chunks: tuple[int, ...] = ()
    depth_chunks: tuple[int, ...] = ()
    filled: tuple[bool, bool] = (False, False)
    filled_stages: int = 0
    held: bool = False
    dtype: DType | None = None

    @property
    def member_rows(self) -> int:
        return self.rows // self.members

    @property
    def sums(self) -> int:
        """How many tiles a member's sums are in, of so many columns each."""
        return -(-self.columns // COLUMNS_SUMMED) if self.sums_steps else 1


Operand = BulkOperand | FilledOperand


@frozen
class RoleProduct:
    """A contraction whose operands are copied in bulk, or computed on their way.

    If it ``splits`` them, the unit multiplies parts of each, and none is computed.
    """

    contraction: Contraction
    lhs: Operand
    rhs: Operand
    splits: bool = False

    @property
    def filled(self) -> tuple[bool, bool]:
        """Which operands threads compute."""
        return isinstance(self.lhs, FilledOperand), isinstance(self.rhs, FilledOperand)

    @property
    def depth(self) -> tuple[int, ...]:
        """Axes of the depth, nearest first for the operand that lies along it."""
        return self.lhs.depth if self.lhs.is_deep else self.rhs.depth

    @property
    def is_coarse(self) -> bool:
        """Whether the unit's own sums of such products are coarse."""
        dtype = self.lhs.dtype
        return self.splits or (dtype.itemsize == 1 and dtype.is_floating_point)


@frozen
class Sides:
    """How a plan divides the rows, the columns and the depth of a product."""

    rows: Cells
    columns: Cells
    depth: Cells


def role_product(
    kernel: Kernel,
    contraction: Contraction,
    dtype: DType | None = None,
    filled: tuple[bool, bool] = (False, False),
) -> RoleProduct | None:
    """The contraction as roles compute it, if they can.

    Its factors are multiplied in a dtype that they were widened from, or as they are.
    """
    depth = contraction.depth
    lhs = role_operand(
        kernel, contraction.lhs, contraction.rows, depth, dtype, is_filled=filled[0]
    )
    rhs = role_operand(
        kernel, contraction.rhs, contraction.columns, depth, dtype, is_filled=filled[1]
    )
    if lhs is None or rhs is None:
        return None
    return RoleProduct(contraction, lhs, rhs)


def role_operand(
    kernel: Kernel,
    value: Expression,
    side: tuple[int, ...],
    depth: tuple[int, ...],
    dtype: DType | None,
    *,
    is_filled: bool,
) -> Operand | None:
    """One factor, brought or computed."""
    if dtype is not None:
        levels = levels_of(value)
        if dtype not in levels:
            return None
        value = levels[dtype]
    if is_filled:
        return filled_operand(kernel, value, side, depth)
    found = bulk_operand(kernel, value, side, depth)
    is_narrower = found is not None and dtype not in (None, found.dtype)
    return None if is_narrower else found


def sides_of(kernel: Kernel, product: RoleProduct, plan: RolePlan) -> Sides:
    """The cells that a plan means."""
    lhs, rhs = product.lhs, product.rhs
    down, across = (overlap_of(kernel, operand) for operand in (lhs, rhs))
    return Sides(
        cells_of(kernel, lhs.side, plan.rows, plan.row_chunks, down),
        cells_of(kernel, rhs.side, plan.columns, plan.column_chunks, across),
        cells_of(kernel, product.depth, plan.depth, plan.depth_chunks),
    )


def overlap_of(kernel: Kernel, operand: Operand) -> int:
    """What the last block of a side may begin early at a multiple of; 0 if it may not.

    What is stored twice must not be added twice. Boxes begin with chunks of memory.
    """
    if combines(kernel.outputs):
        return 0
    brought = operand.narrow if isinstance(operand, FilledOperand) else operand
    if brought is None or brought.is_deep:
        return 1
    return CHUNK_BYTES // brought.dtype.itemsize


def cells_of(
    kernel: Kernel,
    axes: tuple[int, ...],
    extent: int,
    chunks: tuple[int, ...],
    overlap: int = 0,
) -> Cells:
    """The cells of one side, of which a block has so many positions."""
    chunks = chunks or (extent,)
    sizes = tuple([kernel.axes[axis] for axis in axes])
    return Cells(axes, sizes, chunks, extent // math.prod(chunks), overlap)


def may_skip(kernel: Kernel, product: RoleProduct) -> bool:
    """Whether any step of some plan would bring zeros only."""
    depth = set(product.depth)
    return any(
        _leaves_along(kernel, dimension, depth)
        for operand in (product.lhs, product.rhs)
        for dimension in operand.dimensions
    )


def _leaves_along(kernel: Kernel, dimension: Dimension, depth: set[int]) -> bool:
    """Whether an index leaves its dimension somewhere along the depth."""
    along = tuple(sorted(dimension.index.axes() & depth))
    return bool(along) and _ends_after_first(dimension, kernel.axes, along)


def skipped_dimensions(
    kernel: Kernel, product: RoleProduct, sides: Sides, cluster: int
) -> tuple[Dimension, ...]:
    """Dimensions whose ends say that a whole step would bring zeros only.

    No box extends along them, they are the same for a whole cluster, and the first
    step of all is never beyond an end.
    """
    if product.is_coarse:
        return ()
    found = []
    depth = set(sides.depth.axes)
    for operand, cells in ((product.lhs, sides.rows), (product.rhs, sides.columns)):
        fixed = set() if cells is sides.rows and cluster > 1 else {*cells.axes}
        if cells.count > 1:
            fixed = set()
        moving = cells.moving | sides.depth.moving
        for dimension in operand.dimensions:
            axes = dimension.index.axes()
            if axes & moving or axes & set(cells.axes) - fixed:
                continue
            if _leaves_along(kernel, dimension, depth):
                found.append(dimension)
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def _ends_after_first(
    dimension: Dimension, sizes: tuple[int, ...], along: tuple[int, ...]
) -> bool:
    """Whether an index leaves its dimension, but not at the first of some axes."""
    ends = ends_of(dimension)
    if all(form.range(sizes)[0] >= 0 for form in ends):
        return False
    at_first = dict.fromkeys(along, ZERO)
    return all(form.substitute(at_first).range(sizes)[0] >= 0 for form in ends)


def raster_of(
    contraction: Contraction, kernel: Kernel, sides: Sides, plan: RolePlan
) -> Raster:
    """The blocks of a product, in the order of a plan."""
    return Raster(
        -(-sides.rows.blocks // plan.cluster),
        sides.columns.blocks,
        plan.group,
        tuple(kernel.axes[axis] for axis in contraction.batch),
    )


@frozen
class Raster:
    """The order in which blocks are visited: rows of a group, columns, groups."""

    rows: int
    columns: int
    group: int
    batches: tuple[int, ...]

    @property
    def groups(self) -> int:
        return -(-self.rows // self.group)

    @property
    def blocks(self) -> int:
        """All blocks, with the rows that the last group overhangs by."""
        return self.group * self.columns * self.groups * math.prod(self.batches)

    def place(self, number: Affine) -> tuple[Affine, Affine, list[Affine]]:
        """Row block, column block and batch positions of block ``number``."""
        sizes = (self.group, self.columns, self.groups, *reversed(self.batches))
        within, column, group, *batches = digits_of(number, sizes, self.blocks)
        return group.scale(self.group) + within, column, batches[::-1]


def is_result(output: Output, product: RoleProduct) -> bool:
    """Whether an output is made of the sums; others are constants between results."""
    return product.contraction.reduction in walk(output.value)


def is_along_rows(output: Output, product: RoleProduct) -> bool:
    """Whether neighbouring rows, and not columns, are next to one another."""
    address = output.address

    def is_next(axes: Sequence[int]) -> bool:
        return any(address.coefficient(axis) == 1 for axis in axes)

    return is_next(product.lhs.side) and not is_next(product.rhs.side)


def staged_pitch(plan: RolePlan, itemsize: int, *, along_rows: bool) -> int:
    """Elements from one contiguous run of staged results to the next."""
    length = plan.member_rows if along_rows else plan.piece
    return length + max(STAGED_PADDING_BYTES, 8 * itemsize) // itemsize
