"""Recognise a sum of products, and say how it is blocked.

    Σ_k P[…, m, k] * Q[…, k, n]

An axis is a *row* if only P moves along it, a *column* if only Q does, *batch* if
both do, and *depth* if it is summed over. Matrix products in any transposition and
convolutions (rows n, oh, ow; columns cout; depth cin, kh, kw) are all of this form.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import lru_cache

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Cast
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Load,
    Quotient,
    Reduction,
    walk,
    walk_until,
)
from tetragrad.kernel.ir import Kernel, Mode
from tetragrad.tile.plans.nests.nest import roots_of
from tetragrad.tile.plans.prepare.cuts import cuttable
from tetragrad.tile.plans.products.dot_steps import Dot
from tetragrad.tile.plans.roles.factors import factors_of


@frozen
class Contraction:
    """A sum of products whose axes are sorted by who moves along them."""

    reduction: Expression
    lhs: Expression
    rhs: Expression
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depth: tuple[int, ...]

    def swapped(self) -> Contraction:
        """The same sum with the operands the other way round."""
        return Contraction(
            self.reduction,
            self.rhs,
            self.lhs,
            self.batch,
            self.columns,
            self.rows,
            self.depth,
        )


@frozen
class Block:
    """The part of some axes that one block covers, flattened to one index.

    The block has ``chunk`` positions of ``axes[split]`` and all positions of the axes
    after it; the axes before it are fixed.
    """

    axes: tuple[int, ...]
    split: int
    chunk: int

    @property
    def outer(self) -> tuple[int, ...]:
        """The axes that are fixed in a block."""
        return self.axes[: self.split]

    @property
    def chunked(self) -> int:
        """The axis that a block has ``chunk`` positions of."""
        return self.axes[self.split]

    @property
    def inner(self) -> tuple[int, ...]:
        """The axes that lie in every block as a whole."""
        return self.axes[self.split + 1 :]

    @property
    def moving(self) -> tuple[int, ...]:
        """The axes that have more than one position in a block."""
        return self.inner if self.chunk == 1 and self.inner else self.axes[self.split :]

    def inner_size(self, kernel: Kernel) -> int:
        """Points for each position of the chunked axis."""
        return math.prod(kernel.axes[axis] for axis in self.inner)

    def size(self, kernel: Kernel) -> int:
        """Points in a block."""
        return self.chunk * self.inner_size(kernel)

    def chunks(self, kernel: Kernel) -> int:
        """Blocks along the chunked axis."""
        return -(-kernel.axes[self.chunked] // self.chunk)

    def is_ragged(self, kernel: Kernel) -> bool:
        """Whether the last block has fewer positions."""
        return kernel.axes[self.chunked] % self.chunk != 0


@frozen
class Panels:
    """How one side of a block is cut into panels, each as wide as a micro-tile.

    Where all of them are inside of the block and there is no whole number of them,
    they ``overlap`` a little, so that nothing has to be said about the last one: ten
    positions in panels of four begin at 0, 3 and 6. What lies in two panels is
    computed twice, with the same result.
    """

    size: int
    width: int
    overlap: bool = False

    @property
    def count(self) -> int:
        """Panels that cover all positions."""
        return -(-self.size // self.width)

    @property
    def is_inside(self) -> bool:
        """Whether no panel goes beyond the end."""
        return self.overlap or self.size % self.width == 0

    def start(self, number: Affine) -> Affine:
        """The first position of a panel."""
        rest = self.size - self.width
        if not self.overlap or self.size % self.width == 0:
            return number.scale(self.width)
        moved, divisor = number.scale(rest), self.count - 1
        if not moved.terms:
            return Affine(moved.constant // divisor)
        return of_atom(Quotient(moved, divisor, rest + 1))


class Supply(Enum):
    """How an operand comes to the micro-kernel."""

    IN_PLACE = "in place"  # it reads the operand where it is
    PACKED = "packed"
    FETCHED = "fetched"  # packed, and asked for before, as it waits far away
    KEPT = "kept"  # it was packed by another kernel, and is read where that left it


@frozen
class ContractionPlan:
    """Block sizes of a contraction.

    ``swap`` exchanges the operands: the second one's columns are on vector lanes.
    A grid iteration computes one block of rows by one of columns; the micro-kernel
    keeps ``micro_rows`` by ``micro_columns`` results in registers; packing moves
    ``lanes`` elements at once, or ``at_once`` the whole block. For a matrix unit the
    operands are packed in the ``narrow`` dtype that they are widened from, for the
    instruction ``dot`` in groups along the depth. A plan that ``overlaps`` packs the
    next steps of the depth while one is multiplied, as those of a matrix unit do.
    Equal ``parts`` of a block's depth are summed on their own, and then together: the
    longer a sum, the less accurate it is.
    ``lhs`` and ``rhs`` say how the operands, in this order after a swap, are supplied.
    """

    swap: bool
    batch: tuple[int, ...]
    rows: Block
    columns: Block
    depth: Block
    micro_rows: int
    micro_columns: int
    lanes: int
    at_once: bool = False
    narrow: DType | None = None
    overlaps: bool = False
    dot: Dot | None = None
    parts: int = 1
    lhs: Supply = Supply.PACKED
    rhs: Supply = Supply.PACKED

    @property
    def group(self) -> int:
        """Positions of the depth that lie next to each other in packed operands."""
        return self.dot.step.depth if self.dot is not None else 1


def narrow_operands(contraction: Contraction) -> DType | None:
    """The half-width dtype that both operands are widened from, if there is one."""
    found = {
        operand.inputs[0].dtype
        for operand in (contraction.lhs, contraction.rhs)
        if isinstance(operand, Compute) and operand.op is Cast
    }
    halves = {dtypes.float16, dtypes.bfloat16}
    both = all(
        isinstance(operand, Compute) and operand.op is Cast
        for operand in (contraction.lhs, contraction.rhs)
    )
    is_wide = contraction.reduction.accumulator is dtypes.float32
    if both and is_wide and len(found) == 1 and found <= halves:
        return found.pop()
    return None


def find_contraction(
    value: Expression, guarded_in: Kernel | None = None
) -> Contraction | None:
    """The contraction that a reduction is, if it is one.

    With its kernel also that of guarded products; see ``factors.py``.
    """
    if not isinstance(value, Reduction) or value.op is not Sum:
        return None
    body = value.body
    # Products are rounded to their own dtype; the micro-kernel rounds only sums.
    if body.dtype is not value.accumulator:
        return None
    factors = factors_of(body, guarded_in)
    if factors is None:
        return None
    lhs, rhs = factors
    depth = set(value.axes)
    inner = [entry for entry in walk(body) if isinstance(entry, Reduction)]
    if inner:
        return None
    lhs_axes, rhs_axes = lhs.free_axes - depth, rhs.free_axes - depth
    found = Contraction(
        value,
        lhs,
        rhs,
        batch=tuple(sorted(lhs_axes & rhs_axes)),
        rows=tuple(sorted(lhs_axes - rhs_axes)),
        columns=tuple(sorted(rhs_axes - lhs_axes)),
        depth=tuple(sorted(depth)),
    )
    return found if found.rows and found.columns else None


def hosted_contraction(kernel: Kernel, *, guarded: bool = False) -> Contraction | None:
    """The contraction that is all a kernel does, but for elementwise work after it."""
    values = cuttable(kernel)
    if len(values) != 1:
        return None
    found = find_contraction(values[0], kernel if guarded else None)
    if found is None:
        return None
    axes = tuple(sorted(found.reduction.free_axes))
    fits = all(
        output.axes == axes and output.mode is Mode.STORE for output in kernel.outputs
    )
    return found if fits else None


def strides_of(operand: Expression, axis: int) -> list[int]:
    """How far the operand's loads move along an axis."""
    return [
        entry.address.coefficient(axis)
        for entry in walk(operand)
        if isinstance(entry, Load)
    ]


