"""Read and write safetensors files.

The format (github.com/huggingface/safetensors, "Format"): eight bytes with the
length of the header, the header in JSON, then the elements of all tensors::

    {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
     "__metadata__": {"free": "text"}}

A header describes every byte that follows exactly once. Everything in it is checked
before the first element is looked at.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, BinaryIO

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, FileFormatError
from tetragrad.core.frozen import frozen
from tetragrad.state.atomic import atomic_write
from tetragrad.state.bytes_source import (
    BytesSource,
    PathOrBytes,
    is_possible_shape,
    little_endian,
    open_source,
)
from tetragrad.state.formats import MAX_SAFETENSORS_HEADER as MAX_HEADER_BYTES
from tetragrad.state.formats import SAFETENSORS_LENGTH_BYTES as LENGTH_BYTES

METADATA_KEY = "__metadata__"

DTYPE_BY_CODE = {
    "BOOL": dtypes.bool_,
    "U8": dtypes.uint8,
    "U16": dtypes.uint16,
    "U32": dtypes.uint32,
    "U64": dtypes.uint64,
    "I8": dtypes.int8,
    "I16": dtypes.int16,
    "I32": dtypes.int32,
    "I64": dtypes.int64,
    "F8_E4M3": dtypes.float8_e4m3fn,
    "F8_E5M2": dtypes.float8_e5m2,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
    "C64": dtypes.complex64,
}
CODE_BY_DTYPE = {dtype: code for code, dtype in DTYPE_BY_CODE.items()}


@frozen
class TensorEntry:
    """Where one tensor lies; offsets count from the end of the header."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile(Mapping[str, np.ndarray]):
    """An open file: names to arrays, each read when it is first touched.

    The arrays are read-only views of the mapped file, so a file larger than memory
    can be opened and one tensor of it used.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1, 2])}, path)
    >>> isinstance(state.open_safetensors(path), state.SafetensorsFile)
    True
    """

    def __init__(
        self,
        source: BytesSource,
        entries: Mapping[str, TensorEntry],
        metadata: Mapping[str, str],
        data_start: int,
    ) -> None:
        self.name = source.name
        self.entries = dict(entries)
        self.metadata = dict(metadata)
        self._source = source
        self._data_start = data_start

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.entries:
            raise KeyError(name)
        entry = self.entries[name]
        begin = self._data_start + entry.begin
        return self._source.array(begin, entry.dtype, entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def open_safetensors(path_or_bytes: PathOrBytes) -> SafetensorsFile:
    """Check a whole header and return the tensors without reading any.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1, 2])}, path)
    >>> state.open_safetensors(path)["w"].shape
    (2,)
    """
    source = open_source(path_or_bytes)
    header_end = _header_end(source)
    header = _parse_header(source, bytes(source.data[LENGTH_BYTES:header_end]))
    metadata = _check_metadata(source, header.pop(METADATA_KEY, {}))
    entries = [_check_entry(source, name, value) for name, value in header.items()]
    _check_coverage(source, entries, len(source.data) - header_end)
    by_name = {entry.name: entry for entry in entries}
    return SafetensorsFile(source, by_name, metadata, header_end)


def _header_end(source: BytesSource) -> int:
    total = len(source.data)
    if total < LENGTH_BYTES:
        raise source.error(
            f"a safetensors file starts with an {LENGTH_BYTES}-byte length, "
            f"but the file has {total} bytes",
            hint="the file is truncated or not a safetensors file",
        )
    length = int.from_bytes(source.data[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise source.error(
            f"the header claims {length:,} bytes; the limit is {MAX_HEADER_BYTES:,}",
            hint="this is probably not a safetensors file",
        )
    if LENGTH_BYTES + length > total:
        raise source.error(
            f"the header claims {length:,} bytes, but only "
            f"{total - LENGTH_BYTES:,} follow its length",
            hint="the file is truncated; download or copy it again",
        )
    return LENGTH_BYTES + length


def _parse_header(source: BytesSource, text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise source.error(f"the header starts with {text[:1]!r} instead of '{{'")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated, times = counts.most_common(1)[0]
            raise source.error(f"the header names {_short(repeated)} {times} times")
        return result

    try:
        header: dict[str, Any] = json.loads(
            text.decode("utf-8"), object_pairs_hook=refuse_duplicates
        )
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise source.error(f"the header is not valid JSON: {error}") from error
    return header


def _check_metadata(source: BytesSource, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict):
        raise source.error(f"{METADATA_KEY} is not an object: {_short(metadata)}")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise source.error(
                f"{METADATA_KEY}[{key!r}] must be a string, not {_short(value)}"
            )
    return metadata


def _check_entry(source: BytesSource, name: str, value: Any) -> TensorEntry:
    expected = {"dtype", "shape", "data_offsets"}
    if not isinstance(value, dict) or value.keys() != expected:
        raise source.error(
            f"tensor {name!r} must have exactly dtype, shape and data_offsets, "
            f"not {_short(value)}"
        )
    code = value["dtype"]
    if not isinstance(code, str) or code not in DTYPE_BY_CODE:
        raise source.error(
            f"tensor {name!r} has the unknown dtype {_short(code)}",
            hint=f"known dtypes: {', '.join(DTYPE_BY_CODE)}",
        )
    shape = _check_sizes(source, name, "shape", value["shape"])
    offsets = _check_sizes(source, name, "data_offsets", value["data_offsets"])
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise source.error(
            f"tensor {name!r} needs data_offsets [begin, end] with begin <= end, "
            f"not {_short(list(offsets))}"
        )
    entry = TensorEntry(name, DTYPE_BY_CODE[code], shape, offsets[0], offsets[1])
    _check_size(source, entry)
    return entry


def _check_sizes(
    source: BytesSource, name: str, field: str, value: Any
) -> tuple[int, ...]:
    # bool is a subclass of int, hence the exact comparison of types.
    valid = isinstance(value, list) and all(
        type(item) is int and item >= 0 for item in value
    )
    if not valid:
        raise source.error(
            f"tensor {name!r} has {field} {_short(value)}, "
            "which is not a list of whole numbers >= 0"
        )
    return tuple(value)


def _check_size(source: BytesSource, entry: TensorEntry) -> None:
    stored = entry.end - entry.begin
    if not is_possible_shape(entry.shape, entry.dtype):
        raise source.error(
            f"tensor {entry.name!r} has the impossible shape {_short(entry.shape)}"
        )
    needed = prod(entry.shape) * entry.dtype.itemsize
    if needed != stored:
        raise source.error(
            f"tensor {entry.name!r} of shape {entry.shape} and dtype {entry.dtype} "
            f"needs {needed:,} bytes, but its data_offsets "
            f"[{entry.begin}, {entry.end}] hold {stored:,}"
        )


def _check_coverage(
    source: BytesSource, entries: list[TensorEntry], available: int
) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.end > available:
            raise source.error(
                f"tensor {entry.name!r} ends at byte {entry.end:,}, but only "
                f"{available:,} bytes follow the header",
                hint="the file is truncated; download or copy it again",
            )
        if entry.begin != position:
            problem = "overlaps the one before" if entry.begin < position else "leaves"
            gap = "" if entry.begin < position else f" a hole at {position:,}"
            raise source.error(
                f"tensor {entry.name!r} at [{entry.begin}, {entry.end}] {problem}{gap}"
            )
        position = entry.end
    if position != available:
        raise source.error(
            f"the tensors end at byte {position:,}, but {available:,} bytes follow "
            "the header"
        )


def _short(value: object) -> str:
    """A hostile header may hold anything; show at most a line of it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= 80 else text[:77] + "..."


def write_safetensors(
    arrays: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays to ``path`` atomically; equal input gives equal bytes."""
    # Wide elements first, so that every tensor starts at a multiple of its size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header = _encode_header({name: arrays[name] for name in order}, metadata)
    with atomic_write(path) as file:
        file.write(len(header).to_bytes(LENGTH_BYTES, "little"))
        file.write(header)
        for name in order:
            _write_elements(file, arrays[name])


def _encode_header(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None
) -> bytes:
    header: dict[str, Any] = {}
    if metadata:
        header[METADATA_KEY] = _checked_for_writing(metadata)
    position = 0
    for name, array in arrays.items():
        end = position + array.nbytes
        header[name] = {
            "dtype": _code_for(name, array),
            "shape": list(array.shape),
            "data_offsets": [position, end],
        }
        position = end
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileFormatError(f"a name or text is not valid Unicode: {error}") from None
    # Spaces after the object align the elements; readers skip them.
    padded = encoded + b" " * (-len(encoded) % LENGTH_BYTES)
    if len(padded) > MAX_HEADER_BYTES:
        raise FileFormatError(
            f"the header would take {len(padded):,} bytes; safetensors allows "
            f"{MAX_HEADER_BYTES:,}",
            hint="save fewer tensors per file, or less metadata",
        )
    return padded


def _checked_for_writing(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise FileFormatError(
                f"safetensors metadata maps strings to strings, not {key!r} to "
                f"{_short(value)}",
                hint="write str(value), or json.dumps(value) for structures",
            )
    return dict(metadata)


def _code_for(name: str, array: np.ndarray) -> str:
    if not isinstance(name, str) or name == METADATA_KEY:
        raise FileFormatError(f"{name!r} cannot be the name of a tensor")
    dtype = dtypes.from_numpy(array.dtype)
    if dtype not in CODE_BY_DTYPE:
        raise DTypeError(
            f"safetensors cannot store {name!r}, whose dtype is {dtype}",
            hint=f"it can store {', '.join(str(known) for known in CODE_BY_DTYPE)}",
        )
    return CODE_BY_DTYPE[dtype]


def _write_elements(file: BinaryIO, array: np.ndarray) -> None:
    stored = little_endian(dtypes.from_numpy(array.dtype))
    contiguous = np.ascontiguousarray(array, dtype=stored)
    # ml_dtypes arrays have no buffer of their own; their bytes do.
    file.write(contiguous.reshape(-1).view(np.uint8).data)
