"""Convolutions with fewer multiplications: Winograd's transforms, along one axis.

Four neighbours of a convolution with five taps take twenty products. But the sums are
coefficients of a product of polynomials, and that is known from its values at eight
points, each of which is one product:

    y[t] = Σ_p A[t, p] · (Σ_i G[p, i] g[i]) · (Σ_j B[p, j] x[j])     t < 4, i < 5, j < 8

Filters are transformed by G once, an image by B where it is packed, and results by A
where they are stored. Whatever else is summed over, channels and the other axis of the
filter, is summed between the transforms, so that they are little beside the products.

The matrices are those of Toom and Cook, transposed: A. Lavin and S. Gray, "Fast
Algorithms for Convolutional Neural Networks", 2016. Rounding grows with the powers
of the points, so those are small and their fractions exact, tiles are of four results
at most, and only one of the two axes is transformed. Results then are twice as far
from those of float64 as plain sums of products are (see also B. Barabasz and others,
"Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
Networks", 2020; six results of three taps would be three times as far).

What is not finite spreads: an element of infinity or NaN reaches all results of its
tile, and not only those whose windows it lies in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Add, Mul, Neg
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Guard, Select, literal
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.products.contraction import Block, hosted_contraction
from tetragrad.tile.plans.products.windows import DirectPlan, Image, Sliding
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.traffic import points_in

# Values at infinity, which are the highest coefficients, are products too.
_HALF = Fraction(1, 2)
_FINITE_POINTS = {
    4: (0, 1, -1),
    5: (0, 1, -1, 2),
    6: (0, 1, -1, 2, -_HALF),
    7: (0, 1, -1, 2, -2, _HALF),
    8: (0, 1, -1, 2, -2, _HALF, -_HALF),
}
#: How many products and how many results there may be in a tile.
POINT_COUNTS = tuple(_FINITE_POINTS)
TILES = range(2, 5)

Matrix = tuple[tuple[Fraction, ...], ...]


@frozen
class Transform:
    """A tile of neighbouring results of a convolution with so many taps."""

    tile: int
    taps: int

    @property
    def points(self) -> int:
        """Products of a tile, and elements of the image that it reads."""
        return self.tile + self.taps - 1

    @property
    def results(self) -> Matrix:
        """A[t, p]: what the product at a point adds to a result."""
        return _results(self.tile, self.points)

    @property
    def filters(self) -> Matrix:
        """G[p, i]: what a tap adds to the filter at a point."""
        return _filters(self.taps, self.points)

    @property
    def image(self) -> Matrix:
        """B[p, j]: what an element adds to the image at a point."""
        return _image(self.points)


@functools.lru_cache(maxsize=32)
def _results(tile: int, points: int) -> Matrix:
    finite = _finite(points)
    highest = [Fraction(power == tile - 1) for power in range(tile)]
    return tuple(
        (*(point**power for point in finite), highest[power]) for power in range(tile)
    )


@functools.lru_cache(maxsize=32)
def _filters(taps: int, points: int) -> Matrix:
    finite = _finite(points)
    rows = []
    for point in finite:
        others = Fraction(1)
        for other in finite:
            others *= point - other if other != point else 1
        rows.append(tuple(point**power / others for power in range(taps)))
    rows.append(tuple(Fraction(power == taps - 1) for power in range(taps)))
    return tuple(rows)


@functools.lru_cache(maxsize=32)
def _image(points: int) -> Matrix:
    """Coefficients of the polynomials that are zero at all other points."""
    finite = _finite(points)
    rows = [
        (*_with_roots([other for other in finite if other != point]), Fraction(0))
        for point in finite
    ]
    return (*rows, tuple(_with_roots(finite)))


def _finite(points: int) -> list[Fraction]:
    return [Fraction(point) for point in _FINITE_POINTS[points]]


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of Π (x - root), the lowest first."""
    found = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *found]
        scaled = [*(-root * entry for entry in found), Fraction(0)]
        found = [low + high for low, high in zip(shifted, scaled, strict=True)]
    return found


def combined(
    coefficients: Sequence[Fraction], values: Sequence[Expression]
) -> Expression:
    """Σ coefficient · value, without what is multiplied by zero."""
    dtype = values[0].dtype
    total: Expression | None = None
    for coefficient, value in zip(coefficients, values, strict=True):
        if coefficient == 0:
            continue
        if coefficient == -1:
            value = Compute(Neg, dtype, (value,))
        elif coefficient != 1:
            value = Compute(Mul, dtype, (value, literal(float(coefficient), dtype)))
        total = value if total is None else Compute(Add, dtype, (total, value))
    assert total is not None, "no row of a transform is zero"
    return total


