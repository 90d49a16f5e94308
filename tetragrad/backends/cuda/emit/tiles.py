"""Where each register tile of a grid really lives, and how statements are spread.

*On lanes*: the tile's last dimension lies on the lanes of every statement that
touches it, so each thread holds its own part. *Everywhere*: a small tile whose
elements all threads hold, like a row's sum. Anything else goes to shared memory,
where it can be indexed freely.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tetragrad.backends.cuda.emit import formats
from tetragrad.backends.cuda.emit.matrix_unit.warpgroup import is_for_warpgroup
from tetragrad.backends.cuda.emit.patches import Patches, is_for_patches
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Mul
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Literal,
    Load,
    atoms_of,
    walk,
)
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    For,
    Map,
    Mma,
    Running,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    When,
    every_statement,
)

#: The largest tile that every thread holds as a whole.
LARGEST_EVERYWHERE = 64
#: What the four warps of a block divide a matrix unit's results into at least, and
#: the depth of one of its steps.
MATRIX_SIDE = 32
MATRIX_DEPTH = 16

Collective = Map | Fold | Running | Store


class Spread(Enum):
    """How a statement's points are divided among threads."""

    LANES = "lanes"
    EVERYWHERE = "everywhere"
    FLAT = "flat"
    FRAGMENTS = "fragments"
    FRAGMENT_ROWS = "fragment rows"


@frozen
class Access:
    """One use of a tile: the axes of its statement, and the indices."""

    tile: Tile
    axes: tuple[Extent, ...]
    indices: tuple[Affine, ...]

    @property
    def lane(self) -> int | None:
        return self.axes[-1][0] if self.axes else None

    def is_on_lanes(self) -> bool:
        """Whether the last index, and it alone, is the statement's last axis."""
        if not self.axes or not self.indices:
            return False
        lane, lanes = self.axes[-1]
        *others, last = self.indices
        return (
            last == axis_form(lane)
            and lanes == self.tile.shape[-1]
            and all(lane not in form.axes() for form in others)
        )

    def uses_lane(self) -> bool:
        """Whether the element depends on the statement's last axis."""
        return any(self.lane in form.axes() for form in self.indices)


@dataclass
class TileHomes:
    """The register tiles of a grid, by name, divided by where they live."""

    lanes: set[str] = field(default_factory=set)
    fragments: dict[str, Tile] = field(default_factory=dict)
    #: How results are divided where they are no matrix unit's.
    patches: Patches | None = None
    #: Fragments whose registers stay the same while a warpgroup's products go on.
    fixed: set[str] = field(default_factory=set)
    #: Tiles that lie as the unit reads an operand from registers, in pairs.
    operands: dict[str, Tile] = field(default_factory=dict)
    #: One value for each row of a product, held by all threads with parts of it.
    fragment_rows: set[str] = field(default_factory=set)
    #: Those of them of which each thread holds a part: they are added up when read.
    parts: set[str] = field(default_factory=set)
    everywhere: set[str] = field(default_factory=set)
    shared: dict[str, Tile] = field(default_factory=dict)
    # Statements by identity, as they are asked about wherever they are written out.
    _spreads: dict[int, tuple[Collective, Spread]] = field(default_factory=dict)
    _reads: dict[int, tuple[Statement, set[str]]] = field(default_factory=dict)

    def in_memory(self, tile: Tile) -> bool:
        """Whether a tile has addresses."""
        return tile.space is not Space.REGISTER or tile.name in self.shared

    def spread(self, statement: Collective) -> Spread:
        """How the points of a statement are divided among threads."""
        known = self._spreads.get(id(statement))
        if known is None:
            known = self._spreads[id(statement)] = (
                statement,
                self._find_spread(statement),
            )
        return known[1]

    def reads(self, statement: Statement) -> set[str]:
        """Names of the tiles that a statement reads."""
        known = self._reads.get(id(statement))
        if known is None:
            known = self._reads[id(statement)] = statement, tiles_read(statement)
        return known[1]

    def _find_spread(self, statement: Collective) -> Spread:
        if not statement.axes:
            return Spread.EVERYWHERE
        accesses = held_by(statement)
        if any(entry.tile.name in self.fragments for entry in accesses):
            return Spread.FRAGMENTS
        if any(entry.tile.name in self.fragment_rows for entry in accesses):
            return Spread.FRAGMENT_ROWS
        if any(entry.tile.name in self.lanes for entry in accesses):
            return Spread.LANES
        held = [entry for entry in accesses if entry.tile.name in self.everywhere]
        if any(entry.uses_lane() for entry in held):
            return Spread.EVERYWHERE
        if isinstance(statement, Fold):
            return Spread.LANES
        # What goes back over a row finds in registers what the row's sums were made of.
        return Spread.LANES if held else Spread.FLAT


