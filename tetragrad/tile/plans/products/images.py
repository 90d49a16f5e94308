"""A block's part of an image, packed once for all the windows that read it.

Rows lie one after the other, so a step from one tap to the next moves all positions of
a block by the same distance, across the ends of rows too:

    position of result (oh, ow)   oh * pitch + ow
    moved by tap (kh, kw)         kh * pitch + kw

With a step of two, even and odd positions of the image lie apart, so that windows that
are neighbours read neighbours. Elements outside of the image are what the operand
makes of them: zeros around a convolution's image, minus infinity around a pool's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, Select, literal
from tetragrad.tile.ir import Alloc, Layout, Map, Space, Statement, Tile, TileLoad
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.windows import Extents, Image, Sliding
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    fitting_strip,
    loop,
    strips,
)

# Multiplications of vectors up to which the taps of a window are written out.
LONGEST_WRITTEN_OUT = 256


@frozen
class Tap:
    """A place in the window: its numbers along both axes, and what it reads.

    ``position`` is where the tile has what the tap reads for a block's first result.
    """

    row: Affine
    lane: Affine
    position: Affine


@frozen
class ImageReader:
    """Packs an operand as an image, and says where its taps are.

    ``columns`` is the block whose windows are read, ``vector`` the elements that move
    at once. Readers go up to ``reached`` positions beyond where a tap begins.
    """

    builder: Builder
    image: Image
    extents: Extents
    columns: Block
    operand: Expression
    vector: int
    reached: int

    def tile(self) -> Tile:
        """The image, indexed by where a tap begins and by a position of results.

        Both move by single elements.
        """
        size = self.extents.size + self.reached - self.extents.results
        shape, layout = (size, self.reached), Layout((1, 1))
        dtype = self.operand.dtype
        return self.builder.tile("image", shape, dtype, Space.SHARED, layout)

    # --- packing -----------------------------------------------------------------

    def pack(self, scope: Scope, start: Affine, tile: Tile) -> list[Statement]:
        """Write every element that the block's windows read, and zeros behind them.

        The block begins at ``start`` along its chunked axis.
        """
        statements = self.cleared_behind(tile, self.extents.size)
        scratch = self.scratch_row(tile)
        if scratch is not None:
            statements.append(Alloc(scratch))
        packing = _Packing(self, start, tile, scratch)
        return statements + self.planes(scope, packing.rows)

    def cleared_behind(self, tile: Tile, size: int) -> list[Statement]:
        """Zeros behind so many positions, where only whole vectors reach."""
        beyond = tile.shape[0] - size
        if not beyond:
            return []
        lane = self.builder.axis(beyond)
        where = (axis_form(lane).shift(size), ZERO)
        return [Map(((lane, beyond),), tile, where, literal(0, tile.dtype))]

    def scratch_row(self, tile: Tile) -> Tile | None:
        """A row as memory has it, if its positions are to be put apart."""
        step = self.image.lane.step
        if step == 1:
            return None
        size = (-(-self.extents.pitch // self.vector) + 1) * self.vector * step
        return self.builder.tile("row", (size,), tile.dtype, Space.SHARED)

    def planes(
        self, scope: Scope, body: Callable[[Scope, Affine], list[Statement]]
    ) -> list[Statement]:
        """Loops over the planes; the body gets the plane's number."""

        def nested(
            axes: Sequence[int], scope: Scope, number: Affine
        ) -> list[Statement]:
            if not axes:
                return body(scope, number)
            axis, *others = axes
            count = scope.size(axis)
            return loop(
                self.builder,
                count,
                lambda form: nested(
                    others, scope.bind(axis, form), number.scale(count) + form
                ),
            )

        return nested(self.image.planes, scope, ZERO)

    # --- taps --------------------------------------------------------------------

    def taps(
        self,
        plane: Affine,
        vectors: int,
        body: Callable[[Tap], list[Statement]],
        *,
        rows_inside: bool = False,
    ) -> list[Statement]:
        """The body for every tap of a plane, in loops or written out.

        What is written out is at most so many steps of ``vectors`` each. Rows inside
        let neighbouring rows of results share what they read.
        """
        row, lane = self.image.row, self.image.lane
        extents = self.extents
        place = plane.scale(extents.plane)
        inner, outer = (row, lane) if rows_inside else (lane, row)
        inner_count = 1 if inner is None else inner.taps

        def tap(first: _Along, second: _Along) -> list[Statement]:
            along, down = (first, second) if rows_inside else (second, first)
            step = lane.step
            remainder = (down.remainder * step + along.remainder) * extents.remainder
            moved = down.position.scale(extents.pitch) + along.position
            position = (place + moved).shift(remainder)
            return body(Tap(down.number, along.number, position))

        return self._each(
            outer,
            vectors * inner_count,
            lambda first: self._each(inner, vectors, lambda second: tap(first, second)),
        )

    def _each(
        self,
        sliding: Sliding | None,
        vectors: int,
        body: Callable[[_Along], list[Statement]],
    ) -> list[Statement]:
        """The body for every tap along an axis: in a loop, or written out."""
        if sliding is None:
            return body(_Along(ZERO, 0, ZERO))
        unroll = sliding.taps * vectors <= LONGEST_WRITTEN_OUT
        statements: list[Statement] = []
        for first, count in _runs(sliding):
            remainder, start = sliding.place(first)

            def one(
                number: Affine,
                first: int = first,
                remainder: int = remainder,
                start: int = start,
            ) -> list[Statement]:
                tap = number.scale(sliding.step).shift(first)
                moved = number.scale(sliding.spread).shift(start)
                return body(_Along(tap, remainder, moved))

            if unroll:
                for number in range(count):
                    statements += one(Affine(number))
            else:
                statements += loop(self.builder, count, one)
        return statements


