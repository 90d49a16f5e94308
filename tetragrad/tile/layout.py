"""Where the elements of a tile are: choices that caches and matrix units care about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tetragrad.core.dtypes import DType
    from tetragrad.tile.ir import Layout, Tile

CACHE_LINE_BYTES = 64

#: The unit that a swizzle moves, and the bytes of a row of the pattern.
CHUNK_BYTES = 16
PANEL_BYTES = 128


def odd_lines(size: int, line: int) -> int:
    """Round up to an odd number of cache lines, so that rows spread over the sets."""
    if size <= line:
        return size
    lines = -(-size // line)
    return (lines + 1 - lines % 2) * line


def panel_of(dtype: DType) -> int:
    """Elements of a swizzled panel along the contiguous dimension."""
    return PANEL_BYTES // dtype.itemsize


def swizzled(
    shape: tuple[int, int], contiguous: int, dtype: DType, nbytes: int = PANEL_BYTES
) -> Layout:
    """The layout in which the bulk copy engine leaves a box for the matrix unit.

    ``contiguous`` is the dimension whose neighbours are next to one another. A panel
    has so many bytes of it for every position of the other dimension. Within
    each 8 rows of a panel, chunk c of row r is at chunk c XOR r, so that a column of
    chunks lies in different banks. Narrower panels have several rows in 128 bytes,
    which are moved alike.
    """
    from tetragrad.tile.ir import Layout

    panel = nbytes // dtype.itemsize
    assert shape[contiguous] % panel == 0, "whole panels"
    strides = [panel] * 2
    strides[contiguous] = 1
    return Layout(tuple(strides), nbytes)


def offsets(tile: Tile, positions: Sequence[Any]) -> Any:
    """The offset of an element from its tile's start; for arrays, one for each."""
    strides = tile.layout.strides
    if not tile.layout.swizzle:
        return sum(
            position * stride
            for position, stride in zip(positions, strides, strict=True)
        )
    contiguous = strides.index(1)
    nbytes = tile.layout.swizzle
    panel, chunk = nbytes // tile.dtype.itemsize, CHUNK_BYTES // tile.dtype.itemsize
    along, row = positions[contiguous], positions[1 - contiguous]
    rows = tile.shape[1 - contiguous]
    inside = along % panel
    turn = row // (PANEL_BYTES // nbytes) % (nbytes // CHUNK_BYTES)
    moved = (inside // chunk) ^ turn
    return (along // panel * rows + row) * panel + moved * chunk + inside % chunk


def tile_elements(tile: Tile) -> int:
    """How many elements a tile's memory has room for."""
    if tile.layout.swizzle:
        rows, columns = tile.shape
        return rows * columns
    return 1 + sum(
        (size - 1) * stride
        for size, stride in zip(tile.shape, tile.layout.strides, strict=True)
    )
