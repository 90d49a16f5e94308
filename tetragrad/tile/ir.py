"""The tile program: how the data of one kernel moves, and on whose behalf.

The only level that knows hardware. A program is a tree of statements over *tiles*:
small blocks of values in a memory space, with a layout. Values are the kernel's own
expressions, whose affine forms now range over the program's loop axes, plus
:class:`TileLoad` for an element of a tile.

A statement with ``axes`` is one collective step over the whole (small, fixed) domain
``axes[0] × axes[1] × …``: the emitter unrolls it, and the last axis becomes the
vector of a CPU or the lanes of a GPU. Everything larger is a ``For`` or a ``Grid``.

    Grid(block over 64)                      independent iterations: threads, blocks
      Alloc(total: float32[16], register)
      Map(total[lane] = 0)                   16 lanes at once
      For(step over 256)
        Fold(total[lane] += x[block, step*16 + lane])
      Store(sum[block] = Σ_lane total[lane])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum
from functools import cached_property

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Reduce as ReduceOp
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard
from tetragrad.kernel.ir import Mode, Slot

Extent = tuple[int, int]  # (loop axis, number of iterations)


class Space(Enum):
    """Where a tile lives, from far to near."""

    GLOBAL = "global"  # scratch in device memory, shared by the whole grid
    SHARED = "shared"  # one per grid iteration: L1/L2 scratch, GPU shared memory
    REGISTER = "register"


@frozen
class Layout:
    """Element ``[i, j, …]`` is at ``i*strides[0] + j*strides[1] + …``, then swizzled.

    ``swizzle`` is the number of bytes of the XOR pattern a GPU's matrix unit reads
    (0 or 128); 0 everywhere else. A swizzled tile has two dimensions and lies in
    *panels*, one after the other: each holds the swizzle's bytes of the dimension
    with stride 1, for all of the other one (:func:`tetragrad.tile.layout.offsets`).
    """

    strides: tuple[int, ...]
    swizzle: int = 0


def row_major(shape: tuple[int, ...]) -> Layout:
    """The layout in which the last index is next to itself."""
    strides = [1] * len(shape)
    for dim in range(len(shape) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * shape[dim + 1]
    return Layout(tuple(strides))


@frozen
class Tile:
    """A block of values. Tiles are told apart by name within a program."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    space: Space
    layout: Layout

    def __hash__(self) -> int:
        # Expressions are found by what they load; these differ between most tiles.
        return hash((self.name, self.shape))


class TileLoad(Expression):
    """Element ``indices`` of a tile, as a value."""

    __slots__ = ()
    fields = ("tile", "indices")

    def _describe(self, tile: Tile, indices: tuple[Affine, ...]) -> None:
        self.dtype = tile.dtype
        self.operands = ()
        self.free_axes = frozenset(axis for form in indices for axis in form.axes())

    @property
    def forms(self) -> tuple[Affine, ...]:
        indices: tuple[Affine, ...] = self.indices
        return indices


class QuickPower(Expression):
    """2 ** (value * factor + addend) by the quickest way that a device has.

    Its error may be as large as 2**-15: for what is rounded to 16 bits afterwards.
    """

    __slots__ = ()
    fields = ("value", "factor", "addend")

    def _describe(
        self, value: Expression, factor: Expression, addend: Expression
    ) -> None:
        self.dtype = value.dtype
        self.operands = (value, factor, addend)
        self.free_axes = value.free_axes | factor.free_axes | addend.free_axes


# --- statements ----------------------------------------------------------------------


@frozen
class Statement:
    """One step of a tile program."""

    @cached_property
    def inside(self) -> tuple[Statement, ...]:
        """Every statement of its bodies, at any depth, in order."""
        bodies = (*getattr(self, "body", ()), *getattr(self, "otherwise", ()))
        return tuple(every_statement(bodies))


def every_statement(body: Sequence[Statement]) -> list[Statement]:
    """The statements of a body, at any depth, in order."""
    found: list[Statement] = []
    for statement in body:
        found.append(statement)
        found += statement.inside
    return found


@frozen
class Grid(Statement):
    """Run the body for every point of the axes, in any order, at the same time.

    Tiles allocated inside belong to one iteration. A program's top level holds one
    or more grids; each starts when the one before has finished. ``cluster`` is the
    last axis, if its iterations should be neighbours: what they all copy alike is
    then brought once. ``threads`` should share an iteration; 0 leaves it open.
    """

    axes: tuple[Extent, ...]
    body: tuple[Statement, ...]
    cluster: int | None = None
    threads: int = 0


