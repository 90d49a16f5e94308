"""What a tensor says of itself: sizes, bytes, and how it lies in its storage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import ShapeError
from tetragrad.graph.node import Shape
from tetragrad.tensor import layout
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.promotion import normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class FactMethods(TensorBase):
    """Sizes, bytes and strides, known before anything is computed."""

    __slots__ = ()

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension.

        >>> Tensor([[1, 2, 3]]).size(1)
        3
        """
        return self.shape if dim is None else self.shape[normal_dim(dim, self.ndim)]

    def dim(self) -> int:
        """The number of dimensions.

        >>> Tensor([[1, 2]]).dim()
        2
        """
        return self.ndim

    def numel(self) -> int:
        """The number of elements.

        >>> Tensor([[1, 2, 3]]).numel()
        3
        """
        return math.prod(self.shape)

    nelement = numel

    def element_size(self) -> int:
        """Bytes that one element takes.

        >>> Tensor([1.0]).element_size()
        4
        """
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes.

        >>> Tensor([1.0]).itemsize
        4
        """
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes that all elements take.

        >>> Tensor([1.0, 2.0]).nbytes
        8
        """
        return self.numel() * self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How far apart in the storage neighbours in each dimension are.

        >>> Tensor([[1, 2, 3], [4, 5, 6]]).t().stride()
        (1, 3)
        """
        strides = self._strides()
        if strides is None:
            raise ShapeError("this view has no strides", hint="use contiguous() first")
        return strides if dim is None else strides[normal_dim(dim, self.ndim)]

    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps.

        >>> Tensor([[1, 2], [3, 4]]).t().is_contiguous()
        False
        """
        strides = self._strides()
        return strides is not None and layout.is_row_major(self.shape, strides)

    def _strides(self) -> Shape | None:
        """How far apart neighbours are, or None if that differs between them."""
        found = layout.strides(self.storage.value.shape, self.steps)
        if found is None or not self.dtype.is_complex:
            return found
        # Both parts of a complex number count as one element.
        return tuple(step // 2 for step in found[:-1])

    def contiguous(self) -> Tensor:
        """This tensor, or a copy of it if it is not contiguous.

        >>> Tensor([[1, 2]]).contiguous().is_contiguous()
        True
        """
        if self.is_contiguous():
            return self  # type: ignore[return-value]
        return self.alike(self.real_node)
