"""Choose how few threads share a row that is too short for a whole block.

A row of 128 elements has work for eight threads: they load 16 bytes twice each, and
add up among themselves without a barrier. Several such groups make a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load, Reduction
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.nests.nest import scans_of
from tetragrad.tile.plans.traffic import points_in, points_of

# A warp, and the longest row that it holds.
WARP, LONGEST_ROW = 32, 1024
# What a thread moves at once, and what neighbouring threads should move together.
RUN_BYTES, PIECE_BYTES = 16, 32
# The same where rows begin anywhere: each piece touches one more sector of a line.
UNEVEN_PIECE_BYTES = 128
# Elements of a row, and of all rows, that each thread had better hold.
SHARE, HELD = 16, 32
MOST_ROWS = 4
# Elements of a sum that is written out, and results for each thread of a row from
# which on the device has enough to do.
FEW_TERMS, MANY = 16, 1 << 14


def choose_few_threads(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    ranked: Sequence[int],
    target: Target,
) -> tuple[int, int, int] | None:
    """Lanes of a row, rows of an iteration and its threads, if a warp is enough.

    Only where there are so many rows that warps keep the whole device busy. The rows of
    iterations are equal, so that the threads of a warp never part.
    """
    if not ranked or ranked[0] in grid or not grid or scans_of(outputs):
        return None
    row, results = kernel.axes[ranked[0]], points_in(kernel, grid)
    if row > LONGEST_ROW or results < target.pieces:
        return None
    if not _is_by_rows(outputs, ranked[0]):
        return None
    itemsize, width = _moves(kernel, outputs, ranked[0])
    is_even = width * itemsize == RUN_BYTES
    piece = PIECE_BYTES if is_even else UNEVEN_PIECE_BYTES
    threads = 1
    while threads < WARP and (
        row > SHARE * threads
        or (threads * width * itemsize < piece and 2 * threads * width <= row)
    ):
        threads *= 2
    lanes = -(-row // (threads * width)) * threads * width
    rows = max(1, min(MOST_ROWS, HELD * threads // lanes))
    while rows > 1 and (
        kernel.axes[grid[-1]] % rows or results * threads < rows * target.pieces * WARP
    ):
        rows -= 1
    return lanes, rows, threads


def threads_of_short_rows(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    row: int,
    width: int,
    target: Target,
) -> int:
    """A part of a warp for short rows of sums of a few elements each; 0 for others.

    As those of windows of images with 64 channels: eight threads move 16 bytes each
    where a warp would move 4, with a fifth of the instructions.
    """
    size = kernel.axes[row]
    if not target.has_free_iterations or size > width or scans_of(outputs):
        return 0
    terms = [
        math.prod(kernel.axes[axis] for axis in point.expression.axes)
        for point in points_of(outputs)
        if isinstance(point.expression, Reduction)
    ]
    is_few = bool(terms) and max(terms) <= FEW_TERMS
    is_plain = all(output.mode is Mode.STORE for output in outputs)
    results = points_in(kernel, grid)
    itemsize, even = _moves(kernel, outputs, row)
    threads = size // even
    is_part = threads < WARP and not threads & (threads - 1) and size % even == 0
    is_wide = even * itemsize == RUN_BYTES
    if is_few and is_plain and is_part and is_wide and threads * MANY < results:
        return max(1, threads)
    return 0


def _is_by_rows(outputs: Sequence[Output], axis: int) -> bool:
    """Whether all that is reduced is reduced along one axis, and nothing collides."""
    reductions = [
        point.expression
        for point in points_of(outputs)
        if isinstance(point.expression, Reduction)
    ]
    return (
        bool(reductions)
        and all(entry.axes == (axis,) for entry in reductions)
        and all(output.mode is Mode.STORE for output in outputs)
    )


def _moves(kernel: Kernel, outputs: Sequence[Output], axis: int) -> tuple[int, int]:
    """Bytes of the widest element along the rows, and how many move at once."""
    found = list(_addresses(kernel, outputs, axis))
    itemsize = max((size for size, _ in found), default=4)
    even = math.gcd(
        RUN_BYTES // itemsize,
        *(
            part
            for _, form in found
            for part in (form.constant, *(p for atom, p in form.terms if atom != axis))
        ),
    )
    return itemsize, even


def _addresses(
    kernel: Kernel, outputs: Sequence[Output], axis: int
) -> Iterator[tuple[int, Affine]]:
    """What moves by one along the axis: element sizes and addresses."""
    for output in outputs:
        if output.address.coefficient(axis) == 1:
            yield kernel.slots[output.slot].dtype.itemsize, output.address
    for point in points_of(outputs):
        entry = point.expression
        if isinstance(entry, Load) and entry.address.coefficient(axis) == 1:
            yield kernel.slots[entry.slot].dtype.itemsize, entry.address