@frozen
class For(Statement):
    """Run the body for axis = 0 … extent-1, in order.

    With a guard only as long as it holds: the first failure ends the loop.
    """

    axis: int
    extent: int
    body: tuple[Statement, ...]
    unroll: bool = False
    guard: Guard = ()


@frozen
class When(Statement):
    """Run the body where the guard holds, else ``otherwise``."""

    guard: Guard
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@frozen
class Alloc(Statement):
    """Bring a tile into being, uninitialised, until the end of the body.

    With ``once`` each element is written once, and what reads it comes after all that
    writes the tile. It may lie ``over`` a tile that nobody needs any more: whoever
    writes it has met all that read the other one.
    """

    tile: Tile
    once: bool = False
    over: Tile | None = None


@frozen
class View(Statement):
    """From here on a tile is a part of a slot's memory, which begins at an address.

    Nothing moves: the tile's elements are those of the slot (or of a tile in GLOBAL
    space), which its layout steps over. Views are only read.
    """

    tile: Tile
    source: int | Tile
    address: Affine


@frozen
class Map(Statement):
    """``tile[indices] = value`` at every point of the axes where the guard holds."""

    axes: tuple[Extent, ...]
    tile: Tile
    indices: tuple[Affine, ...]
    value: Expression
    guard: Guard = ()


@frozen
class Fold(Statement):
    """``tile[indices] = op(tile[indices], value)`` at every point, in any order.

    Points that share ``indices`` are combined: this is how a tile is reduced. Where
    the guard fails, nothing is combined.
    """

    axes: tuple[Extent, ...]
    tile: Tile
    indices: tuple[Affine, ...]
    op: type[ReduceOp]
    value: Expression
    guard: Guard = ()


@frozen
class Running(Statement):
    """``tile[indices] =`` all values up to this point of the last axis, combined.

    It goes on from what ``carry`` holds for each point of the other axes, and leaves
    there what it ends with. In ``reverse`` it begins with the last point. Where the
    guard fails nothing is combined.
    """

    axes: tuple[Extent, ...]
    tile: Tile
    indices: tuple[Affine, ...]
    op: type[ReduceOp]
    value: Expression
    carry: Tile
    guard: Guard = ()
    reverse: bool = False


@frozen
class Store(Statement):
    """``slot[address] = value`` (or add, max) where the guard holds."""

    axes: tuple[Extent, ...]
    slot: int
    address: Affine
    value: Expression
    guard: Guard = ()
    mode: Mode = Mode.STORE


@frozen
class Fetch(Statement):
    """Ask for neighbouring elements of a slot or tile that are read soon: a hint.

    Nothing waits for them, and what does not exist is no mistake.
    """

    source: int | Tile
    address: Affine
    count: int


@frozen
class Ahead:
    """What is fetched while a product is computed.

    The depth is gone through in so many equal ``parts``, at the start of each of
    which the statement runs; its address may depend on the part.
    """

    parts: Extent
    fetch: Fetch


@frozen
class Mma(Statement):
    """``accumulator[m, n] += Σ_k lhs[k, m] * rhs[k, n]`` over whole tile regions.

    ``rows``, ``columns`` and ``depth`` are the extents; the offsets say where in each
    tile the region starts. ``lhs`` and ``rhs`` are indexed [k, m] and [k, n]; what
    that means in memory is their layouts' business. With ``starts`` the accumulator
    is assigned, whatever it held.

    Tiles with a third dimension are indexed [k, m, i] and [k, n, i], and products are
    summed over i too: a *group*, of which an instruction multiplies all at once
    (:class:`tetragrad.core.target.DotStep`). While a product is computed, what is
    ``ahead`` may be fetched.
    """

    accumulator: Tile
    lhs: Tile
    rhs: Tile
    rows: int
    columns: int
    depth: int
    lhs_offset: tuple[Affine, Affine]
    rhs_offset: tuple[Affine, Affine]
    starts: bool = False
    ahead: Ahead | None = None

    @property
    def group(self) -> int:
        """Products that are summed in one step of the depth."""
        return self.lhs.shape[2] if len(self.lhs.shape) == 3 else 1


