"""Bulk copies: boxes of a tensor that the copy engine brings to shared memory.

The engine reads a *tensor map*, a parameter of the kernel that says where the tensor
is, its sizes and strides, and the box. The driver encodes it at the launch, when the
address is known; here it is only described. PTX ISA, "cp.async.bulk.tensor".
"""

from __future__ import annotations

from dataclasses import dataclass

from tetragrad.backends.cuda.ptx import Builder
from tetragrad.backends.cuda.values import Point
from tetragrad.kernel.affine import Affine
from tetragrad.tile.ir import Copy, Dimension, Tile
from tetragrad.tile.layout import PANEL_BYTES, panel_of

#: The most elements of a box along one dimension.
LARGEST_BOX = 256


@dataclass(frozen=True)
class TensorMap:
    """What the driver needs to encode a tensor map.

    ``parameter`` is the kernel's parameter with the buffer's address and ``origin``
    the tensor's first byte in it. ``sizes`` and ``box`` count elements, the
    contiguous dimension first; ``strides`` are bytes, without that dimension's.
    """

    parameter: int
    origin: int
    itemsize: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    swizzle: int


def tensor_map(copy: Copy, parameter: int, shares: int = 1) -> TensorMap:
    """The map that a copy needs: its dimensions, and the box that the tile holds.

    With ``shares`` so many neighbours bring a part of the tile each.
    """
    itemsize = copy.tile.dtype.itemsize
    first, *others = copy.dimensions
    assert first.stride == 1, "the first dimension is contiguous"
    origin = copy.address.constant
    for dimension in copy.dimensions:
        origin -= dimension.index.constant * dimension.stride
    width = min(panel_of(copy.tile.dtype), box_extent(copy, first))
    second, *more = (box_extent(copy, entry) for entry in others)
    if shares > 1 and len(panels_of(copy.tile)) % shares:
        second //= shares
    box = (width, second, *more)
    assert max(box) <= LARGEST_BOX, "a box that the copy engine takes"
    return TensorMap(
        parameter,
        origin * itemsize,
        itemsize,
        tuple(entry.size for entry in copy.dimensions),
        tuple(entry.stride * itemsize for entry in others),
        box,
        copy.tile.layout.swizzle,
    )


def box_extent(copy: Copy, dimension: Dimension) -> int:
    """How many positions of a dimension the tile holds."""
    for axis, extent in copy.axes:
        if dimension.index.coefficient(axis) == 1:
            return extent
    return 1


def corner_of(copy: Copy, dimension: Dimension) -> Affine:
    """The index of the box's first element."""
    return dimension.index.substitute({axis: Affine(0) for axis, _ in copy.axes})


def panels_of(tile: Tile) -> list[tuple[int, int]]:
    """Where each panel starts: along the contiguous dimension, and in bytes."""
    contiguous = tile.layout.strides.index(1)
    rows, width = tile.shape[1 - contiguous], panel_of(tile.dtype)
    return [
        (first, first * rows * tile.dtype.itemsize)
        for first in range(0, tile.shape[contiguous], width)
    ]


@dataclass(frozen=True)
class Arrival:
    """Where a copy goes: the tile's address in the slot, and the slot's barrier."""

    place: str
    barrier: str


@dataclass(frozen=True)
class Share:
    """The part of a copy that one of several neighbours brings to all of them."""

    rank: str
    count: int

    @property
    def mask(self) -> int:
        """A bit for each neighbour."""
        return (1 << self.count) - 1


def emit_copy(
    point: Point, copy: Copy, parameter: str, arrival: Arrival, share: Share | None
) -> None:
    """Start the copy of a box; it completes on a barrier."""
    builder = point.builder
    corners = [corner_of(copy, entry) for entry in copy.dimensions]
    first, second, *others = (number_of(point, form) for form in corners)
    panels, place = panels_of(copy.tile), arrival.place
    if share is not None and len(panels) % share.count:
        # One panel: its rows are divided.
        rows = box_extent(copy, copy.dimensions[1]) // share.count
        second = builder.assign("b32", "mad.lo.s32", f"{share.rank}, {rows}, {second}")
        place = moved(builder, share.rank, rows * PANEL_BYTES, place)
    elif share is not None:
        panels = panels[: len(panels) // share.count]
        along = len(panels) * panel_of(copy.tile.dtype)
        first = builder.assign("b32", "mad.lo.s32", f"{share.rank}, {along}, {first}")
        rows = box_extent(copy, copy.dimensions[1])
        place = moved(builder, share.rank, len(panels) * rows * PANEL_BYTES, place)
    for start, offset in panels:
        along_panel = first if not start else plus(point, first, start)
        corner = ", ".join([along_panel, second, *others])
        name = f"cp.async.bulk.tensor.{len(corners)}d.shared::cluster.global.tile"
        name += ".mbarrier::complete_tx::bytes"
        operands = f"[{place}+{offset}], [{parameter}, {{{corner}}}]"
        operands += f", [{arrival.barrier}]"
        if share is not None:
            name += ".multicast::cluster"
            mask = builder.assign("b16", "mov.b16", str(share.mask))
            operands += f", {mask}"
        builder.line(f"{name} {operands}")


def moved(builder: Builder, count: str, step: int, place: str) -> str:
    """A place so many steps further; places change, so nothing is remembered."""
    register = builder.register("b32")
    builder.line(f"mad.lo.u32 {register}, {count}, {step}, {place}")
    return register


def number_of(point: Point, form: Affine) -> str:
    """A coordinate as a register."""
    value = point.number(form)
    if value.constant is not None:
        return point.builder.assign("b32", "mov.b32", value.text)
    assert value.text.startswith("%r"), "coordinates are 32 bits wide"
    return value.text


def plus(point: Point, register: str, amount: int) -> str:
    return point.builder.assign("b32", "add.s32", f"{register}, {amount}")