def find_homes(body: Sequence[Statement]) -> TileHomes:
    """Decide for every register tile of a grid's body."""
    accesses: dict[str, list[Access]] = {}
    together: list[list[Access]] = []
    unrolled: set[int] = set()
    multiplied: dict[str, Mma] = {}
    for statement in every_statement(body):
        if isinstance(statement, For) and statement.unroll:
            unrolled.add(statement.axis)
        if isinstance(statement, Mma):
            multiplied[statement.accumulator.name] = statement
        if isinstance(statement, Collective):
            found = held_by(statement)
            together.append(found)
            for entry in found:
                accesses.setdefault(entry.tile.name, []).append(entry)
    homes = TileHomes()
    patched = [is_for_patches(product) for product in multiplied.values()]
    if patched and all(patched):
        for product in multiplied.values():
            homes.fragments[product.accumulator.name] = product.accumulator
            homes.patches = Patches.of(product)
    for name, product in multiplied.items():
        if is_for_matrix_unit(product):
            homes.fragments[name] = product.accumulator
            if is_for_warpgroup(product):
                homes.fixed.add(name)
            if product.lhs.space is Space.REGISTER:
                homes.operands[product.lhs.name] = product.lhs
    _join_fragments(homes, together)
    _join_fragment_rows(homes, together)
    homes.parts = homes.fragment_rows - _read_as_a_whole(body)
    placed = homes.fragments.keys() | homes.operands.keys() | homes.fragment_rows
    for name in accesses.keys() - placed:
        _settle(homes, name, accesses[name], unrolled)
    _settle_conflicts(homes, accesses, together)
    for name in multiplied.keys() - homes.lanes - homes.fragments.keys():
        raise UnsupportedError(f"the sums of a product in tile {name} on CUDA")
    return homes


def _join_fragments(homes: TileHomes, together: list[list[Access]]) -> None:
    """What is indexed like a product's results, beside them, lies as they do."""
    for group in together:
        places = {
            (entry.indices, entry.tile.shape)
            for entry in group
            if entry.tile.name in homes.fragments
        }
        for entry in group:
            if (entry.indices, entry.tile.shape) in places:
                homes.fragments[entry.tile.name] = entry.tile


def _join_fragment_rows(homes: TileHomes, together: list[list[Access]]) -> None:
    """What is indexed by a row of a warpgroup's results, beside them or such a tile."""
    changed = bool(homes.fixed)
    while changed:
        changed = False
        for group in together:
            rows = {
                entry.indices[0]
                for entry in group
                if entry.tile.name in homes.fragments
                or entry.tile.name in homes.fragment_rows
            }
            for entry in group:
                is_row = len(entry.indices) == 1 and entry.indices[0] in rows
                if is_row and entry.tile.name not in homes.fragment_rows:
                    homes.fragment_rows.add(entry.tile.name)
                    changed = True


def _read_as_a_whole(body: Sequence[Statement]) -> set[str]:
    """Tiles that something but a copy reads, or that are more than sums with factors.

    Σ parts · c = (Σ parts) · c, so what is only added to and multiplied need not be
    whole before it is copied.
    """
    found: set[str] = set()
    for statement in every_statement(body):
        match statement:
            case Fold(tile=tile):
                read = tiles_read(statement)
                found |= read if statement.op is not Sum else read - {tile.name}
            case Map(tile=tile, value=TileLoad()):
                found.add(tile.name)
            case Map(tile=tile, value=value):
                read = tiles_read(statement)
                is_scaled = isinstance(value, Compute) and value.op is Mul
                held = value.inputs[0] if is_scaled else None
                if isinstance(held, TileLoad) and held.tile == tile:
                    beside = walk(value.inputs[1])
                    if held not in beside:
                        read -= {tile.name}
                elif not isinstance(value, Literal) or value.value:
                    found.add(tile.name)
                found |= read
            case Running() | Store() | When():
                found |= tiles_read(statement)
    return found


def _settle(
    homes: TileHomes, name: str, uses: Sequence[Access], unrolled: set[int]
) -> None:
    """A tile's home, from its uses alone."""
    tile = uses[0].tile
    if any(_is_indexed_freely(entry, unrolled) for entry in uses):
        homes.shared[name] = tile
    elif all(entry.is_on_lanes() for entry in uses):
        homes.lanes.add(name)
    else:
        _settle_off_lanes(homes, tile)