@frozen
class Dimension:
    """One dimension of a tensor in memory, and the index that a copy has in it.

    The index moves along at most one of the copy's axes, perhaps by several at a step.
    """

    index: Affine
    size: int
    stride: int


@frozen
class Copy(Statement):
    """``tile[axes] = slot[address]`` where the guard holds, and 0 elsewhere.

    ``axes`` name the tile's dimensions, or else ``indices`` say where in the tile each
    point goes. A copy into a channel's tile may arrive any time before the channel
    says so. Such a copy knows the tensor it takes a box of: the address is the sum of
    the dimensions' ``index * stride``, and the guard says that each index is in range.
    ``source`` replaces the slot by a tile in GLOBAL space.
    """

    axes: tuple[Extent, ...]
    tile: Tile
    slot: int
    address: Affine
    guard: Guard = ()
    channel: Channel | None = None
    dimensions: tuple[Dimension, ...] = ()
    source: Tile | None = None
    indices: tuple[Affine, ...] = ()

    @property
    def places(self) -> tuple[Affine, ...]:
        """The tile's element for each point of the axes."""
        return self.indices or tuple(axis_form(axis) for axis, _ in self.axes)


def box_copy(
    axes: tuple[Extent, ...],
    tile: Tile,
    indices: tuple[Affine, ...],
    slot: int,
    origin: int,
    dimensions: tuple[Dimension, ...],
    channel: Channel,
) -> Copy:
    """Copy a box of a tensor, clipped at the tensor's edges."""
    address, guard = Affine(origin), []
    for dimension in dimensions:
        address = address + dimension.index.scale(dimension.stride)
        guard += [*ends_of(dimension)]
    kept = tuple(form for form in guard if form.terms)
    return Copy(axes, tile, slot, address, kept, channel, dimensions, indices=indices)


def ends_of(dimension: Dimension) -> tuple[Affine, Affine]:
    """Forms that are not negative where the index is in range."""
    index = dimension.index
    return index, index.scale(-1).shift(dimension.size - 1)


@frozen
class Channel:
    """A ring of ``depth`` slots of tiles between producing and consuming roles.

    Barriers and phases are derived from it. A producer acquires a free slot, fills
    it and commits; a consumer waits for a full slot, uses it and releases.
    """

    name: str
    tiles: tuple[Tile, ...]
    depth: int


@frozen
class Acquire(Statement):
    """Producer: wait until the channel's next slot is free."""

    channel: Channel


@frozen
class Commit(Statement):
    """Producer: the slot acquired last is full (once its copies arrive)."""

    channel: Channel


@frozen
class Wait(Statement):
    """Consumer: wait until the channel's next slot is full."""

    channel: Channel


@frozen
class Release(Statement):
    """Consumer: the slot waited for last may be overwritten."""

    channel: Channel


@frozen
class Role(Statement):
    """Code for some of a block's warps only; roles of one body run side by side.

    With ``members`` so many equal groups of warps run the body, each at its own
    position of that axis and with tiles of its own. With ``teams`` so many equal groups
    fill a slot of a channel each, in turn.
    """

    name: str
    warps: int
    body: tuple[Statement, ...]
    members: Extent | None = None
    teams: int = 1


@frozen
class TakeTurn(Statement):
    """A role's members go on from here one after the other, and then the first again.

    What lies before ``PassTurn`` occupies a unit that all of them share. In turns one
    of them has it alone, while the others are busy with what it gave them before.
    """

    members: Extent


@frozen
class PassTurn(Statement):
    """The next member may take its turn."""

    members: Extent


@frozen
class Sync(Statement):
    """All threads of a grid iteration have reached this point."""


@frozen
class Pin(Statement):
    """The assembler must not move what follows above the making of this tile."""

    tile: Tile


@frozen
class Program:
    """A whole tile program: its arguments, the loop axes it uses, and its grids.

    ``scratch`` are tiles in GLOBAL space that live for the whole launch. ``axes`` are
    the loop axes that reductions inside values bind; a backend loops over those.
    """

    name: str
    slots: tuple[Slot, ...]
    scalars: tuple[DType, ...]
    scratch: tuple[Tile, ...]
    body: tuple[Statement, ...]
    outputs: frozenset[int] = field(default_factory=frozenset)
    axes: tuple[Extent, ...] = ()
