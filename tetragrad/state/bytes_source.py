"""The bytes of a file, mapped into memory, with the name that errors cite."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from math import prod

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.core.frozen import frozen

#: What the readers accept: a path, or the contents of a file.
PathOrBytes = str | os.PathLike[str] | bytes | bytearray | memoryview

# NumPy's own limits: dimensions of an array, and bytes that its index type reaches.
MAX_DIMENSIONS = 32
MAX_NBYTES = 2**63 - 1


@frozen
class BytesSource:
    """Read-only bytes. Slices of ``data`` are views: nothing is copied or read yet."""

    data: memoryview
    name: str

    def error(self, message: str, *, hint: str | None = None) -> FileFormatError:
        """An error about this file, for the caller to raise."""
        return FileFormatError(f"{self.name}: {message}", hint=hint)

    def array(self, begin: int, dtype: DType, shape: Sequence[int]) -> np.ndarray:
        """A read-only view of the little-endian elements that start at ``begin``."""
        count = prod(shape)
        window = self.data[begin : begin + count * dtype.itemsize]
        elements = np.frombuffer(window, dtype=little_endian(dtype), count=count)
        return elements.reshape(tuple(shape))


def open_source(path_or_bytes: PathOrBytes) -> BytesSource:
    """Map a file into memory, or wrap bytes that are there already."""
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        contents = memoryview(path_or_bytes).toreadonly().cast("B")
        return BytesSource(contents, f"<{len(contents)} bytes>")
    name = os.fspath(path_or_bytes)
    try:
        with open(name, "rb") as file:
            return BytesSource(_map(file.fileno()), str(name))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"there is no file {str(name)!r}",
            hint=f"the path is relative to the current folder, {os.getcwd()!r}",
        ) from None
    except OSError as error:
        hint = "name one of the files in it" if os.path.isdir(name) else None
        raise DataError(
            f"cannot read {str(name)!r}: {error.strerror}", hint=hint
        ) from error
    except ValueError as error:
        raise DataError(f"cannot read {str(name)!r}: {error}") from error


def _map(descriptor: int) -> memoryview:
    # An empty file cannot be mapped; to the readers it is merely too short.
    if os.fstat(descriptor).st_size == 0:
        return memoryview(b"")
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def little_endian(dtype: DType) -> np.dtype:
    """The NumPy dtype of elements as files store them."""
    # The ml_dtypes types know no byte order; their formats exist on
    # little-endian machines only.
    if dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return dtype.numpy
    return dtype.numpy.newbyteorder("<")


def is_possible_shape(shape: Sequence[int], dtype: DType) -> bool:
    """Whether NumPy can represent the shape, even with a dimension of size 0."""
    if len(shape) > MAX_DIMENSIONS:
        return False
    if any(size > MAX_NBYTES for size in shape):
        return False
    return prod(size for size in shape if size) * dtype.itemsize <= MAX_NBYTES
