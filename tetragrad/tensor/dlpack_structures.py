"""DLPack's C structures, and the capsules that carry them between libraries.

The layout is that of dlpack.h, version 1.1 (https://dmlc.github.io/dlpack). A capsule
is named "dltensor", or "dltensor_versioned" from version 1.0 on; whoever takes what is
in it renames it, and calls the structure's deleter when done.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import ExchangeError
from tetragrad.core.frozen import frozen
from tetragrad.graph.node import Shape
from tetragrad.tensor.layout import row_major

#: The version that is written, and the highest major one that is read.
VERSION = (1, 1)

FLAG_READ_ONLY = 1
FLAG_COPIED = 2

#: Device types whose memory the host reads as its own: its memory, and locked memory.
HOST_DEVICES = (1, 3)
CUDA_DEVICE = 2

#: DLDataTypeCode and bits for each dtype.
_CODES = {
    dtypes.bool_: (6, 8),
    **{getattr(dtypes, f"int{bits}"): (0, bits) for bits in (8, 16, 32, 64)},
    **{getattr(dtypes, f"uint{bits}"): (1, bits) for bits in (8, 16, 32, 64)},
    **{getattr(dtypes, f"float{bits}"): (2, bits) for bits in (16, 32, 64)},
    dtypes.bfloat16: (4, 16),
    dtypes.complex64: (5, 64),
    dtypes.complex128: (5, 128),
    dtypes.float8_e4m3fn: (10, 8),
    dtypes.float8_e5m2: (12, 8),
}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}


class CDevice(ctypes.Structure):
    """DLDevice."""

    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class CDataType(ctypes.Structure):
    """DLDataType."""

    _fields_ = (
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


class CTensor(ctypes.Structure):
    """DLTensor; strides are in elements, or absent for row-major order."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", CDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", CDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class CManaged(ctypes.Structure):
    """DLManagedTensor, of DLPack before 1.0."""

    _fields_ = (
        ("tensor", CTensor),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class CManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", CTensor),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_NAMES: dict[bool, bytes] = {False: b"dltensor", True: b"dltensor_versioned"}


def _python(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of Python's C interface."""
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype((name, ctypes.pythonapi))


_new = _python(
    "PyCapsule_New",
    ctypes.py_object,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_void_p,
)
_is_valid = _python(
    "PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p
)
_pointer = _python(
    "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p
)
_rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)


@frozen
class Block:
    """Elements in memory, as DLPack describes them; strides are in elements."""

    address: int
    device: tuple[int, int]
    dtype: DType
    shape: Shape
    strides: Shape
    read_only: bool = False
    copied: bool = False


# --- handing out ----------------------------------------------------------------------

#: What consumers still use, by the address of its structure: the structure with its
#: shape and strides, and the owner of the memory.
_lent: dict[int, tuple[object, ...]] = {}
#: Capsules from which nobody was known to have taken the structure.
_offered: dict[int, object] = {}
#: References to a capsule that is only kept here, while they are counted.
_OWN_REFERENCES = 3


def capsule_of(block: Block, owner: object, *, versioned: bool) -> object:
    """A capsule with a block; ``owner`` lives until the consumer calls the deleter."""
    _forget_untaken()
    sizes = (ctypes.c_int64 * len(block.shape))(*block.shape)
    strides = (ctypes.c_int64 * len(block.shape))(*block.strides)
    code, bits = _CODES[block.dtype]
    tensor = CTensor(
        block.address,
        CDevice(*block.device),
        len(block.shape),
        CDataType(code, bits, 1),
        sizes,
        strides,
        0,
    )
    deleter = ctypes.cast(_delete, ctypes.c_void_p)
    managed: CManaged | CManagedVersioned
    if versioned:
        flags = FLAG_READ_ONLY * block.read_only | FLAG_COPIED * block.copied
        managed = CManagedVersioned(*VERSION, None, deleter, flags, tensor)
    else:
        managed = CManaged(tensor, None, deleter)
    address = ctypes.addressof(managed)
    _lent[address] = (managed, sizes, strides, owner)
    capsule: object = _new(address, _NAMES[versioned], None)
    _offered[address] = capsule
    return capsule


def lent_count() -> int:
    """How many blocks consumers have not given back."""
    _forget_untaken()
    return len(_lent)


def _let_go(address: int, lent: dict[int, Any] = _lent) -> None:
    """The consumer is done: forget the structure, and with it the memory's owner."""
    lent.pop(address, None)


def _forget_untaken() -> None:
    """Forget capsules that are no longer wanted, and what was in those nobody took.

    A destructor could do this at once, but Python code must not run then: a capsule
    also dies while an error is raised, as NumPy's that it cannot read a GPU's memory.
    """
    for address in list(_offered):
        capsule = _offered[address]
        is_taken = not any(_is_valid(capsule, name) for name in _NAMES.values())
        if not is_taken and sys.getrefcount(capsule) > _OWN_REFERENCES:
            continue
        del _offered[address]
        if not is_taken:
            _let_go(address)


_delete = _DELETER(_let_go)


# --- taking ---------------------------------------------------------------------------


class Taken:
    """A block that another library lent us, given back when this object dies."""

    def __init__(self, capsule: object) -> None:
        versioned = bool(_is_valid(capsule, _NAMES[True]))
        if not versioned and not _is_valid(capsule, _NAMES[False]):
            raise ExchangeError(
                f"from_dlpack(): {capsule!r} is no DLPack capsule, or has been used",
                hint="pass the tensor itself, or a fresh x.__dlpack__()",
            )
        name = _NAMES[versioned]
        address = _pointer(capsule, name)
        kind = CManagedVersioned if versioned else CManaged
        self._managed: Any = kind.from_address(address)
        self._address = address
        if versioned and self._managed.major > VERSION[0]:
            raise ExchangeError(
                f"from_dlpack(): the capsule is of DLPack {self._managed.major}."
                f"{self._managed.minor}, and {VERSION[0]}.x is understood"
            )
        self.block = _read(self._managed.tensor, versioned, self._managed)
        # From here on the block is ours to give back. A capsule keeps the pointer to
        # its name, which must live as long as the process.
        _rename(capsule, _USED[versioned])

    def __del__(self) -> None:
        managed = self.__dict__.get("_managed")
        if "block" in self.__dict__ and managed and managed.deleter:
            _DELETER(managed.deleter)(self._address)


_USED = {False: b"used_dltensor", True: b"used_dltensor_versioned"}


def _read(tensor: CTensor, versioned: bool, managed: Any) -> Block:
    code = (tensor.dtype.code, tensor.dtype.bits)
    if tensor.dtype.lanes != 1 or code not in _DTYPES:
        raise ExchangeError(
            f"from_dlpack(): elements of DLPack's type {code[0]} with {code[1]} bits "
            f"and {tensor.dtype.lanes} lanes have no tetragrad equivalent"
        )
    shape = tuple(tensor.shape[: tensor.ndim]) if tensor.ndim else ()
    strides = row_major(shape)
    if tensor.strides and tensor.ndim:
        strides = tuple(tensor.strides[: tensor.ndim])
    return Block(
        (tensor.data or 0) + tensor.byte_offset,
        (tensor.device.device_type, tensor.device.device_id),
        _DTYPES[code],
        shape,
        strides,
        read_only=versioned and bool(managed.flags & FLAG_READ_ONLY),
        copied=versioned and bool(managed.flags & FLAG_COPIED),
    )
