"""Read ``.npy`` and ``.npz`` files; arrays of Python objects are refused.

The format is NumPy's (numpy.lib.format). Elements are only looked at after the shape
in the header has been compared with the bytes that exist.
"""

from __future__ import annotations

import re
from math import prod

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError
from tetragrad.state.bytes_source import BytesSource, is_possible_shape
from tetragrad.state.formats import NPY_MAGIC
from tetragrad.state.zip_records import open_zip

# The major version of the format -> bytes of the header's length.
LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
MAX_HEADER_BYTES = 10_000

# The header is a Python dictionary. It is matched, not evaluated.
DTYPE_FIELD = re.compile(r"'descr'\s*:\s*'([<>|=]?[b-zA-Z?][0-9]{0,2})'")
ORDER_FIELD = re.compile(r"'fortran_order'\s*:\s*(True|False)")
# Python 2 wrote long sizes with an L.
SHAPE_FIELD = re.compile(r"'shape'\s*:\s*\(([0-9L,\s]*)\)")


def read_npy(source: BytesSource) -> np.ndarray:
    """The array in a ``.npy`` file, as a read-only view."""
    header, start = _header(source)
    fields = [
        pattern.findall(header) for pattern in (DTYPE_FIELD, ORDER_FIELD, SHAPE_FIELD)
    ]
    if any(len(found) != 1 for found in fields):
        raise source.error(
            f"the .npy header does not describe a plain array: {header[:200]!r}",
            hint="arrays of records and damaged files are not read",
        )
    (code,), (order,), (sizes,) = fields
    numpy_dtype = _plain_dtype(source, code)
    shape = tuple(int(size) for size in re.findall(r"[0-9]{1,20}", sizes))
    dtype = dtypes.from_numpy(numpy_dtype)
    if not is_possible_shape(shape, dtype):
        raise source.error(f"the shape ({sizes[:200]}) is impossible")
    needed = prod(shape) * dtype.itemsize
    elements = source.data[start:]
    if len(elements) < needed:
        raise source.error(
            f"shape {shape} of {dtype} needs {needed:,} bytes; "
            f"{len(elements):,} follow",
            hint="the file is truncated; download or copy it again",
        )
    flat = np.frombuffer(elements[:needed], numpy_dtype)
    return flat.reshape(shape, order="F" if order == "True" else "C")


def _header(source: BytesSource) -> tuple[str, int]:
    """The header's text, and where the elements start."""
    data = source.data
    version_at = len(NPY_MAGIC)
    version = data[version_at] if len(data) > version_at else 0
    if data[:version_at] != NPY_MAGIC or version not in LENGTH_BYTES:
        raise source.error("this is not a .npy file of version 1, 2 or 3")
    length_at = version_at + 2
    header_at = length_at + LENGTH_BYTES[version]
    length = int.from_bytes(data[length_at:header_at], "little")
    if length > MAX_HEADER_BYTES or header_at + length > len(data):
        raise source.error(f"the .npy header claims {length:,} bytes")
    header = bytes(data[header_at : header_at + length])
    return header.decode("utf-8", "replace"), header_at + length


def _plain_dtype(source: BytesSource, code: str) -> np.dtype:
    try:
        numpy_dtype = np.dtype(code)
        dtypes.from_numpy(numpy_dtype)
    except (DTypeError, TypeError):
        raise source.error(
            f"the array holds {code!r}, not plain numbers",
            hint="arrays of Python objects could run code when loaded",
        ) from None
    return numpy_dtype


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
