"""The array object of the Python array API standard 2025.12 ("Array object")."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, final

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.tensor import Tensor
from tetragrad.tensor.display import describe
from tetragrad.xp import operations
from tetragrad.xp.base import ArrayBase, Scalar, wrap
from tetragrad.xp.kinds import common_dtype, in_dtype
from tetragrad.xp.matrices import matmul_arrays
from tetragrad.xp.operations import Binary

#: The versions of the standard that the namespace follows.
VERSIONS: Final = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")

#: An index: numbers, slices, None and Ellipsis, arrays of integers, or one mask.
Key = Any


def _operator(operation: Binary) -> Callable[[Array, Any], Array]:
    """x + y is xp.add(x, y)."""

    def method(self: Array, other: Array | Scalar, /) -> Array:
        return operation(self, other) if _is_operand(other) else NotImplemented

    method.__doc__ = f"xp.{operation.name}(self, other)."
    return method


def _reflected(operation: Binary) -> Callable[[Array, Any], Array]:
    """2 + x is xp.add(2, x)."""

    def method(self: Array, other: Array | Scalar, /) -> Array:
        return operation(other, self) if _is_operand(other) else NotImplemented

    method.__doc__ = f"xp.{operation.name}(other, self)."
    return method


def _in_place(operation: Binary) -> Callable[[Array, Any], Array]:
    """x += y replaces the elements of x, whose dtype and shape stay."""

    def method(self: Array, other: Array | Scalar, /) -> Array:
        if not _is_operand(other):
            return NotImplemented
        return self._replace(operation(self, other))

    method.__doc__ = f"Replace the elements by xp.{operation.name}(self, other)."
    return method


def _is_operand(value: object) -> bool:
    return isinstance(value, ArrayBase | bool | int | float | complex)


@final
class Array(ArrayBase):
    """Elements of one dtype on one device, under the rules of the standard.

    Made by ``xp.asarray``, ``xp.zeros`` and the like, never by its constructor.

    >>> xp.asarray([[1, 2], [3, 4]]) * 2
    Array([[2, 4],
           [6, 8]])
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, *args: Any, **kwargs: Any) -> Array:
        raise DTypeError(
            "Array(...) makes no array", hint="use xp.asarray(...) or xp.zeros(...)"
        )

    # --- attributes -------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """The dtype of the elements.

        >>> xp.asarray([1.5]).dtype
        float32
        """
        return self._tensor.dtype

    @property
    def device(self) -> str:
        """The name of the device that holds the elements."""
        return self._tensor.device

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis.

        >>> xp.asarray([[1, 2, 3]]).shape
        (1, 3)
        """
        return tuple(self._tensor.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._tensor.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._tensor.numel()

    @property
    def T(self) -> Array:
        """The transpose of a matrix.

        Raises:
            ShapeError: the array has not two axes; use mT or xp.permute_dims.
        """
        if self.ndim != 2:
            raise ShapeError(
                f"T of shape {self.shape}: it is the transpose of a matrix",
                hint="use x.mT for a stack of matrices, or xp.permute_dims",
            )
        return wrap(self._tensor.T)

    @property
    def mT(self) -> Array:
        """The last two axes exchanged.

        >>> xp.asarray([[1, 2]]).mT.shape
        (2, 1)
        """
        return wrap(self._tensor.mT)

    # --- the namespace, other devices, other libraries --------------------------------

    def __array_namespace__(self, /, *, api_version: str | None = None) -> ModuleType:
        """The module with the standard's functions.

        Raises:
            TetragradError: there is no such version of the standard.
        """
        if api_version is not None and api_version not in VERSIONS:
            raise TetragradError(
                f"version {api_version!r} of the array API standard",
                hint=f"use one of {', '.join(VERSIONS)}",
            )
        return sys.modules["tetragrad.xp"]

    def to_device(self, device: str, /, *, stream: Any = None) -> Array:
        """The array on a device; itself, if it is there.

        Raises:
            TetragradError: a stream is given; devices order their work themselves.
        """
        if stream is not None:
            raise TetragradError(
                f"to_device() on stream {stream!r}",
                hint="leave it out: the result waits for what it needs",
            )
        return wrap(self._tensor.to(device=device))

    def __dlpack__(
        self,
        /,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule with the elements, for another library's ``from_dlpack``."""
        return self._tensor.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self, /) -> tuple[Any, int]:
        """The kind and the number of the device, in DLPack's numbering."""
        return self._tensor.__dlpack_device__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A NumPy array with a copy of the elements, for NumPy's functions."""
        return self._tensor.__array__(dtype, copy)

    # --- single elements --------------------------------------------------------------

    def _number(self, kind: str) -> Any:
        """The only element of an array without axes."""
        if self.ndim:
            raise DTypeError(
                f"{kind}() of an array of shape {self.shape}",
                hint="only arrays without axes are numbers; pick an element: x[0]",
            )
        return self._tensor.item()

    def __bool__(self, /) -> bool:
        return bool(self._number("bool"))

    def __int__(self, /) -> int:
        return int(self._number("int"))

    def __float__(self, /) -> float:
        return float(self._number("float"))

    def __complex__(self, /) -> complex:
        return complex(self._number("complex"))

    def __index__(self, /) -> int:
        if not self.dtype.is_integer:
            raise DTypeError(f"an array of {self.dtype} cannot be an index")
        return int(self._number("index"))

    # --- elements and parts -----------------------------------------------------------

    def __getitem__(self, key: Key, /) -> Array:
        return wrap(self._tensor[_tensor_key(key, self.shape)])

    def __setitem__(self, key: Key, value: Array | Scalar, /) -> None:
        if common_dtype([self, value]) is not self.dtype:
            raise DTypeError(
                f"an array of {self.dtype} cannot hold {_kind_of(value)}",
                hint="convert the value with xp.astype(value, x.dtype)",
            )
        key = _tensor_key(key, self.shape)
        self._tensor[key] = in_dtype(value, self.dtype)

    def _replace(self, new: Array) -> Array:
        if new.dtype is not self.dtype or new.shape != self.shape:
            raise DTypeError(
                f"an in-place operation on {self.dtype} of shape {self.shape} gave "
                f"{new.dtype} of shape {new.shape}",
                hint="write x = x + y for a new array",
            )
        self._tensor.copy_(new.to_tensor())
        return self

    def __repr__(self) -> str:
        return describe(self._tensor, "Array")

    # --- operators --------------------------------------------------------------------

    def __abs__(self, /) -> Array:
        return operations.ABSOLUTE(self)

    def __neg__(self, /) -> Array:
        return operations.NEGATE(self)

    def __pos__(self, /) -> Array:
        return operations.POSITIVE(self)

    def __invert__(self, /) -> Array:
        return operations.INVERT(self)

    def __matmul__(self, other: Array, /) -> Array:
        if not isinstance(other, Array):
            return NotImplemented
        return matmul_arrays(self, other)

    def __rmatmul__(self, other: Array, /) -> Array:
        if not isinstance(other, Array):
            return NotImplemented
        return matmul_arrays(other, self)

    def __imatmul__(self, other: Array, /) -> Array:
        if not isinstance(other, Array):
            return NotImplemented
        return self._replace(matmul_arrays(self, other))

    __add__ = _operator(operations.ADD)
    __sub__ = _operator(operations.SUBTRACT)
    __mul__ = _operator(operations.MULTIPLY)
    __truediv__ = _operator(operations.DIVIDE)
    __floordiv__ = _operator(operations.FLOOR_DIVIDE)
    __mod__ = _operator(operations.REMAINDER)
    __pow__ = _operator(operations.POWER)
    __and__ = _operator(operations.AND)
    __or__ = _operator(operations.OR)
    __xor__ = _operator(operations.XOR)
    __lshift__ = _operator(operations.LEFT)
    __rshift__ = _operator(operations.RIGHT)
    __eq__ = _operator(operations.EQUAL)  # type: ignore[assignment]
    __ne__ = _operator(operations.NOT_EQUAL)  # type: ignore[assignment]
    __lt__ = _operator(operations.LESS)
    __le__ = _operator(operations.LESS_EQUAL)
    __gt__ = _operator(operations.GREATER)
    __ge__ = _operator(operations.GREATER_EQUAL)

    __radd__ = _reflected(operations.ADD)
    __rsub__ = _reflected(operations.SUBTRACT)
    __rmul__ = _reflected(operations.MULTIPLY)
    __rtruediv__ = _reflected(operations.DIVIDE)
    __rfloordiv__ = _reflected(operations.FLOOR_DIVIDE)
    __rmod__ = _reflected(operations.REMAINDER)
    __rpow__ = _reflected(operations.POWER)
    __rand__ = _reflected(operations.AND)
    __ror__ = _reflected(operations.OR)
    __rxor__ = _reflected(operations.XOR)
    __rlshift__ = _reflected(operations.LEFT)
    __rrshift__ = _reflected(operations.RIGHT)

    __iadd__ = _in_place(operations.ADD)
    __isub__ = _in_place(operations.SUBTRACT)
    __imul__ = _in_place(operations.MULTIPLY)
    __itruediv__ = _in_place(operations.DIVIDE)
    __ifloordiv__ = _in_place(operations.FLOOR_DIVIDE)
    __imod__ = _in_place(operations.REMAINDER)
    __ipow__ = _in_place(operations.POWER)
    __iand__ = _in_place(operations.AND)
    __ior__ = _in_place(operations.OR)
    __ixor__ = _in_place(operations.XOR)
    __ilshift__ = _in_place(operations.LEFT)
    __irshift__ = _in_place(operations.RIGHT)


def _tensor_key(key: Key, shape: tuple[int, ...]) -> Any:
    """An index into an array of this shape, with tensors in place of arrays."""
    if isinstance(key, tuple):
        return tuple(_tensor_key(item, shape) for item in key)
    if not isinstance(key, ArrayBase):
        return key
    tensor = key.to_tensor()
    return _whole_mask(tensor, shape) if tensor.dtype.is_bool else tensor


def _whole_mask(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A mask may have size 0 instead of an axis's: it chooses nothing."""
    pairs = list(zip(mask.shape, shape, strict=False))
    fits = mask.ndim <= len(shape) and all(own in (0, size) for own, size in pairs)
    if not fits or 0 not in mask.shape:
        return mask
    return Tensor.zeros(shape[: mask.ndim], dtype=mask.dtype)


def _kind_of(value: Any) -> str:
    """What a value is, for an error message."""
    return f"{value.dtype} values" if isinstance(value, Array) else repr(value)


ArrayBase.array_class = Array
