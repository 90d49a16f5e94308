"""Read GGUF files, which llama.cpp's models come in.

The format (github.com/ggml-org/ggml, ``docs/gguf.md``): a header with counts, then
metadata by name, then each tensor's name, sizes (the last dimension first), type and
place, then the elements of all tensors. Quantised ones become float32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.state.bytes_source import (
    BytesSource,
    PathOrBytes,
    is_possible_shape,
    open_source,
)
from tetragrad.state.formats import GGUF_MAGIC
from tetragrad.state.quantised_blocks import BLOCK_FORMATS

VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_TENSOR_DIMENSIONS = 4

#: How numbers of metadata are stored, by their types in files.
NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 10, 11, 12), "BbHhIifQqd", strict=True))
BOOL, TEXT, ARRAY = 7, 8, 9

PLAIN_DTYPES = {
    0: dtypes.float32,
    1: dtypes.float16,
    24: dtypes.int8,
    25: dtypes.int16,
    26: dtypes.int32,
    27: dtypes.int64,
    28: dtypes.float64,
    30: dtypes.bfloat16,
}


@frozen
class GgufEntry:
    """Where one tensor lies, and how its elements are stored."""

    name: str
    shape: tuple[int, ...]
    kind: int
    begin: int
    nbytes: int


class GgufFile(Mapping[str, np.ndarray]):
    """An open file: names to arrays, each read and decoded when it is asked for.

    ``metadata`` has everything else: sizes of the model, its tokens, its name.
    """

    def __init__(self, source: BytesSource) -> None:
        cursor = _Cursor(source)
        tensors, values = cursor.counts()
        self.metadata = {cursor.text(): cursor.value() for _ in range(values)}
        described = [cursor.tensor() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise source.error(f"the alignment {alignment!r:.60} is no size")
        start = -(-cursor.place // alignment) * alignment
        self._source = source
        self._entries = {
            name: _entry(source, name, shape, kind, start + offset)
            for name, shape, kind, offset in described
        }

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        plain = PLAIN_DTYPES.get(entry.kind)
        if plain is not None:
            return self._source.array(entry.begin, plain, entry.shape)
        data = self._source.data[entry.begin : entry.begin + entry.nbytes]
        blocks = BLOCK_FORMATS[entry.kind]
        rows = np.frombuffer(data, np.uint8).reshape(-1, blocks.nbytes)
        with np.errstate(all="ignore"):  # A scale may be infinite or NaN.
            return blocks.decode(rows).reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def open_gguf(path_or_bytes: PathOrBytes) -> GgufFile:
    """Open a GGUF file; no tensor is read yet.

    Raises:
        FileFormatError: the file contradicts its format, or has a type of blocks that
            is not read; the message names it.
    """
    return GgufFile(open_source(path_or_bytes))


def _entry(
    source: BytesSource, name: str, shape: tuple[int, ...], kind: int, begin: int
) -> GgufEntry:
    """Where a tensor lies, if the file has all of it."""
    count = prod(shape)
    blocks = BLOCK_FORMATS.get(kind)
    plain = PLAIN_DTYPES.get(kind)
    if blocks is not None:
        if not shape or shape[-1] % blocks.elements:
            raise source.error(
                f"tensor {name!r} of shape {shape}: its rows are no whole blocks of "
                f"{blocks.elements} elements, as {blocks.name} has them"
            )
        nbytes = count // blocks.elements * blocks.nbytes
    elif plain is not None:
        nbytes = count * plain.itemsize
    else:
        known = ", ".join(entry.name for entry in BLOCK_FORMATS.values())
        raise source.error(
            f"tensor {name!r} is quantised by type {kind}, which is not read",
            hint=f"convert the model to one of {known}, F16, BF16 or F32",
        )
    if not is_possible_shape(shape, plain or dtypes.float32):
        raise source.error(f"tensor {name!r} has the impossible shape {shape}")
    if begin + nbytes > len(source.data):
        raise source.error(
            f"tensor {name!r} ends at byte {begin + nbytes:,} of {len(source.data):,}",
            hint="the file is truncated; download or copy it again",
        )
    return GgufEntry(name, shape, kind, begin, nbytes)


class _Cursor:
    """Reads one thing after the other from the front of a file."""

    def __init__(self, source: BytesSource) -> None:
        self.source = source
        self.place = 0

    def counts(self) -> tuple[int, int]:
        """How many tensors there are, and how many values of metadata."""
        magic, version = self._take(len(GGUF_MAGIC)), self._number("I")
        if magic != GGUF_MAGIC or version not in VERSIONS:
            raise self.source.error(
                f"this is GGUF of version {version}",
                hint="versions 2 and 3, in little-endian order, are read",
            )
        return self._number("Q"), self._number("Q")

    def text(self) -> str:
        """A text after its length in bytes."""
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def value(self) -> Any:
        """A value after its type."""
        return self._value_of(self._number("I"))

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """A tensor's name, shape, type and place after the header."""
        name, count = self.text(), self._number("I")
        if count > MAX_TENSOR_DIMENSIONS:
            raise self.source.error(f"tensor {name!r:.100} has {count} dimensions")
        sizes = [self._number("Q") for _ in range(count)]
        return name, tuple(reversed(sizes)), self._number("I"), self._number("Q")

    def _value_of(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self._number(NUMBERS[kind])
        if kind == BOOL:
            return bool(self._number("B"))
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            return self._array(self._number("I"), self._number("Q"))
        raise self._damage(f"a value has the unknown type {kind}")

    def _array(self, kind: int, count: int) -> list[Any]:
        if kind in NUMBERS:
            layout = f"<{count}{NUMBERS[kind]}"
            if count > len(self.source.data):
                raise self._damage(f"an array of {count:,} numbers")
            return [*struct.unpack(layout, self._take(struct.calcsize(layout)))]
        if kind not in (BOOL, TEXT):
            raise self._damage(f"an array of values of type {kind}")
        # Each takes a byte or more, so that the file's end comes before memory's.
        return [self._value_of(kind) for _ in range(count)]

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(code)))[0]

    def _take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self.source.data):
            raise self.source.error(
                f"the header needs {count:,} bytes from byte {self.place:,}; the file "
                f"has {len(self.source.data):,}",
                hint="the file is truncated; download or copy it again",
            )
        taken = bytes(self.source.data[self.place : end])
        self.place = end
        return taken

    def _damage(self, what: str) -> Exception:
        return self.source.error(
            f"{what} at byte {self.place:,}", hint="the file is damaged"
        )
