"""Check a tile program: names, ranks, dtypes, bounds, and the use of channels.

Run between planning and emission. What it raises is a mistake of ours, never the
user's; the message quotes the statement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import VerifyError
from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Expression,
    Guard,
    Load,
    Quotient,
    Reduction,
    Remainder,
    Scan,
    Select,
    walk,
)
from tetragrad.kernel.ir import Slot
from tetragrad.tile.bounds import is_nonnegative
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Copy,
    Extent,
    Fetch,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    PassTurn,
    Pin,
    Program,
    Release,
    Role,
    Running,
    Space,
    Statement,
    Store,
    Sync,
    TakeTurn,
    Tile,
    TileLoad,
    View,
    Wait,
    When,
    ends_of,
)
from tetragrad.tile.layout import tile_elements
from tetragrad.tile.text import form_text, statement_text


def verify_program(program: Program) -> None:
    """Raise VerifyError if the program breaks an invariant of the tile level."""
    tiles = {tile.name: tile for tile in program.scratch}
    for statement in program.body:
        if not isinstance(statement, Grid):
            raise VerifyError(f"{statement_text(statement)} outside a grid")
    checker = _Checker(program, {}, (), tiles)
    checker.body(program.body)


@frozen
class _Checker:
    """A place in the program: axes in scope, conditions that hold, tiles that exist."""

    program: Program
    extents: dict[int, int]
    facts: Guard
    tiles: dict[str, Tile]

    # --- control ---------------------------------------------------------------

    def body(self, statements: Sequence[Statement]) -> None:
        """Check statements in order; tiles they bring into being end with them."""
        inner = replace(self, tiles=dict(self.tiles))
        for statement in statements:
            try:
                inner.statement(statement)
            except VerifyError as error:
                if "\n  in " in str(error):
                    raise
                message = f"{error}\n  in {statement_text(statement)}"
                raise VerifyError(message) from None
        check_channel_steps(statements)

    def statement(self, statement: Statement) -> None:
        match statement:
            case Grid():
                if statement.cluster not in (
                    None,
                    *(a for a, _ in statement.axes[-1:]),
                ):
                    raise VerifyError("a cluster is not the last axis of its grid")
                self.within(statement.axes).body(statement.body)
            case For():
                place = self.within(((statement.axis, statement.extent),))
                place.forms(statement.guard)
                place.where(statement.guard).body(statement.body)
            case When():
                self.forms(statement.guard)
                self.where(statement.guard).body(statement.body)
                self.body(statement.otherwise)
            case Alloc():
                self.allocate(statement.tile)
            case View():
                self.view(statement)
            case Role():
                self.role(statement)
            case Map() | Fold():
                self.write_tile(statement)
            case Running():
                self.write_tile(statement)
                self.carried(statement)
            case Store():
                self.store(statement)
            case Copy():
                self.copy(statement)
            case Mma():
                self.multiply(statement)
            case Fetch():
                self.fetch(statement)
            case Acquire() | Commit() | Wait() | Release() | Sync():
                pass
            case TakeTurn(members) | PassTurn(members):
                self.member(members)
            case Pin():
                self.exists(statement.tile)
            case _:
                raise VerifyError(f"unknown statement {type(statement).__name__}")

    def within(self, axes: Sequence[Extent]) -> _Checker:
        """The place inside loops over some axes."""
        extents = dict(self.extents)
        for axis, extent in axes:
            if axis in extents:
                raise VerifyError(f"axis i{axis} is already in use")
            if extent < 1:
                raise VerifyError(f"axis i{axis} has {extent} iterations")
            extents[axis] = extent
        return replace(self, extents=extents)

    def where(self, guard: Guard) -> _Checker:
        """The place where a guard holds too."""
        return replace(self, facts=(*self.facts, *guard))

    def member(self, members: Extent) -> None:
        """Only members of a role take turns."""
        axis, count = members
        if self.extents.get(axis) != count:
            raise VerifyError(f"no {count} members along i{axis} take turns here")

    def allocate(self, tile: Tile) -> None:
        if tile.name in self.tiles:
            raise VerifyError(f"tile {tile.name} exists already")
        if len(tile.layout.strides) != len(tile.shape):
            raise VerifyError(
                f"tile {tile.name} has {len(tile.shape)} dimensions and strides "
                f"{tile.layout.strides}"
            )
        self.tiles[tile.name] = tile

    def view(self, view: View) -> None:
        """All of a view must be there, as elements of its dtype."""
        source = view.source
        if isinstance(source, int):
            dtype, size = self.slot(source).dtype, self.slot(source).numel
        else:
            self.exists(source)
            dtype, size = source.dtype, tile_elements(source)
        if dtype is not view.tile.dtype:
            raise VerifyError(f"{view.tile.name} shows {dtype} as {view.tile.dtype}")
        last = view.address.shift(tile_elements(view.tile) - 1)
        for form in (view.address, last):
            self.in_range(form, size, f"the view {view.tile.name}")
        self.allocate(view.tile)

    def role(self, role: Role) -> None:
        """A role may use the tiles of its channels."""
        tiles = dict(self.tiles)
        for channel in channels_in(role.body):
            tiles |= {tile.name: tile for tile in channel.tiles}
        members = () if role.members is None else (role.members,)
        replace(self.within(members), tiles=tiles).body(role.body)

    # --- collective statements ---------------------------------------------------

    def carried(self, statement: Running) -> None:
        """What is carried has an element for each point beside the last axis."""
        carry, beside = statement.carry, statement.axes[:-1]
        self.exists(carry)
        if carry.shape != tuple(extent for _, extent in beside):
            raise VerifyError(f"{carry.name}{list(carry.shape)} carries {beside}")
        self.same_dtype(carry.name, carry.dtype, statement.value)

    def write_tile(self, statement: Map | Fold | Running) -> None:
        place = self.within(statement.axes)
        place.forms(statement.guard)
        place = place.where(statement.guard)
        self.same_dtype(statement.tile.name, statement.tile.dtype, statement.value)
        place.index(statement.tile, statement.indices)
        place.value(statement.value)

    def store(self, statement: Store) -> None:
        place = self.within(statement.axes)
        place.forms(statement.guard)
        place = place.where(statement.guard)
        slot = self.slot(statement.slot)
        if statement.slot not in self.program.outputs:
            raise VerifyError(f"slot {statement.slot} is not an output")
        self.same_dtype(f"slot {statement.slot}", slot.dtype, statement.value)
        place.in_range(statement.address, slot.numel, f"slot {statement.slot}")
        place.value(statement.value)

    def copy(self, statement: Copy) -> None:
        place = self.within(statement.axes).where(statement.guard)
        place.forms(statement.guard)
        self.exists(statement.tile)
        shape = tuple(extent for _, extent in statement.axes)
        if not statement.indices and shape != statement.tile.shape:
            raise VerifyError(
                f"a box of {shape} does not fill {statement.tile.name}, "
                f"which is {statement.tile.shape}"
            )
        place.index(statement.tile, statement.places)
        dtype, numel = self.copied(statement)
        if dtype is not statement.tile.dtype:
            raise VerifyError(f"copy of {dtype} into {statement.tile.dtype}")
        if not statement.dimensions:
            place.in_range(statement.address, numel, f"slot {statement.slot}")
            return
        check_dimensions(statement, numel)
        for dimension in statement.dimensions:
            place.in_range(dimension.index, dimension.size, "a dimension")

    def copied(self, statement: Copy) -> tuple[DType, int]:
        """The dtype and the number of elements that a copy chooses from."""
        if statement.source is None:
            slot = self.slot(statement.slot)
            return slot.dtype, slot.numel
        self.exists(statement.source)
        return statement.source.dtype, statement.source.shape[0]

    def fetch(self, fetch: Fetch) -> None:
        """What is asked for need not exist, but its tile or slot must."""
        if isinstance(fetch.source, int):
            self.slot(fetch.source)
        else:
            self.exists(fetch.source)

    def multiply(self, product: Mma) -> None:
        rows, columns = Affine(product.rows - 1), Affine(product.columns - 1)
        deepest = Affine(product.depth - 1)
        if product.lhs.shape[2:] != product.rhs.shape[2:]:
            raise VerifyError(
                f"groups of {product.lhs.name}{product.lhs.shape} and "
                f"{product.rhs.name}{product.rhs.shape} differ"
            )
        within = tuple(Affine(size - 1) for size in product.lhs.shape[2:])
        for tile, offset, last in (
            (product.lhs, product.lhs_offset, rows),
            (product.rhs, product.rhs_offset, columns),
        ):
            self.index(tile, (*offset, *within))
            self.index(tile, (offset[0] + deepest, offset[1] + last, *within))
        self.exists(product.accumulator)
        if product.ahead is not None:
            self.fetch(product.ahead.fetch)
        if product.accumulator.shape != (product.rows, product.columns):
            raise VerifyError(
                f"a product of {product.rows}x{product.columns} does not fit "
                f"{product.accumulator.name}{product.accumulator.shape}"
            )
        if product.accumulator.space is not Space.REGISTER:
            raise VerifyError("products are summed in registers")

    # --- values --------------------------------------------------------------------

    def value(self, root: Expression) -> None:
        """Check everything below a value.

        Both sides of a Select are evaluated, so its guard protects no load.
        """
        expressions = list(walk(root))
        if any(isinstance(entry, Reduction | Scan) for entry in expressions):
            raise VerifyError(
                "a reduction inside a value; plans compute them into tiles"
            )
        for entry in expressions:
            self.expression(entry)

    def expression(self, expression: Expression) -> None:
        match expression:
            case Load():
                slot = self.slot(expression.slot)
                if slot.dtype is not expression.dtype:
                    raise VerifyError(f"load of {expression.dtype} from {slot.dtype}")
                place = self.where(expression.guard)
                place.forms(expression.guard)
                name = f"slot {expression.slot}"
                place.in_range(expression.address, slot.numel, name)
            case TileLoad():
                self.index(expression.tile, expression.indices)
            case Select():
                self.forms(expression.guard)
            case _:
                self.forms(expression.forms)

    def index(self, tile: Tile, indices: Sequence[Affine]) -> None:
        """Check the rank and range of a tile's indices."""
        self.exists(tile)
        if len(indices) != len(tile.shape):
            raise VerifyError(
                f"{len(indices)} indices for {tile.name}{list(tile.shape)}"
            )
        for form, size in zip(indices, tile.shape, strict=True):
            self.in_range(form, size, f"tile {tile.name}")

    def exists(self, tile: Tile) -> None:
        if self.tiles.get(tile.name) != tile:
            raise VerifyError(f"tile {tile.name} does not exist here")

    def slot(self, number: int) -> Slot:
        if not 0 <= number < len(self.program.slots):
            raise VerifyError(f"there is no slot {number}")
        return self.program.slots[number]

    def same_dtype(self, name: str, dtype: DType, value: Expression) -> None:
        if value.dtype is not dtype:
            raise VerifyError(f"{name} holds {dtype}, not {value.dtype}")

    def forms(self, forms: Sequence[Affine]) -> None:
        """Check that every axis of some forms is in scope."""
        for form in forms:
            unknown = form.axes() - self.extents.keys()
            if unknown:
                raise VerifyError(f"axis i{min(unknown)} is used outside its loop")

    def in_range(self, form: Affine, size: int, what: str) -> None:
        """Check that 0 <= form < size."""
        self.forms([form])
        self.divisions(form)
        above = form.scale(-1).shift(size - 1)
        for bound in (form, above):
            if not is_nonnegative(bound, self.extents, self.facts):
                low, high = form.range(self.extents)  # type: ignore[arg-type]
                raise VerifyError(
                    f"cannot prove that {what} is indexed below {size}: the index "
                    f"goes from {low} to {high}"
                )

    def divisions(self, form: Affine) -> None:
        """Check that what an address divides is not negative: see Quotient."""
        for atom, _ in form.terms:
            if not isinstance(atom, Quotient | Remainder):
                continue
            if not is_nonnegative(atom.form, self.extents, self.facts):
                raise VerifyError(
                    f"cannot prove that {form_text(atom.form)} >= 0, which an "
                    "address divides"
                )


