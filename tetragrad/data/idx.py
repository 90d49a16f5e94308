"""Read IDX files, the format in which MNIST is published.

The format (yann.lecun.com/exdb/mnist, "The IDX file format"): two zero bytes, a code
for the element type, the number of dimensions, each size as a big-endian 32-bit
number, then the elements, big-endian too. Files are often compressed with gzip.
"""

from __future__ import annotations

import os
import zlib
from math import prod
from pathlib import Path

import numpy as np

from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.data.compression import GzipReader, is_gzip

ELEMENT_TYPES: dict[int, np.dtype] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 32
MAX_HEADER_BYTES = 4 + 4 * MAX_DIMENSIONS


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, which may be compressed with gzip.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "labels"
    >>> path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    10
    >>> data.read_idx(path)
    array([7, 9], dtype=uint8)
    """
    try:
        stored = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {os.fspath(path)!r}: {error}") from error
    return parse_idx(stored, str(path))


def parse_idx(stored: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an IDX file that is called ``name`` in errors."""
    if is_gzip(stored):
        return _parse_compressed(stored, name)
    dtype, shape, header_bytes = _parse_header(stored, name)
    return _elements(stored[header_bytes:], dtype, shape, name)


def _parse_compressed(stored: bytes, name: str) -> np.ndarray:
    # Unpack the header first: it says how much to unpack, so an archive that would
    # grow without end is never followed.
    archive = GzipReader(stored)
    try:
        start = archive.read(MAX_HEADER_BYTES)
        dtype, shape, header_bytes = _parse_header(start, name)
        elements = start[header_bytes:]
        missing = max(prod(shape) * dtype.itemsize - len(elements), 0)
        # One byte more than promised tells whether the file goes on.
        rest = archive.read(missing + 1)
    except zlib.error as error:
        raise FileFormatError(
            f"{name}: the gzip archive is damaged: {error}",
            hint="download or copy the file again",
        ) from error
    return _elements(elements + rest, dtype, shape, name)


def _parse_header(data: bytes, name: str) -> tuple[np.dtype, tuple[int, ...], int]:
    if len(data) < 4 or data[:2] != b"\0\0":
        raise FileFormatError(
            f"{name}: an IDX file starts with two zero bytes, not {data[:4]!r}",
            hint="the file is truncated or not an IDX file",
        )
    code, num_dimensions = data[2], data[3]
    if code not in ELEMENT_TYPES or num_dimensions > MAX_DIMENSIONS:
        raise FileFormatError(
            f"{name}: an IDX file has no element type {code:#x} with "
            f"{num_dimensions} dimensions"
        )
    header_bytes = 4 + 4 * num_dimensions
    if len(data) < header_bytes:
        raise FileFormatError(f"{name}: the sizes are cut off after {len(data)} bytes")
    sizes = np.frombuffer(data[4:header_bytes], ">u4")
    return ELEMENT_TYPES[code], tuple(int(size) for size in sizes), header_bytes


def _elements(
    data: bytes, dtype: np.dtype, shape: tuple[int, ...], name: str
) -> np.ndarray:
    needed = prod(shape) * dtype.itemsize
    if len(data) != needed:
        relation = "only" if len(data) < needed else "at least"
        raise FileFormatError(
            f"{name}: shape {shape} needs {needed:,} bytes of elements, but {relation} "
            f"{len(data):,} follow the header",
            hint="the file is truncated or damaged; download or copy it again",
        )
    native = dtype.newbyteorder("=")
    try:
        return np.frombuffer(data, dtype).reshape(shape).astype(native)
    except ValueError as error:
        # NumPy refuses some shapes even when they hold no element.
        raise FileFormatError(f"{name}: shape {shape}: {error}") from error
