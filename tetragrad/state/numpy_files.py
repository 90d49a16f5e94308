"""Read ``.npy`` and ``.npz`` files; arrays of Python objects are refused.

The format is NumPy's (numpy.lib.format). Elements are only looked at after the shape
in the header has been compared with the bytes that exist.
"""

from __future__ import annotations

import io
from math import prod

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError
from tetragrad.state.bytes_source import BytesSource, is_possible_shape
from tetragrad.state.zip_records import open_zip

# Versions 1 and 2 give the header's length in 2 and 4 bytes after 8 and 8.
MAX_HEADER_BYTES = 10_000


def read_npy(source: BytesSource) -> np.ndarray:
    """The array in a ``.npy`` file, as a read-only view."""
    start = io.BytesIO(bytes(source.data[: MAX_HEADER_BYTES + 16]))
    try:
        version = np.lib.format.read_magic(start)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(start)
        else:
            header = np.lib.format.read_array_header_2_0(start)
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError) as error:
        raise source.error(f"the .npy header is damaged: {error}") from error
    shape, is_fortran, numpy_dtype = header
    try:
        dtype = dtypes.from_numpy(numpy_dtype)
    except DTypeError:
        raise source.error(
            f"the array holds {numpy_dtype}, not plain numbers",
            hint="arrays of Python objects could run code when loaded",
        ) from None
    if not all(size >= 0 for size in shape) or not is_possible_shape(shape, dtype):
        raise source.error(f"the shape {shape} is impossible")
    needed = prod(shape) * dtype.itemsize
    elements = source.data[start.tell() :]
    if len(elements) < needed:
        raise source.error(
            f"shape {shape} of {dtype} needs {needed:,} bytes; {len(elements):,} follow",
            hint="the file is truncated; download or copy it again",
        )
    flat = np.frombuffer(elements[:needed], numpy_dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def is_npz(source: BytesSource) -> bool:
    """Whether a zip archive holds nothing but arrays."""
    names = list(open_zip(source))
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(source: BytesSource) -> dict[str, np.ndarray]:
    """The arrays in a ``.npz`` file, compressed or not, by name."""
    records = open_zip(source, allow_deflate=True)
    arrays = {}
    for name in records:
        record = BytesSource(records.read(name), f"{source.name}: {name[:200]}")
        arrays[name.removesuffix(".npy")] = read_npy(record)
    return arrays