# --- channels and registers ----------------------------------------------------------


def check_dimensions(copy: Copy, numel: int) -> None:
    """A copy's dimensions say the same as its address and its guard, and fit."""
    rest, last = copy.address, 0
    for dimension in copy.dimensions:
        rest = rest - dimension.index.scale(dimension.stride)
        last += (dimension.size - 1) * dimension.stride
    ends = {form for entry in copy.dimensions for form in ends_of(entry)}
    if rest.terms or not set(copy.guard) <= ends:
        raise VerifyError("the dimensions of a copy disagree with its address or guard")
    if rest.constant < 0 or rest.constant + last >= numel:
        raise VerifyError(
            f"a tensor from {rest.constant} to {rest.constant + last} is not within "
            f"the {numel} elements of slot {copy.slot}"
        )


def channels_in(body: Sequence[Statement]) -> set[Channel]:
    """The channels that statements use, at any depth."""
    found = set()
    for statement in body:
        channel = getattr(statement, "channel", None)
        if channel is not None:
            found.add(channel)
        found |= channels_in(getattr(statement, "body", ()))
    return found


def check_channel_steps(body: Sequence[Statement]) -> None:
    """Every slot that a body takes it gives back, in this order, at one depth."""
    pairs = {Acquire: Commit, Wait: Release}
    held: dict[tuple[type[Statement], str], bool] = {}
    for statement in body:
        for take, give in pairs.items():
            if isinstance(statement, take):
                assert isinstance(statement, Acquire | Wait)
                key = (take, statement.channel.name)
                if held.get(key):
                    raise VerifyError(f"{take.__name__} of {key[1]} twice")
                held[key] = True
            elif isinstance(statement, give):
                key = (take, statement.channel.name)
                if not held.get(key):
                    raise VerifyError(
                        f"{give.__name__} of {key[1]} without {take.__name__}"
                    )
                held[key] = False
    for (take, name), is_held in held.items():
        if is_held:
            raise VerifyError(f"{take.__name__} of {name} is never given back")


def registers_needed(body: Sequence[Statement], target: Target) -> int:
    """Vector registers that the register tiles alive at one time fill."""
    here = 0
    most = 0
    for statement in body:
        if isinstance(statement, Alloc) and statement.tile.space is Space.REGISTER:
            here += tile_registers(statement.tile, target)
        for part in ("body", "otherwise"):
            most = max(most, registers_needed(getattr(statement, part, ()), target))
    return here + most


def tile_registers(tile: Tile, target: Target) -> int:
    """Vector registers for one tile, whose last dimension lies on lanes."""
    lanes = target.vector_lanes(max(4, tile.dtype.itemsize))
    if not tile.shape:
        return 1
    return math.prod(tile.shape[:-1]) * -(-tile.shape[-1] // lanes)
