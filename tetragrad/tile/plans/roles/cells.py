"""Divide the axes of one side of a product into boxes of equal shape, the cells.

The rows of a product may be several axes: images, their lines, positions in a line. A
*cell* has ``chunks[i]`` positions of each axis, and a block has ``count`` cells, one
after the other. Everything is a number in mixed radix: cells are counted with the first
axis fastest, positions inside a block by ``radices``, cells last.

    axes (x, y) of 56 x 56 in chunks of (8, 4):  7 x 14 cells
    cell 9 begins at x = 16, y = 4;  position 11 in it is x = 16 + 3, y = 4 + 1

The copy engine takes four times as long for a row beyond an edge as for one inside. The
last cell along an only axis may begin early instead, so that it ends with the axis or
soon after: it begins at a multiple of ``overlap``, since boxes cannot begin between
chunks of memory. What lies in two cells is computed, and stored, twice.

    an axis of 300 in chunks of 128:  cells begin at 0, 128 and 172, or 176 of eights
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, of_atom
from tetragrad.kernel.expression import (
    Indexed,
    Position,
    Quotient,
    Remainder,
    Select,
    literal,
)

#: Boxes are whole pieces of eight rows of the swizzle pattern.
SMALLEST_BOX = 8


@frozen
class Cells:
    """Axes with their sizes, the fastest one first; a cell's chunks; cells a block.

    The last one of an only axis may begin early, at a multiple of ``overlap`` unless
    that is 0.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    chunks: tuple[int, ...]
    count: int = 1
    overlap: int = 0

    @functools.cached_property
    def extent(self) -> int:
        """Positions of a cell."""
        return math.prod(self.chunks)

    @functools.cached_property
    def moving(self) -> frozenset[int]:
        """The axes that a cell extends along."""
        pairs = zip(self.axes, self.chunks, strict=True)
        return frozenset([axis for axis, chunk in pairs if chunk > 1])

    @functools.cached_property
    def steps(self) -> tuple[int, ...]:
        """Cells along each axis; the last ones may overhang."""
        pairs = zip(self.sizes, self.chunks, strict=True)
        return tuple(-(-size // chunk) for size, chunk in pairs)

    @functools.cached_property
    def blocks(self) -> int:
        """Blocks that all cells make; the last one may have fewer."""
        return -(-math.prod(self.steps) // self.count)

    @property
    def radices(self) -> tuple[int, ...]:
        """How positions inside a block count: chunks of each axis, then cells."""
        return (*self.chunks, self.count)

    def starts(self, block: Affine, cell: Affine, blocks: int) -> dict[int, Affine]:
        """Where each axis stands at the first position of a cell of a block."""
        if self.overlaps:
            (axis,) = self.axes
            return {axis: self._early(block)}
        number = block.scale(self.count) + cell
        places = digits_of(number, self.steps, blocks * self.count)
        return {
            axis: place.scale(chunk)
            for axis, place, chunk in zip(self.axes, places, self.chunks, strict=True)
        }

    @property
    def overlaps(self) -> bool:
        """Whether the last cell begins before the one in front of it ends."""
        (size, *others), chunk = self.sizes, self.chunks[0]
        if not self.overlap or others or self.count > 1 or size <= chunk:
            return False
        return self._latest < (self.steps[0] - 1) * chunk

    @property
    def _latest(self) -> int:
        """Where the last cell of the only axis may begin."""
        outside = self.sizes[0] - self.chunks[0]
        return -(-outside // self.overlap) * self.overlap

    def _early(self, block: Affine) -> Affine:
        """Where a block begins, the last one not later than it must."""
        latest, (chunk,) = self._latest, self.chunks
        unit = math.gcd(latest, chunk)
        start, limit = block.scale(chunk // unit), latest // unit
        is_before = start.scale(-1).shift(limit)
        place = Position(start, dtypes.int64)
        value = Select((is_before,), place, literal(limit, dtypes.int64))
        return of_atom(Indexed(value, 0, limit)).scale(unit)

    def positions(
        self, block: Affine, digits: Sequence[Affine], blocks: int
    ) -> dict[int, Affine]:
        """The axes at a position of a block, given by its digits in ``radices``."""
        starts = self.starts(block, digits[-1], blocks)
        inside = zip(self.axes, digits, strict=False)
        return {axis: starts[axis] + digit for axis, digit in inside}

    def ends(self, places: Mapping[int, Affine]) -> list[Affine]:
        """Forms that are not negative where every axis is below its size."""
        return [
            places[axis].scale(-1).shift(size - 1)
            for axis, size in zip(self.axes, self.sizes, strict=True)
        ]


def digits_of(number: Affine, sizes: Sequence[int], limit: int) -> list[Affine]:
    """The digits of a number below ``limit``; the last one takes what remains."""
    digits, stride = [], 1
    for size in sizes[:-1]:
        digits.append(_digit(number, stride, size, limit))
        stride *= size
    return [*digits, _quotient(number, stride, limit)]


def _digit(number: Affine, stride: int, size: int, limit: int) -> Affine:
    if size == 1:
        return ZERO
    rest = _quotient(number, stride, limit)
    if not rest.terms:
        return Affine(rest.constant % size)
    if -(-limit // stride) <= size:
        return rest
    return of_atom(Remainder(rest, size))


def _quotient(number: Affine, stride: int, limit: int) -> Affine:
    if stride == 1:
        return number
    if not number.terms:
        return Affine(number.constant // stride)
    if limit <= stride:
        return ZERO
    return of_atom(Quotient(number, stride, -(-limit // stride)))


def split_radices(radices: Sequence[int], inner: int) -> list[tuple[int, int]] | None:
    """Each radix as (inner, outer), so that the inner ones count up to ``inner``.

    None where that cuts through a digit unevenly.
    """
    pairs = []
    for radix in radices:
        part = math.gcd(radix, inner)
        if part < radix and part < inner:
            return None
        pairs.append((part, radix // part))
        inner //= part
    return pairs if inner == 1 else None


def join_digits(
    pairs: Sequence[tuple[int, int]], inner: Sequence[Affine], outer: Affine
) -> list[Affine]:
    """The digits of a position, from its inner ones and a number of the outer ones."""
    sizes = [size for _, size in pairs]
    places = digits_of(outer, sizes, math.prod(sizes))
    return [
        place.scale(size) + digit
        for (size, _), digit, place in zip(pairs, inner, places, strict=True)
    ]


def flat_position(radices: Sequence[int], digits: Sequence[Affine]) -> Affine:
    """The number that some digits are."""
    total, stride = ZERO, 1
    for radix, digit in zip(radices, digits, strict=True):
        total = total + digit.scale(stride)
        stride *= radix
    return total


# --- choices -------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def box_of(
    sizes: tuple[int, ...], extent: int, stored: int | None = None
) -> tuple[int, ...] | None:
    """The box for blocks of ``extent`` positions that leaves the fewest unused.

    Boxes are powers of two along every axis; of equals, the largest, then those with
    the most neighbours in memory. Results that are next to one another along axis
    ``stored`` should be so in a box, too: runs of two take twice as long.
    """
    if len(sizes) == 1:
        return (extent,)
    boxes = [box for box in _boxes(sizes, extent) if math.prod(box) >= SMALLEST_BOX]
    if not boxes:
        return None

    def key(box: tuple[int, ...]) -> tuple[int, ...]:
        wasted = _covered(sizes, box, extent)
        if stored is not None:
            wasted += 2 * wasted // box[stored]
        return (wasted, -math.prod(box), *(-chunk for chunk in box))

    return min(boxes, key=key)


def _boxes(sizes: tuple[int, ...], extent: int) -> list[tuple[int, ...]]:
    """Powers of two along every axis whose product divides the extent."""
    most = extent & -extent
    powers = [
        [1 << n for n in range(most.bit_length()) if 1 << n < 2 * size]
        for size in sizes
    ]
    return [box for box in itertools.product(*powers) if most % math.prod(box) == 0]


def _covered(sizes: tuple[int, ...], box: tuple[int, ...], extent: int) -> int:
    """Positions of all blocks, and a little for every box that must be brought."""
    count = extent // math.prod(box)
    pairs = zip(sizes, box, strict=True)
    cells = math.prod(-(-size // chunk) for size, chunk in pairs)
    return -(-cells // count) * extent * (64 + count)
