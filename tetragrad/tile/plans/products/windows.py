"""The windows of a convolution: which part of an image a block of results reads.

An operand slides if a column axis and a depth axis move it the same way:

    x[c, 2*oh + kh - 1, 2*ow + kw - 1]       rows 2*oh + kh, columns 2*ow + kw

Then neighbouring results read mostly the same elements, and a block can keep each of
them once, however many windows it lies in. Whether two axes move the operand the same
way is asked of every affine form in it, addresses and guards alike, so what is found
holds for padded images and for whatever is computed from their elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.contraction import Block, ContractionPlan

# Steps and spreads of windows up to which an image is kept as such.
LONGEST_STEP = 8


@frozen
class Sliding:
    """A dimension of an image along which windows slide.

    Window number ``axis`` and place ``tap`` in it read the image's position
    ``step * axis + spread * tap``. Without a ``tap`` windows are one position wide.
    Positions are kept apart by their remainder by ``step``, so that neighbouring
    windows always read neighbouring elements.
    """

    axis: int
    tap: int | None
    step: int
    spread: int
    taps: int

    @property
    def first(self) -> int:
        """The position of the first element that the first window reads."""
        return min(0, self.spread * (self.taps - 1))

    def overlaps(self, count: int) -> bool:
        """Whether some of so many windows share positions.

        The steps have no common divisor, so windows meet first where ``spread`` of
        them are as far apart as ``step`` taps.
        """
        return self.taps > self.step and count > abs(self.spread)

    def reach(self, count: int) -> int:
        """How many positions so many neighbouring windows cover."""
        return self.step * (count - 1) + abs(self.spread) * (self.taps - 1) + 1

    def length(self, count: int) -> int:
        """How many positions of one remainder they cover."""
        return -(-self.reach(count) // self.step)

    def place(self, tap: int) -> tuple[int, int]:
        """The remainder and the number, for the first window, of what a tap reads."""
        number, remainder = divmod(self.spread * tap - self.first, self.step)
        return remainder, number

    def bind(self, start: Affine, position: Affine) -> dict[int, Affine]:
        """Forms of the axes at a position, counted from window ``start``'s first.

        Either axis may be given a value beyond its end: all forms depend on the
        position only.
        """
        position = position.shift(self.first)
        if self.step == 1 or self.tap is None:
            taps = {} if self.tap is None else {self.tap: Affine(0)}
            return {self.axis: start + position, **taps}
        return {self.axis: start, self.tap: position.scale(self.spread)}


@frozen
class Image:
    """What the columns of a block read: planes of rows, along which windows slide."""

    planes: tuple[int, ...]
    row: Sliding | None
    lane: Sliding

    @property
    def sliding_axes(self) -> int:
        """Along how many axes windows overlap."""
        along = [self.lane] if self.row is None else [self.row, self.lane]
        return sum(entry.taps > 1 for entry in along)

    @property
    def window(self) -> int:
        """Elements of a window, in one plane."""
        return self.lane.taps * (1 if self.row is None else self.row.taps)


@frozen
class Extents:
    """How large the image of a block is: its planes, and its windows either way."""

    image: Image
    planes: int
    rows: int
    lanes: int

    @property
    def pitch(self) -> int:
        """Positions from one row of results to the next."""
        return self.image.lane.length(self.lanes)

    @property
    def remainder(self) -> int:
        """Positions of one remainder of rows and lanes."""
        row = self.image.row
        return self.pitch * (1 if row is None else row.length(self.rows))

    @property
    def plane(self) -> int:
        """Positions of a plane, whose remainders lie one after the other."""
        row = self.image.row
        remainders = self.image.lane.step * (1 if row is None else row.step)
        return self.remainder * remainders

    @property
    def size(self) -> int:
        """Positions of the whole image."""
        return self.planes * self.plane

    @property
    def results(self) -> int:
        """Positions from a block's first result to its last."""
        return (self.rows - 1) * self.pitch + self.lanes


def extents_of(kernel: Kernel, image: Image, columns: Block) -> Extents:
    """How large the image of a block of columns is."""
    planes = math.prod(kernel.axes[axis] for axis in image.planes)
    if image.row is None:
        return Extents(image, planes, 1, columns.chunk)
    return Extents(image, planes, columns.chunk, kernel.axes[image.lane.axis])


@frozen
class DirectPlan(ContractionPlan):
    """A contraction that reads an image as such, instead of packed windows."""


def image_of(
    kernel: Kernel, operand: Expression, depth: Sequence[int], columns: Block
) -> Image | None:
    """The image that an operand reads for columns, if the block is of one or two axes.

    Every axis of the depth is then a tap of one of these, or numbers planes.
    """
    if len(columns.inner) > 1:
        return None
    forms = forms_below(operand)
    if not all(form.is_pure() for form in forms):
        return None
    rest = [axis for axis in depth if kernel.axes[axis] > 1]
    *outside, inside = (columns.chunked, *columns.inner)
    lane = sliding_along(kernel, forms, inside, rest)
    if lane.tap is not None:
        rest.remove(lane.tap)
    row = None
    if outside:
        row = sliding_along(kernel, forms, outside[0], rest)
        if row.tap is not None:
            rest.remove(row.tap)
    return Image(tuple(rest), row, lane)


def forms_below(operand: Expression) -> list[Affine]:
    return [form for entry in walk(operand) for form in entry.forms]


def sliding_along(
    kernel: Kernel, forms: Sequence[Affine], axis: int, taps: Sequence[int]
) -> Sliding:
    """How windows slide along an axis: with the tap that moves most nearly as far."""
    found = []
    for tap in taps:
        ratio = _ratio(forms, axis, tap)
        if ratio is None:
            continue
        sliding = Sliding(axis, tap, *ratio, kernel.axes[tap])
        if sliding.overlaps(kernel.axes[axis]):
            found.append(sliding)
    if not found:
        return Sliding(axis, None, 1, 1, 1)
    return min(found, key=lambda entry: max(entry.step, abs(entry.spread)))


def _ratio(forms: Sequence[Affine], axis: int, tap: int) -> tuple[int, int] | None:
    """The steps of two axes in lowest terms, if they move all forms alike.

    One of the two must be 1 or -1, so that each position is some place of some window.
    """
    pairs = {(form.coefficient(axis), form.coefficient(tap)) for form in forms}
    ratios = set()
    for step, spread in pairs - {(0, 0)}:
        if step == 0 or spread == 0:
            return None
        divisor = math.gcd(step, spread) * (1 if step > 0 else -1)
        ratios.add((step // divisor, spread // divisor))
    if len(ratios) != 1:
        return None
    step, spread = ratios.pop()
    if max(step, abs(spread)) > LONGEST_STEP or min(step, abs(spread)) > 1:
        return None
    return step, spread