# --- the plan -----------------------------------------------------------------------


@frozen
class WinogradPlan(DirectPlan):
    """A convolution along whose rows results are computed in tiles.

    ``row_axis`` is where the tiles are in ``columns``: a block has some tiles of it,
    or all of them for several positions of the axis before it. The transformed
    filters are in ``slot``: [batch, point, panel, depth, row in the panel].
    """

    transform: Transform = Transform(2, 3)
    row_axis: int = 0
    slot: int = 0

    def lines(self, kernel: Kernel) -> int:
        """Tiles of a block along the rows, in each of its images."""
        rows = kernel.axes[self.columns.axes[self.row_axis]]
        if self.columns.split == self.row_axis:
            rows = self.columns.chunk
        return -(-rows // self.transform.tile)

    @property
    def images(self) -> int:
        """Positions of the axis before the tiles in a block."""
        return 1 if self.columns.split == self.row_axis else self.columns.chunk

    def windows(self, kernel: Kernel) -> Block:
        """The block's part of one image, in whole tiles."""
        chunk = self.lines(kernel) * self.transform.tile
        return Block(self.columns.axes, self.row_axis, chunk)


def can_be_transformed(sliding: Sliding) -> bool:
    """Whether windows move along an axis as a convolution's do."""
    return sliding.tap is not None and (sliding.step, abs(sliding.spread)) == (1, 1)


# --- transformed filters --------------------------------------------------------------


@frozen
class Filters(Division):
    """Transform a convolution's filters first, into scratch memory.

    The filters are the left operand after a ``swap``, and move along ``tap``; panels
    have ``micro_rows`` of them. As a cut does, it divides a kernel into one that runs
    first, and the rest.
    """

    swap: bool
    image: Image
    transform: Transform
    depth: tuple[int, ...]
    micro_rows: int

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        return _divided(kernel, self)


@functools.lru_cache(maxsize=64)
def _divided(kernel: Kernel, cut: Filters) -> tuple[Kernel, Kernel]:
    """The kernel that transforms filters, and the convolution with another slot."""
    contraction = hosted_contraction(kernel)
    assert contraction is not None, "filters of a convolution"
    sides = contraction.swapped() if cut.swap else contraction
    (row,) = sides.rows
    size, width = kernel.axes[row], cut.micro_rows
    panel, place = len(kernel.axes), len(kernel.axes) + 1
    sizes = (*kernel.axes, -(-size // width), width)
    position = axis_form(panel).scale(width) + axis_form(place)
    exists = (position.scale(-1).shift(size - 1),) if size % width else ()
    taps = _taps(sides.lhs, cut.image, {row: position}, exists)

    each = points_in(replace(kernel, axes=sizes), (panel, *cut.depth, place))
    address = _flat(sizes, (panel, *cut.depth, place))
    address += _flat(sizes, sides.batch).scale(each * cut.transform.points)
    axes = tuple(sorted((*sides.batch, panel, *cut.depth, place)))
    slot = len(kernel.slots)
    outputs = tuple(
        Output(slot, address.shift(point * each), combined(coefficients, taps), axes)
        for point, coefficients in enumerate(cut.transform.filters)
    )
    batches = points_in(kernel, sides.batch)
    filters = Slot(taps[0].dtype, batches * cut.transform.points * each)
    slots = (*kernel.slots, filters)
    first = replace(kernel, axes=sizes, slots=slots, outputs=outputs)
    return simplify_axes(first), replace(kernel, slots=slots)


def _taps(
    filters: Expression, image: Image, forms: dict[int, Affine], exists: Guard
) -> list[Expression]:
    """The filter at each tap of the rows, in the order in which the image has them."""
    sliding = image.row
    assert sliding is not None and sliding.tap is not None
    found = {}
    for tap in range(sliding.taps):
        bound = {**forms, sliding.tap: Affine(tap)}
        value = Rewriter(bound, {}, exists)(filters)
        if exists:
            value = Select(exists, value, literal(0, value.dtype))
        _, place = sliding.place(tap)
        found[place] = value
    return [found[place] for place in range(sliding.taps)]


def _flat(sizes: Sequence[int], axes: Sequence[int]) -> Affine:
    """The number of a point, where the last axis counts fastest."""
    address, step = ZERO, 1
    for axis in reversed(axes):
        address += axis_form(axis).scale(step)
        step *= sizes[axis]
    return address
