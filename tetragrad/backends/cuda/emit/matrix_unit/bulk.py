"""Bulk copies: boxes of a tensor that the copy engine brings to shared memory.

The engine reads a *tensor map*, a parameter of the kernel that says where the tensor
is, its sizes and strides, and the box. The driver encodes it at the launch, when the
address is known; here it is only described. PTX ISA, "cp.async.bulk.tensor".
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.emit.values import Points
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.tile.ir import Copy, Dimension
from tetragrad.tile.layout import PANEL_BYTES, offsets, panel_of

#: The most elements of a box along one dimension.
LARGEST_BOX = 256


@frozen
class TensorMap:
    """What the driver needs to encode a tensor map.

    ``parameter`` is the kernel's parameter with the buffer's address and ``origin``
    the tensor's first byte in it. ``sizes`` and ``box`` count elements, the
    contiguous dimension first; ``strides`` are bytes, without that dimension's. The
    engine takes every ``steps``-th element of what a box covers.
    """

    parameter: int
    origin: int
    itemsize: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    steps: tuple[int, ...]
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
    counts = [count for count, _ in map(movement_of(copy), copy.dimensions)]
    steps = [step for _, step in map(movement_of(copy), copy.dimensions)]
    counts[0] = min(panel_of(copy.tile.dtype), counts[0])
    if shares > 1 and len(panels_of(copy)) % shares:
        counts[divided_dimension(copy)] //= shares
    box = [(count - 1) * step + 1 for count, step in zip(counts, steps, strict=True)]
    assert max(box) <= LARGEST_BOX, "a box that the copy engine takes"
    return TensorMap(
        parameter,
        origin * itemsize,
        itemsize,
        tuple(entry.size for entry in copy.dimensions),
        tuple(entry.stride * itemsize for entry in others),
        tuple(box),
        tuple(steps),
        copy.tile.layout.swizzle,
    )


def movement_of(copy: Copy) -> Callable[[Dimension], tuple[int, int]]:
    """How many positions of a dimension a copy takes, and how far apart."""

    def movement(dimension: Dimension) -> tuple[int, int]:
        for axis, extent in copy.axes:
            step = dimension.index.coefficient(axis)
            if step:
                return extent, step
        return 1, 1

    return movement


def divided_dimension(copy: Copy) -> int:
    """The outermost dimension that a box extends along: parts of it are contiguous."""
    counts = [count for count, _ in map(movement_of(copy), copy.dimensions)]
    return max(number for number, count in enumerate(counts) if count > 1)


def corner_of(copy: Copy, dimension: Dimension) -> Affine:
    """The index of the box's first element."""
    return dimension.index.substitute({axis: Affine(0) for axis, _ in copy.axes})


def panels_of(copy: Copy) -> list[tuple[int, int]]:
    """Where each panel starts: along the contiguous dimension, and in bytes."""
    tile = copy.tile
    contiguous = tile.layout.strides.index(1)
    origin = [form.constant for form in copy.places]
    width, _ = movement_of(copy)(copy.dimensions[0])
    panels = []
    for first in range(0, width, panel_of(tile.dtype)):
        place = list(origin)
        place[contiguous] += first
        panels.append((first, offsets(tile, place) * tile.dtype.itemsize))
    return panels


def copied_bytes(copy: Copy) -> int:
    """The bytes that a copy brings, also where it overhangs."""
    count = math.prod(extent for _, extent in copy.axes)
    return count * copy.tile.dtype.itemsize


@frozen
class Arrival:
    """Where a copy goes: the tile's address in the slot, and the slot's barrier."""

    place: str
    barrier: str


@frozen
class Share:
    """The part of a copy that one of several neighbours brings to all of them."""

    rank: str
    count: int

    @property
    def mask(self) -> int:
        """A bit for each neighbour."""
        return (1 << self.count) - 1


def emit_copy(
    point: Points, copy: Copy, parameter: str, arrival: Arrival, share: Share | None
) -> None:
    """Start the copy of a box; it completes on a barrier."""
    builder = point.builder
    corners = [number_of(point, corner_of(copy, entry)) for entry in copy.dimensions]
    panels, place = panels_of(copy), arrival.place
    if share is not None and len(panels) % share.count:
        # Too few panels: the rows of each are divided.
        number = divided_dimension(copy)
        count, step = movement_of(copy)(copy.dimensions[number])
        along = count // share.count * step
        corners[number] = builder.assign(
            "b32", "mad.lo.s32", f"{share.rank}, {along}, {corners[number]}"
        )
        rows = rows_of(copy) // share.count
        place = moved(builder, share.rank, rows * PANEL_BYTES, place)
    elif share is not None:
        panels = panels[: len(panels) // share.count]
        along = len(panels) * panel_of(copy.tile.dtype)
        corners[0] = builder.assign(
            "b32", "mad.lo.s32", f"{share.rank}, {along}, {corners[0]}"
        )
        panel_bytes = rows_of(copy) * PANEL_BYTES
        place = moved(builder, share.rank, len(panels) * panel_bytes, place)
    first, *others = corners
    for start, offset in panels:
        along_panel = first if not start else plus(point, first, start)
        corner = ", ".join([along_panel, *others])
        name = f"cp.async.bulk.tensor.{len(corners)}d.shared::cluster.global.tile"
        name += ".mbarrier::complete_tx::bytes"
        operands = f"[{place}+{offset}], [{parameter}, {{{corner}}}]"
        operands += f", [{arrival.barrier}]"
        if share is not None:
            name += ".multicast::cluster"
            mask = builder.assign("b16", "mov.b16", str(share.mask))
            operands += f", {mask}"
        builder.line(f"{name} {operands}")


def rows_of(copy: Copy) -> int:
    """The rows that a copy brings of each panel."""
    moves = movement_of(copy)
    return math.prod(moves(entry)[0] for entry in copy.dimensions[1:])


def moved(builder: Builder, count: str, step: int, place: str) -> str:
    """A place so many steps further; places change, so nothing is remembered."""
    register = builder.register("b32")
    builder.line(f"mad.lo.u32 {register}, {count}, {step}, {place}")
    return register


def number_of(point: Points, form: Affine) -> str:
    """A coordinate as a register."""
    value = point.number(form)
    if value.constant is not None:
        return point.builder.assign("b32", "mov.b32", value.text)
    assert value.text.startswith("%r"), "coordinates are 32 bits wide"
    return value.text


def plus(point: Points, register: str, amount: int) -> str:
    return point.builder.assign("b32", "add.s32", f"{register}, {amount}")
