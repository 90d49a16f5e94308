"""Products on Hopper's matrix unit: wgmma, issued by the four warps of a member.

The unit reads both operands from shared memory, where *descriptors* say how they lie.
A step of the depth is several instructions, which run in the background while the
warps go on: PTX ISA, "Asynchronous warpgroup level matrix instructions".
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit.ptx import Builder, Value
from tetragrad.core import dtypes
from tetragrad.core.errors import UnsupportedError
from tetragrad.tile.ir import Mma, Space, Tile
from tetragrad.tile.layout import PANEL_BYTES, panel_of

#: Rows of one instruction, the bytes of depth that it takes, and its most columns.
ROWS = 64
DEPTH_BYTES = 32
MOST_COLUMNS = 256

KINDS = {
    dtypes.float16: "f16",
    dtypes.bfloat16: "bf16",
    dtypes.float32: "tf32",
    dtypes.float8_e4m3fn: "e4m3",
    dtypes.float8_e5m2: "e5m2",
    dtypes.int8: "s8",
    dtypes.uint8: "u8",
}

Key = tuple[int, ...]

# Addresses in descriptors count units of 16 bytes. Eight rows of a panel are one piece
# of the swizzle pattern, and the unit steps from piece to piece.
_UNIT = 16
_PIECE = 8 * PANEL_BYTES // _UNIT
_SWIZZLE_128 = 1 << 30


def is_for_warpgroup(product: Mma) -> bool:
    """Whether the operands lie as this unit reads them: the first may be registers."""
    is_held = product.lhs.space is Space.REGISTER
    is_swizzled = product.lhs.layout.swizzle == PANEL_BYTES
    return product.rhs.layout.swizzle == PANEL_BYTES and (is_held or is_swizzled)


def accumulator_keys(rows: int, columns: int) -> list[Key]:
    """The results that a thread holds, in the order of the unit's registers.

    A warp has 16 of each 64 rows. A thread has two neighbours in columns ``2*(t % 4)``
    of rows ``t / 4`` and eight below, for every eight columns.
    """
    return [
        (first + down, across + beside)
        for first in range(0, rows, ROWS)
        for across in range(0, columns, 8)
        for down in (0, 8)
        for beside in (0, 1)
    ]


def operand_keys(depth: int, rows: int) -> list[Key]:
    """The pairs of a left operand that a thread holds, in the order of the unit.

    They lie as results do: a pair are neighbours along the depth, in the columns that
    :func:`accumulator_keys` gives, so that results become operands where they are.
    """
    return [
        (deep + beside, first + down)
        for first in range(0, rows, ROWS)
        for deep in range(0, depth, 16)
        for beside in (0, 8)
        for down in (0, 8)
    ]


class Held:
    """A left operand in registers, two 16-bit elements in each."""

    def __init__(self, pairs: dict[Key, str]) -> None:
        self.pairs = pairs

    def text(self, position: int, part: int) -> str:
        """The registers of 16 positions of the depth, for 64 rows."""
        keys = [
            (position + beside, part * ROWS + down)
            for beside in (0, 8)
            for down in (0, 8)
        ]
        return "{" + ", ".join(self.pairs[key] for key in keys) + "}"


class Operand:
    """One operand in the slot of a channel: a descriptor for each instruction."""

    def __init__(self, builder: Builder, tile: Tile, place: str) -> None:
        self.builder = builder
        self.tile = tile
        self._low = builder.register("b32")
        builder.line(f"shr.u32 {self._low}, {place}, 4")
        builder.line(f"and.b32 {self._low}, {self._low}, 0x3FFF")
        builder.line(f"or.b32 {self._low}, {self._low}, {self._lead() << 16}")

    @property
    def is_deep(self) -> bool:
        """Whether neighbours along the depth are next to one another."""
        return self.tile.layout.strides[0] == 1

    def _panel_units(self) -> int:
        contiguous = self.tile.layout.strides.index(1)
        return self.tile.shape[1 - contiguous] * PANEL_BYTES // _UNIT

    def _lead(self) -> int:
        """The step from panel to panel, which only the side of a tile makes."""
        return 1 if self.is_deep else self._panel_units()

    def begin_side(self, position: int) -> None:
        """Start at a position along the side."""
        if position:
            units = self.side_units(position)
            self.builder.line(f"add.u32 {self._low}, {self._low}, {units}")

    def move_side(self, count: str, rows: int) -> None:
        """Start ``count * rows`` positions further along the side."""
        low = self._low
        units = self.side_units(rows)
        self.builder.line(f"mad.lo.u32 {low}, {count}, {units}, {low}")

    def side_units(self, position: int) -> int:
        """How far a position along the side is, by whole pieces or panels."""
        if self.is_deep:
            assert position % 8 == 0, "whole pieces of the swizzle pattern"
            return position * PANEL_BYTES // _UNIT
        assert position % panel_of(self.tile.dtype) == 0, "whole panels"
        return position // panel_of(self.tile.dtype) * self._panel_units()

    def depth_units(self, position: int) -> int:
        """How far a position along the depth is."""
        itemsize = self.tile.dtype.itemsize
        if not self.is_deep:
            return position * PANEL_BYTES // _UNIT
        panel, inside = divmod(position, panel_of(self.tile.dtype))
        return panel * self._panel_units() + inside * itemsize // _UNIT

    def text(self, position: int, part: int) -> str:
        """The descriptor of a position along the depth, for a part of 64 rows."""
        units = self.depth_units(position) + self.side_units(part * ROWS)
        return self.descriptor(units)

    def descriptor(self, units: int) -> str:
        """The descriptor of what lies so many units further."""
        low, whole = self.builder.register("b32"), self.builder.register("b64")
        self.builder.line(f"add.u32 {low}, {self._low}, {units}")
        self.builder.line(f"mov.b64 {whole}, {{{low}, {_PIECE | _SWIZZLE_128}}}")
        return whole


def multiply_warpgroup(
    builder: Builder,
    product: Mma,
    lhs: Operand | Held,
    rhs: Operand,
    elements: list[Value],
) -> None:
    """Issue one step's instructions, as one group that can be waited for."""
    dtype = product.lhs.dtype
    if dtype not in KINDS or product.columns > MOST_COLUMNS:
        raise UnsupportedError(
            f"a product of {dtype} with {product.columns} columns on the matrix unit"
        )
    kind, step = KINDS[dtype], DEPTH_BYTES // dtype.itemsize
    shape = f"m64n{product.columns}k{step}"
    sums = "s32" if dtype.is_integer else "f32"
    name = f"wgmma.mma_async.sync.aligned.{shape}.{sums}.{kind}.{kind}"
    # Sums of integers take no factors.
    factors = "" if dtype.is_integer else ", 1, 1"
    if dtype.itemsize == 2:
        # Other formats are read along the depth only.
        if isinstance(lhs, Operand):
            factors += f", {int(not lhs.is_deep)}"
        factors += f", {int(not rhs.is_deep)}"
    each = len(elements) // (product.rows // ROWS)
    held = [
        ", ".join([element.text for element in elements[first : first + each]])
        for first in range(0, len(elements), each)
    ]
    builder.line("wgmma.fence.sync.aligned")
    for depth in range(0, product.depth, step):
        adds = constant_predicate(builder, holds=depth > 0 or not product.starts)
        right = rhs.descriptor(rhs.depth_units(depth))
        for part, mine in enumerate(held):
            left = lhs.text(depth, part)
            builder.line(f"{name} {{{mine}}}, {left}, {right}, {adds}{factors}")
    builder.line("wgmma.commit_group.sync.aligned")


def constant_predicate(builder: Builder, *, holds: bool) -> str:
    """A predicate that is known."""
    return builder.assign("pred", "setp.ne.u32", f"{int(holds)}, 0")