@lru_cache(maxsize=256)
def moves_evenly(
    kernel: Kernel, contraction: Contraction, axes: tuple[int, ...]
) -> bool:
    """Whether all forms outside the sum are affine in the flat index over axes."""
    strides, stride = {}, 1
    for axis in reversed(axes):
        strides[axis] = stride
        stride *= kernel.axes[axis]
    return all(
        form.coefficient(axis) == form.coefficient(axes[-1]) * strides[axis]
        for form in epilogue_forms(kernel, contraction)
        for axis in axes
    )


def even_run(kernel: Kernel, contraction: Contraction, block: Block) -> int | None:
    """Positions between which outputs move evenly; None if that is a whole block."""
    axes = block.moving
    if moves_evenly(kernel, contraction, axes):
        return None
    count = 1
    while moves_evenly(kernel, contraction, axes[-count - 1 :]):
        count += 1
    return math.prod(kernel.axes[axis] for axis in axes[-count:])


def cut_evenly(
    kernel: Kernel, contraction: Contraction, block: Block, width: int
) -> Panels:
    """Panels of a block, none of which goes beyond the end if that can be."""
    size = block.size(kernel)
    overlap = (
        size > width
        and not block.is_ragged(kernel)
        and moves_evenly(kernel, contraction, block.moving)
    )
    return Panels(size, width, overlap)


@lru_cache(maxsize=64)
def epilogue_forms(kernel: Kernel, contraction: Contraction) -> tuple[Affine, ...]:
    """The affine forms outside the sum: addresses, guards and loads."""
    stop = {contraction.reduction: contraction.reduction}
    forms: list[Affine] = []
    for output in kernel.outputs:
        forms += [output.address, *output.guard]
    for entry in walk_until(stop, *roots_of(kernel.outputs)):
        if entry not in stop:
            forms += entry.forms
    return tuple(dict.fromkeys(forms))
