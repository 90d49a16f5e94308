"""Write files that ``torch.save`` could have written, without torch.

A zip archive: ``archive/data.pkl`` describes the structure, and ``archive/data/<key>``
holds the elements of one tensor. The description is a pickle of protocol 2, written
opcode by opcode from plain values only, so PyTorch reads it with ``weights_only=True``.
"""

from __future__ import annotations

import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from tetragrad.core.dtypes import DType, from_numpy
from tetragrad.core.errors import DTypeError
from tetragrad.state.bytes_source import little_endian
from tetragrad.state.convert import to_array
from tetragrad.state.torch_globals import STORAGE_DTYPES
from tetragrad.tensor import Tensor

MAX_DEPTH = 100
#: Where elements begin in the file is a multiple of this, so that it can be mapped.
ALIGNMENT = 64
LOCAL_HEADER_BYTES = 30
#: Whole numbers of more bytes than this take another opcode.
MAX_SHORT = 255
EXTRA_HEADER = struct.Struct("<2sH")

_STORAGE_NAMES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}


def write_torch(value: Any, file: BinaryIO) -> None:
    """Write nested plain values and tensors as a torch checkpoint.

    Raises:
        DTypeError: a value that such a file cannot hold without code.
    """
    pickle = _Pickle()
    pickle.add(value, "the value", 0)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write_record(archive, "archive/data.pkl", bytes(pickle.opcodes) + b".")
        _write_record(archive, "archive/byteorder", b"little")
        for key, array in enumerate(pickle.arrays):
            _write_record(archive, f"archive/data/{key}", _bytes_of(array))
        _write_record(archive, "archive/version", b"3\n")


def _bytes_of(array: np.ndarray) -> memoryview:
    dtype = little_endian(from_numpy(array.dtype))
    plain = np.ascontiguousarray(array, dtype).reshape(-1)
    return plain.view(np.uint8).data


def _write_record(archive: zipfile.ZipFile, name: str, contents: Any) -> None:
    """Add an uncompressed record whose contents begin at a multiple of 64 bytes."""
    info = zipfile.ZipInfo(name)
    assert archive.fp is not None
    start = archive.fp.tell() + LOCAL_HEADER_BYTES + len(name) + EXTRA_HEADER.size
    padding = -start % ALIGNMENT
    info.extra = EXTRA_HEADER.pack(b"FB", padding) + bytes(padding)
    archive.writestr(info, contents)


class _Pickle:
    """The opcodes of a structure, and the arrays that it refers to by number."""

    def __init__(self) -> None:
        self.opcodes = bytearray(b"\x80\x02")
        self.arrays: list[np.ndarray] = []
        # Tensors that show the same elements are stored once.
        self._keys: dict[Any, int] = {}

    def add(self, value: Any, path: str, depth: int) -> None:
        """Append the opcodes that push a value; ``path`` names it in errors."""
        if depth > MAX_DEPTH:
            raise DTypeError(
                f"{path[:200]} is more than {MAX_DEPTH} levels deep",
                hint="save a flatter structure; a list must not contain itself",
            )
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Tensor):
            self._tensor(value, path)
        elif isinstance(value, Mapping):
            self._mapping(value, path, depth)
        elif type(value) is list:
            self._sequence(b"](", value, b"e", path, depth)
        elif isinstance(value, tuple) and not hasattr(value, "_fields"):
            self._sequence(b"(", value, b"t", path, depth)
        else:
            self._plain(value, path)

    def _plain(self, value: Any, path: str) -> None:
        if value is None:
            self.opcodes += b"N"
        elif isinstance(value, bool):
            self.opcodes += b"\x88" if value else b"\x89"
        elif isinstance(value, int):
            self._integer(int(value))
        elif isinstance(value, float):
            self.opcodes += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            encoded = value.encode("utf-8", "surrogatepass")
            self.opcodes += b"X" + struct.pack("<I", len(encoded)) + encoded
        elif isinstance(value, bytes | bytearray):
            # Protocol 2 has no bytes: each is a character of a text.
            self._call("_codecs", "encode", [value.decode("latin-1"), "latin1"])
        elif isinstance(value, DType):
            self._name("torch", value.name)
        else:
            raise _refusal(value, path)

    def _integer(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self.opcodes += b"J" + struct.pack("<i", value)
            return
        encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        head = b"\x8a" + struct.pack("<B", len(encoded))
        if len(encoded) > MAX_SHORT:
            head = b"\x8b" + struct.pack("<i", len(encoded))
        self.opcodes += head + encoded

    def _mapping(self, values: Mapping[Any, Any], path: str, depth: int) -> None:
        if isinstance(values, OrderedDict):
            self._call("collections", "OrderedDict", [])
        else:
            self.opcodes += b"}"
        self.opcodes += b"("
        for key, value in values.items():
            self._plain(key, f"a key of {path}")
            self.add(value, f"{path}[{key!r}]", depth + 1)
        self.opcodes += b"u"

    def _sequence(
        self, start: bytes, values: Iterable[Any], end: bytes, path: str, depth: int
    ) -> None:
        self.opcodes += start
        for index, value in enumerate(values):
            self.add(value, f"{path}[{index}]", depth + 1)
        self.opcodes += end

    def _name(self, module: str, name: str) -> None:
        self.opcodes += f"c{module}\n{name}\n".encode()

    def _call(self, module: str, name: str, arguments: Iterable[Any]) -> None:
        """Push what a function gives for plain arguments."""
        self._name(module, name)
        self._sequence(b"(", arguments, b"t", name, 0)
        self.opcodes += b"R"

    def _tensor(self, tensor: Tensor, path: str) -> None:
        """Push ``_rebuild_tensor_v2(storage, offset, size, stride, …)``.

        Dtypes that came to PyTorch late have no storage class of their own: version 3
        takes untyped bytes and the dtype.
        """
        storage = _STORAGE_NAMES.get(tensor.dtype)
        version = "v3" if storage is None else "v2"
        self._name("torch._utils", f"_rebuild_tensor_{version}")
        self.opcodes += b"("
        self._storage(tensor, storage, path)
        shape = tuple(map(int, tensor.shape))
        for argument in (0, shape, _strides(shape), tensor.requires_grad):
            self.add(argument, path, 0)
        self._call("collections", "OrderedDict", [])
        if storage is None:
            self._plain(tensor.dtype, path)
        self.opcodes += b"tR"

    def _storage(self, tensor: Tensor, storage: str | None, path: str) -> None:
        key = self._keys.setdefault((tensor.storage, tensor.steps), len(self.arrays))
        if key == len(self.arrays):
            self.arrays.append(to_array(tensor, path))
        array = self.arrays[key]
        self.opcodes += b"("
        self._plain("storage", path)
        if storage is None:
            self._name("torch.storage", "UntypedStorage")
        else:
            self._name("torch", storage)
        self._plain(str(key), path)
        self._plain("cpu", path)
        self._plain(array.nbytes if storage is None else array.size, path)
        self.opcodes += b"tQ"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many elements apart neighbours are, for elements in row-major order."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _refusal(value: Any, path: str) -> DTypeError:
    hint = "save numbers, texts, tensors, and lists, tuples and dictionaries of them"
    if hasattr(value, "state_dict"):
        hint = "save its state_dict(), and load that into an object made anew"
    elif isinstance(value, np.ndarray):
        hint = "save a tensor: tetragrad.tensor(array)"
    return DTypeError(
        f"cannot save a {type(value).__name__} ({path[:200]}): reading it would run "
        "code",
        hint=hint,
    )
