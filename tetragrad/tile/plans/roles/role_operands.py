"""The channels through which the operands of a product by roles come.

What the copy engine brings and the matrix unit multiplies goes through one channel. An
operand that threads compute goes through another one, *filled*; what they compute it
from, if the engine can bring that, through a third, *narrow*:

    Role(load)       Acquire  Copy(lhs)     Commit      of ``operands``
                     Acquire  Copy(narrow)  Commit      of ``narrow``
    Role(fill)       Wait(narrow)  Acquire(filled)  Map(rhs)  Commit  Release
    Role(multiply)   Wait(operands)  Wait(filled)  Mma  Release  Release

Operands of float32 that are multiplied in two parts are brought; the rest of each is
computed from it, and goes through a channel of its own, *filled* (``split.py``):

    Role(fill)       Wait(operands)  Acquire(filled)  Map(rests)  Commit  Release
    Role(multiply)   Wait(operands)  Wait(filled)  three Mma  Release  Release

Where the left operand is held in registers, the role that multiplies computes it from a
narrow tile of its own channel:

    Role(multiply)   Wait(operands)  Map(held = narrow)  Mma(held, rhs)  Release
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.tile.ir import (
    Acquire,
    Channel,
    Commit,
    Release,
    Space,
    Statement,
    Tile,
    Wait,
)
from tetragrad.tile.plans.roles.bulk import BulkOperand
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.plans.roles.filled import FilledOperand, Filling
from tetragrad.tile.plans.roles.role_plan import RolePlan, RoleProduct, Sides
from tetragrad.tile.plans.roles.split import fill_rest
from tetragrad.tile.plans.scope import Builder

Number = tuple[Affine, int]
"""The number of a block of one side, and how many there are."""


@frozen
class Place:
    """Where a step is: the blocks of rows and columns, and where other axes stand.

    ``starts`` has the axes of the depth at the step's first position.
    """

    row: Number
    column: Number
    batch: Mapping[int, Affine]
    starts: Mapping[int, Affine]


@frozen
class RoleOperands:
    """Both operands' tiles, and the channels that these and others come through."""

    builder: Builder
    product: RoleProduct
    sides: Sides
    tiles: tuple[Tile, Tile]
    narrow_tiles: tuple[Tile | None, Tile | None]
    brought: Channel | None
    narrow: Channel | None
    filled: Channel | None
    rests: tuple[Tile, Tile] | None = None

    @property
    def pairs(self) -> list[tuple[Tile, Tile]]:
        """What is multiplied with what, the smallest products first."""
        if self.rests is None:
            return [self.tiles]
        (lhs, rhs), (rest, other) = self.tiles, self.rests
        return [(rest, rhs), (lhs, other), (lhs, rhs)]

    @property
    def held(self) -> Tile | None:
        """The left operand in registers, if it is there."""
        return self.tiles[0] if self.tiles[0].space is Space.REGISTER else None

    @property
    def multiplied(self) -> list[Channel]:
        """The channels that hold what is multiplied."""
        return [entry for entry in (self.brought, self.filled) if entry is not None]

    @property
    def copied(self) -> list[Channel]:
        """The channels that the copy engine fills."""
        return [entry for entry in (self.brought, self.narrow) if entry is not None]

    def bring(self, place: Place) -> list[Statement]:
        """Fill a slot of every channel that the copy engine fills."""
        statements: list[Statement] = []
        for channel in self.copied:
            copies: list[Statement] = []
            for number in (0, 1):
                source, tile = self._source(number)
                if source is not None and tile in channel.tiles:
                    copies += self._copies(place, number, source, tile, channel)
            statements += [Acquire(channel), *copies, Commit(channel)]
        return statements

    def _operands(self) -> Sequence[BulkOperand | FilledOperand]:
        return self.product.lhs, self.product.rhs

    def _source(self, number: int) -> tuple[BulkOperand | None, Tile | None]:
        """What the engine brings of an operand, and the tile that it goes to."""
        operand = self._operands()[number]
        if isinstance(operand, BulkOperand):
            return operand, self.tiles[number]
        return operand.narrow, self.narrow_tiles[number]

    def _copies(
        self,
        place: Place,
        number: int,
        source: BulkOperand,
        tile: Tile,
        channel: Channel,
    ) -> list[Statement]:
        """The boxes of one operand for one step: one for each cell of its side."""
        cells, (block, blocks) = self._side(place, number)
        both = (self.sides.depth, cells)
        starts = {**place.batch, **place.starts}
        copies: list[Statement] = []
        for cell in range(cells.count):
            first = starts | cells.starts(block, Affine(cell), blocks)
            copies.append(source.copy(self.builder, tile, channel, first, both, cell))
        return copies

    def _side(self, place: Place, number: int) -> tuple[Cells, Number]:
        if number == 0:
            return self.sides.rows, place.row
        return self.sides.columns, place.column

    def fill(self, place: Place) -> list[Statement]:
        """Compute a slot of the operands that threads compute."""
        assert self.filled is not None
        if self.rests is not None:
            return self._fill_rests(self.rests, self.filled)
        maps: list[Statement] = []
        for number, operand in enumerate(self._operands()):
            if isinstance(operand, FilledOperand):
                step = self._filling(place, number)
                narrow = self.narrow_tiles[number]
                tile = self.tiles[number]
                maps.append(operand.fill(self.builder, tile, narrow, step))
        statements = [Acquire(self.filled), *maps, Commit(self.filled)]
        if self.narrow is None:
            return statements
        return [Wait(self.narrow), *statements, Release(self.narrow)]

    def _fill_rests(self, rests: tuple[Tile, Tile], filled: Channel) -> list[Statement]:
        """Compute what the unit ignores of both operands."""
        assert self.brought is not None
        maps = [
            fill_rest(self.builder, rest, tile)
            for rest, tile in zip(rests, self.tiles, strict=True)
        ]
        steps = [Acquire(filled), *maps, Commit(filled)]
        return [Wait(self.brought), *steps, Release(self.brought)]

    def hold(self, place: Place, member: Affine) -> list[Statement]:
        """Compute a member's rows of the left operand, if these are held."""
        operand, (narrow, _) = self.product.lhs, self.narrow_tiles
        if self.held is None:
            return []
        assert isinstance(operand, FilledOperand) and narrow is not None
        step = self._filling(place, 0)
        return [operand.hold(self.builder, self.held, narrow, step, member)]

    def _filling(self, place: Place, number: int) -> Filling:
        """A step of one operand."""
        cells, block = self._side(place, number)
        return Filling(place.batch, place.starts, (self.sides.depth, cells), block)


