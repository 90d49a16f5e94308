"""The globals that a torch checkpoint may name, and what stands for each here.

This table is the whole vocabulary: a name outside it is refused. Tensors become
descriptions (:class:`StoredTensor`), because in the older format their elements come
after the pickle; ``torch_checkpoint`` reads the elements afterwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.state.bytes_source import MAX_DIMENSIONS
from tetragrad.state.pickle_machine import Buildable, is_plain_key

#: Elements that rebuilt containers of one pickle may hold together. Without a limit,
#: a short pickle could copy one long list again and again.
MAX_COPIED_ELEMENTS = 10_000_000


@frozen
class StorageType:
    """``torch.FloatStorage`` and its kin; untyped storages count bytes."""

    dtype: DType
    is_untyped: bool = False


@frozen
class Storage:
    """A run of elements in the file, or a part of it (``first`` elements in)."""

    key: str
    type: StorageType
    count: int
    first: int = 0
    root_count: int = 0


@frozen
class StoredTensor:
    """A strided window of a storage; offset and strides count elements.

    torch conjugates and negates lazily: the elements in the file are as before.
    """

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_conjugated: bool = False
    is_negated: bool = False


@frozen
class InertType:
    """A class that may be named, for example as an argument, but not called."""

    name: str


STORAGE_DTYPES = {
    "DoubleStorage": dtypes.float64,
    "FloatStorage": dtypes.float32,
    "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16,
    "LongStorage": dtypes.int64,
    "IntStorage": dtypes.int32,
    "ShortStorage": dtypes.int16,
    "CharStorage": dtypes.int8,
    "ByteStorage": dtypes.uint8,
    "BoolStorage": dtypes.bool_,
    "ComplexFloatStorage": dtypes.complex64,
    "ComplexDoubleStorage": dtypes.complex128,
}


def _integers(values: Any) -> tuple[int, ...]:
    valid = isinstance(values, tuple | list) and len(values) <= MAX_DIMENSIONS
    if not valid or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("a shape or stride is not a tuple of whole numbers >= 0")
    return tuple(values)


def _tensor(
    storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, metadata: Any
) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, DType):
        raise TypeError("a tensor has no storage or no dtype")
    (offset,) = _integers((offset,))
    shape, strides = _integers(size), _integers(stride)
    if len(shape) != len(strides):
        raise ValueError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
    lazily = metadata or {}
    if not isinstance(lazily, dict) or not lazily.keys() <= {"conj", "neg"}:
        raise ValueError("a tensor has metadata of an unknown kind")
    return StoredTensor(
        storage,
        dtype,
        offset,
        shape,
        strides,
        is_conjugated=bool(lazily.get("conj")),
        is_negated=bool(lazily.get("neg")),
    )


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> StoredTensor:
    return _rebuild_tensor_v2(storage, offset, size, stride, False, {})


def _rebuild_tensor_v2(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor has no storage")
    return _tensor(storage, storage.type.dtype, offset, size, stride, metadata)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> StoredTensor:
    return _tensor(storage, dtype, offset, size, stride, metadata)


def _rebuild_parameter(
    data: Any, requires_grad: Any, hooks: Any, state: Any = None
) -> Any:
    return data


def _rebuild_from_type(function: Any, type_: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes of its own; the attributes are dropped."""
    if function not in (_rebuild_tensor_v2, _rebuild_tensor_v3):
        raise ValueError("a tensor of a class of its own cannot be rebuilt")
    return function(*arguments)