def _settle_off_lanes(homes: TileHomes, tile: Tile) -> None:
    if math.prod(tile.shape) <= LARGEST_EVERYWHERE:
        homes.everywhere.add(tile.name)
    else:
        homes.shared[tile.name] = tile


def _settle_conflicts(
    homes: TileHomes,
    accesses: dict[str, list[Access]],
    together: list[list[Access]],
) -> None:
    """Tiles on lanes that meet one held everywhere, indexed by lane, must move."""
    changed = True
    while changed:
        changed = False
        for group in together:
            on_lanes = {e.tile.name for e in group} & homes.lanes
            clashes = any(
                entry.tile.name in homes.everywhere and entry.uses_lane()
                for entry in group
            )
            if on_lanes and clashes:
                changed = True
                for name in on_lanes:
                    homes.lanes.discard(name)
                    _settle_off_lanes(homes, accesses[name][0].tile)


def _is_indexed_freely(access: Access, unrolled: set[int]) -> bool:
    """Whether an index depends on more than constants and collective axes."""
    known = {axis for axis, _ in access.axes} | unrolled
    return any(
        not form.is_pure() or not form.axes() <= known for form in access.indices
    )


def is_for_matrix_unit(product: Mma) -> bool:
    """Whether the operands are half-width floats in pieces that the unit multiplies."""
    dtype = product.lhs.dtype
    return is_for_warpgroup(product) or (
        dtype in formats.HALVES
        and product.rhs.dtype is dtype
        and product.rows % MATRIX_SIDE == 0
        and product.columns % MATRIX_SIDE == 0
        and product.depth % MATRIX_DEPTH == 0
    )


# --- walking -------------------------------------------------------------------------


def roots_of(statement: Collective | When) -> list[Expression]:
    """Every expression that a statement evaluates."""
    forms: list[Affine] = list(statement.guard)
    roots: list[Expression] = []
    if isinstance(statement, Store):
        forms.append(statement.address)
    if isinstance(statement, Map | Fold | Running):
        forms += statement.indices
    if not isinstance(statement, When):
        roots.append(statement.value)
    return roots + atoms_of(tuple(forms))


def held_by(statement: Collective) -> list[Access]:
    """The register tiles that a statement writes and reads."""
    places: list[tuple[Tile, tuple[Affine, ...]]] = []
    if isinstance(statement, Map | Fold | Running):
        places.append((statement.tile, statement.indices))
    if isinstance(statement, Running):
        beside = tuple(axis_form(axis) for axis, _ in statement.axes[:-1])
        places.append((statement.carry, beside))
    places += [(entry.tile, entry.indices) for entry in _tile_loads(statement)]
    return [
        Access(tile, statement.axes, indices)
        for tile, indices in places
        if tile.space is Space.REGISTER
    ]


def tiles_touched(statement: Collective) -> set[str]:
    """Names of the tiles that a statement writes and reads."""
    names = {entry.tile.name for entry in _tile_loads(statement)}
    if isinstance(statement, Map | Fold | Running):
        names.add(statement.tile.name)
    if isinstance(statement, Running):
        names.add(statement.carry.name)
    return names


def _tile_loads(statement: Collective | When) -> Sequence[TileLoad]:
    return _tile_loads_below(*roots_of(statement))


@functools.lru_cache(maxsize=512)
def _tile_loads_below(*roots: Expression) -> Sequence[TileLoad]:
    return [entry for entry in walk(*roots) if isinstance(entry, TileLoad)]


def tiles_read(statement: Statement) -> set[str]:
    """Names of the tiles that a statement reads."""
    if isinstance(statement, Mma):
        return {statement.lhs.name, statement.rhs.name}
    if not isinstance(statement, Map | Fold | Running | Store | When):
        return set()
    found = {entry.tile.name for entry in _tile_loads(statement)}
    if isinstance(statement, Fold):
        found.add(statement.tile.name)
    if isinstance(statement, Running):
        found.add(statement.carry.name)
    return found


def tiles_written(body: Sequence[Statement]) -> set[str]:
    """Names of the tiles that outlive a body and are written in it."""
    written, local = set(), set()
    for statement in every_statement(body):
        match statement:
            case Map() | Fold():
                written.add(statement.tile.name)
            case Running():
                written |= {statement.tile.name, statement.carry.name}
            case Mma():
                written.add(statement.accumulator.name)
            case Alloc():
                local.add(statement.tile.name)
    return written - local


def loads_along(statement: Collective) -> Iterator[Load]:
    """What a statement loads from neighbours along its last axis."""
    lane = statement.axes[-1][0]
    for entry in walk(*roots_of(statement)):
        if isinstance(entry, Load) and entry.address.coefficient(lane) == 1:
            yield entry
