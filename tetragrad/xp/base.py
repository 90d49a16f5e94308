"""The array as a handle on a tensor, and how functions get from one to the other.

An array adds no data of its own: ``x.to_tensor()`` and ``asarray(tensor)`` share the
elements. What differs is the rules: those of the Python array API standard here, and
PyTorch's there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tetragrad.core.errors import DTypeError
from tetragrad.tensor import Tensor

if TYPE_CHECKING:
    from tetragrad.xp.array import Array

#: Python's numbers, which take on the dtype of the arrays that they meet.
Scalar: TypeAlias = bool | int | float | complex


class ArrayBase:
    """A handle on a tensor. The methods that the standard asks for are in Array."""

    __slots__ = ("_tensor",)

    #: The class of every function's result.
    array_class: ClassVar[type[Array]]

    _tensor: Tensor

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Array:
        """The tensor as an array, which shares its elements."""
        array = object.__new__(cls.array_class)
        array._tensor = tensor
        return array

    def to_tensor(self) -> Tensor:
        """The array as a tensor, which shares its elements.

        >>> xp.asarray([1, 2]).to_tensor() * 1.5
        tensor([1.5000, 3.0000])
        """
        return self._tensor


def wrap(tensor: Tensor) -> Array:
    """A function's result, as an array."""
    return ArrayBase.from_tensor(tensor)


def tensor_of(value: Any, name: str) -> Tensor:
    """The tensor of an array that a function was given; raises for anything else."""
    if isinstance(value, ArrayBase):
        return value.to_tensor()
    raise DTypeError(
        f"{name}() of {type(value).__name__}: the standard's functions take arrays",
        hint="convert it first with xp.asarray(...)",
    )