class NumpyType(Buildable):
    """A plain NumPy dtype; its byte order arrives in the BUILD that follows."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        plain = isinstance(code, str) and code[:1] in tuple("biufc")
        if not plain or not code[1:].isdecimal() or len(code) > 3:
            raise ValueError("an array's NumPy dtype is not a plain number")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError("a NumPy dtype has an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray(Buildable):
    """A NumPy array; everything about it arrives in the BUILD that follows."""

    def __init__(self, type_: Any = None, shape: Any = (), code: Any = b"") -> None:
        self.array = np.zeros(0)

    def build(self, state: Any) -> None:
        _, shape, numpy_type, is_fortran, raw = state
        order = "F" if is_fortran else "C"
        self.array = _array_from_bytes(raw, numpy_type, shape, order)


def _array_from_bytes(raw: Any, numpy_type: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(numpy_type, NumpyType) or not isinstance(raw, bytes | bytearray):
        raise TypeError("a NumPy array is not a plain array of numbers")
    shape = _integers(shape)
    if prod(shape) * numpy_type.dtype.itemsize != len(raw):
        raise ValueError(f"a NumPy array of shape {shape} has {len(raw)} bytes")
    flat = np.frombuffer(raw, numpy_type.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(raw: Any, numpy_type: Any, shape: Any, order: Any) -> NumpyArray:
    result = NumpyArray()
    result.array = _array_from_bytes(raw, numpy_type, shape, order)
    return result


def _numpy_scalar(numpy_type: Any, raw: Any) -> Any:
    return _array_from_bytes(raw, numpy_type, (), "C").item()


class _Containers:
    """Constructors that copy their argument, under one common limit."""

    def __init__(self) -> None:
        self._copied = 0

    def _charge(self, count: int) -> None:
        self._copied += count
        if self._copied > MAX_COPIED_ELEMENTS:
            raise ValueError(f"it copies more than {MAX_COPIED_ELEMENTS:,} elements")

    def _items(self, items: Any) -> list[Any]:
        if not isinstance(items, list | tuple | set | frozenset | dict):
            raise TypeError("a container is not built from a container")
        self._charge(len(items))
        return list(items.items() if isinstance(items, dict) else items)

    def mapping(self, items: Any = ()) -> dict[Any, Any]:
        pairs = self._items(items)
        if not all(isinstance(pair, tuple | list) for pair in pairs):
            raise ValueError("a dictionary is built from something other than pairs")
        if not all(len(pair) == 2 and is_plain_key(pair[0]) for pair in pairs):
            raise ValueError("a dictionary has a key that is not plain")
        return OrderedDict(tuple(pair) for pair in pairs)

    def counter(self, items: Any = ()) -> dict[Any, Any]:
        return dict(self.mapping(items))

    def default_mapping(self, factory: Any = None, items: Any = ()) -> dict[Any, Any]:
        return dict(self.mapping(items))

    def members(self, items: Any = ()) -> set[Any]:
        plain = self._items(items)
        if not all(is_plain_key(item) for item in plain):
            raise ValueError("a set has a member that is not plain")
        return set(plain)

    def frozen_members(self, items: Any = ()) -> frozenset[Any]:
        return frozenset(self.members(items))

    def sequence(self, items: Any = ()) -> list[Any]:
        return self._items(items)

    def size(self, items: Any = ()) -> tuple[int, ...]:
        return _integers(self._items(items))

    def encode(self, text: Any, encoding: Any) -> bytes:
        """How protocol 2 spells bytes: each character of a text is one byte."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes are encoded in a way that pickle does not write")
        self._charge(len(text))
        return text.encode("latin-1")

    def byte_array(self, raw: Any = b"") -> bytearray:
        if not isinstance(raw, bytes | bytearray):
            raise TypeError("a bytearray is not built from bytes")
        self._charge(len(raw))
        return bytearray(raw)


def _complex(real: Any, imaginary: Any) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise TypeError("a complex number is not built from two numbers")
    return complex(real, imaginary)


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise TypeError("a device is not a name and a number")
    return kind if index is None else f"{kind}:{index}"


def allowed_globals() -> dict[str, Any]:
    """The table for one pickle; its containers share one limit."""
    containers = _Containers()
    table: dict[str, Any] = {
        "collections.OrderedDict": containers.mapping,
        "collections.Counter": containers.counter,
        "collections.defaultdict": containers.default_mapping,
        "torch.Size": containers.size,
        "torch.device": _device,
        "torch.Tensor": InertType("torch.Tensor"),
        "torch.nn.parameter.Parameter": InertType("torch.nn.Parameter"),
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "_codecs.encode": containers.encode,
        "numpy.dtype": NumpyType,
        "numpy.ndarray": InertType("numpy.ndarray"),
    }
    return table | _builtins(containers) | _storages() | _torch_dtypes() | _numpy()


def _builtins(containers: _Containers) -> dict[str, Any]:
    by_name: dict[str, Callable[..., Any]] = {
        "set": containers.members,
        "frozenset": containers.frozen_members,
        "list": containers.sequence,
        "dict": containers.mapping,
        "complex": _complex,
        "bytearray": containers.byte_array,
    }
    # Python 2 called the module __builtin__.
    modules = ("builtins", "__builtin__")
    return {
        f"{module}.{name}": function
        for module in modules
        for name, function in by_name.items()
    }


def _storages() -> dict[str, Any]:
    untyped = StorageType(dtypes.uint8, is_untyped=True)
    table: dict[str, Any] = {
        "torch.UntypedStorage": untyped,
        "torch.storage.UntypedStorage": untyped,
    }
    for name, dtype in STORAGE_DTYPES.items():
        for module in ("torch", "torch.cuda"):
            table[f"{module}.{name}"] = StorageType(dtype)
    return table


def _torch_dtypes() -> dict[str, Any]:
    return {f"torch.{dtype.name}": dtype for dtype in dtypes.ALL}


def _numpy() -> dict[str, Any]:
    table: dict[str, Any] = {}
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray.scalar"] = _numpy_scalar
        table[f"{core}.multiarray._reconstruct"] = NumpyArray
        table[f"{core}.numeric._frombuffer"] = _frombuffer
    return table