def role_operands(
    builder: Builder, plan: RolePlan, product: RoleProduct, sides: Sides
) -> RoleOperands:
    """The tiles and channels of a product."""
    both = [_tiles_of(builder, plan, product, sides, number) for number in (0, 1)]
    (lhs, narrow_lhs), (rhs, narrow_rhs) = both
    pairs = list(zip((lhs, rhs), product.filled, strict=True))

    def channel(name: str, found: Sequence[Tile | None], stages: int) -> Channel | None:
        held = tuple(tile for tile in found if tile is not None)
        return Channel(name, held, stages) if held else None

    brought: list[Tile | None] = [tile for tile, is_made in pairs if not is_made]
    filled = [tile for tile, is_made in pairs if is_made]
    sources = [narrow_lhs, narrow_rhs]
    if plan.held:
        brought, filled, sources = [*sources, *brought], [], []
    rests: tuple[Tile, Tile] | None = None
    if plan.splits:
        rests = (
            product.lhs.tile(builder, "lhs_rest", plan.depth, plan.rows),
            product.rhs.tile(builder, "rhs_rest", plan.depth, plan.columns),
        )
        filled = [*rests]
    return RoleOperands(
        builder,
        product,
        sides,
        (lhs, rhs),
        (narrow_lhs, narrow_rhs),
        channel("operands", brought, plan.stages),
        channel("narrow", sources, plan.stages),
        channel("filled", filled, max(1, plan.filled_stages)),
        rests,
    )


def _tiles_of(
    builder: Builder, plan: RolePlan, product: RoleProduct, sides: Sides, number: int
) -> tuple[Tile, Tile | None]:
    """What is multiplied of an operand in a step, and what it is computed from."""
    name = ("lhs", "rhs")[number]
    operand = (product.lhs, product.rhs)[number]
    size, cells = ((plan.rows, sides.rows), (plan.columns, sides.columns))[number]
    is_held = plan.held and number == 0
    if is_held:
        shape = (plan.depth, plan.member_rows)
        tile = builder.tile("held", shape, operand.dtype)
    else:
        tile = operand.tile(builder, name, plan.depth, size)
    if not isinstance(operand, FilledOperand) or not operand.brings(
        (sides.depth, cells)
    ):
        return tile, None
    name = f"narrow_{name}"
    return tile, operand.narrow_tile(builder, name, plan.depth, size, is_held=is_held)