@frozen
class _Along:
    """A tap along one axis: its number, the remainder of what it reads, and where."""

    number: Affine
    remainder: int
    position: Affine


def _runs(sliding: Sliding) -> Iterator[tuple[int, int]]:
    """The first tap and the number of taps that read each remainder."""
    for first in range(min(sliding.step, sliding.taps)):
        yield first, -(-(sliding.taps - first) // sliding.step)


@frozen
class _Packing:
    """An image that is being packed: where its block begins, and where it goes."""

    reader: ImageReader
    start: Affine
    tile: Tile
    scratch: Tile | None

    def rows(self, scope: Scope, plane: Affine) -> list[Statement]:
        """The rows of one plane."""
        reader = self.reader
        row, extents = reader.image.row, reader.extents
        place = plane.scale(extents.plane)
        if row is None:
            return self.row(scope, place)
        statements: list[Statement] = []
        for remainder in range(row.step):
            skipped = remainder * extents.remainder * reader.image.lane.step

            def one(
                number: Affine, remainder: int = remainder, skipped: int = skipped
            ) -> list[Statement]:
                position = number.scale(row.step).shift(remainder)
                inside = self.at(row, scope, position, extents.rows)
                at = place + number.scale(extents.pitch).shift(skipped)
                return self.row(inside, at)

            statements += loop(reader.builder, row.length(extents.rows), one)
        return statements

    def at(self, sliding: Sliding, scope: Scope, position: Affine, count: int) -> Scope:
        """The scope at a position of one dimension; guarded where none exists."""
        columns = self.reader.columns
        is_chunked = sliding.axis == columns.chunked
        start = self.start if is_chunked else ZERO
        for axis, form in sliding.bind(start, position).items():
            scope = scope.bind(axis, form)
        exists = [position.scale(-1).shift(sliding.reach(count) - 1)]
        if is_chunked and columns.is_ragged(scope.builder.kernel):
            last = sliding.reach(scope.size(sliding.axis)) - 1
            moved = start.scale(sliding.step) + position
            exists.append(moved.scale(-1).shift(last))
        return scope.with_guard(*exists)

    def row(self, scope: Scope, place: Affine) -> list[Statement]:
        """One row of the image, by remainders if windows step over several."""
        lane, pitch = self.reader.image.lane, self.reader.extents.pitch
        if self.scratch is None:
            return self.read(scope, self.tile, place, pitch)
        statements = self.read(scope, self.scratch, None, lane.step * pitch)
        for remainder in range(lane.step):
            at = place.shift(remainder * self.reader.extents.remainder)
            statements += self.spread(at, self.scratch, remainder)
        return statements

    def read(
        self, scope: Scope, tile: Tile, place: Affine | None, count: int
    ) -> list[Statement]:
        """So many neighbouring elements of the operand, zero where none exist."""
        reader, outside = self.reader, scope.guard
        lane, lanes = reader.image.lane, reader.extents.lanes

        def vector(inside: Scope) -> list[Statement]:
            position, mask = inside.forms[lane.axis], inside.guard
            found = replace(inside, guard=outside)
            found = self.at(lane, found, position, lanes)
            needed = found.guard
            found = replace(found, guard=(*mask, *needed))
            value = cast(found.value(reader.operand), tile.dtype)
            if needed:
                value = Select(needed, value, literal(0, tile.dtype))
            index = (position,) if place is None else (place + position, ZERO)
            return [Map(inside.collective, tile, index, value, mask)]

        strip = fitting_strip(lane.axis, count, reader.vector, 1)
        return strips(replace(scope, guard=()), strip, ZERO, count, vector)

    def spread(self, place: Affine, scratch: Tile, remainder: int) -> list[Statement]:
        """Every so many positions of a row, from one on."""
        reader = self.reader
        lane, pitch = reader.image.lane, reader.extents.pitch

        def vector(inside: Scope) -> list[Statement]:
            number = inside.forms[lane.axis]
            value = TileLoad(scratch, (number.scale(lane.step).shift(remainder),))
            index = (place + number, ZERO)
            return [Map(inside.collective, self.tile, index, value, inside.guard)]

        strip = fitting_strip(lane.axis, pitch, reader.vector, 1)
        return strips(Scope(reader.builder), strip, ZERO, pitch, vector)
