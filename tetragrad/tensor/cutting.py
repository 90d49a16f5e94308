"""Views of a part of the elements, or of all of them in several parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.graph import movement as graph
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.facts import FactMethods
from tetragrad.tensor.promotion import normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Sizes = int | Sequence[int]


class CuttingMethods(FactMethods):
    """Methods that cut along one dimension."""

    __slots__ = ()

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """``length`` elements of one dimension, from ``start`` on.

        >>> Tensor([1, 2, 3, 4]).narrow(0, 1, 2)
        tensor([2, 3])
        """
        dim = normal_dim(dim, self.ndim)
        size = self.shape[dim]
        start = int(start)
        first = start + size if start < 0 else start
        if not 0 <= first <= first + length <= size:
            raise ShapeError(
                f"narrow() to {length} elements from {start} on: "
                f"dimension {dim} of {self.shape} has {size}",
                hint="start and length together are at most the size",
            )
        return self.cut(dim, first, first + length)

    def cut(self, dim: int, start: int, stop: int) -> Tensor:
        """Elements ``start`` up to ``stop`` of one dimension, both in range.

        >>> Tensor([1, 2, 3]).cut(0, 1, 3)
        tensor([2, 3])
        """
        bounds = tuple(
            (start, stop) if position == dim else (0, size)
            for position, size in enumerate(self.shape)
        )
        return self.moved(graph.Shrink, bounds)

    @also_axis
    def split(self, split_size: Sizes, dim: int = 0) -> tuple[Tensor, ...]:
        """Views of ``split_size`` elements each, or of the listed sizes.

        >>> [part.tolist() for part in Tensor([1, 2, 3]).split(2)]
        [[1, 2], [3]]
        """
        dim = normal_dim(dim, self.ndim)
        length = self.shape[dim]
        if isinstance(split_size, int):
            if split_size < 1 and length:
                raise ShapeError(
                    f"split() into parts of {split_size} elements", hint="use 1 or more"
                )
            step = max(split_size, 1)
            starts = range(0, max(length, 1), step)
            sizes = [min(step, length - start) for start in starts]
        else:
            sizes = list(split_size)
        if sum(sizes) != length:
            raise ShapeError(
                f"split() into sizes {sizes}, which add up to {sum(sizes)}: "
                f"dimension {dim} of {self.shape} has {length}",
                hint=f"the sizes must add up to {length}",
            )
        parts, start = [], 0
        for size in sizes:
            parts.append(self.cut(dim, start, start + size))
            start += size
        return tuple(parts)

    @also_axis
    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` views of equal size, the last one smaller.

        >>> [part.tolist() for part in Tensor([1, 2, 3]).chunk(2)]
        [[1, 2], [3]]
        """
        if chunks < 1:
            raise ShapeError(f"chunk() into {chunks} parts", hint="use 1 or more")
        length = self.shape[normal_dim(dim, self.ndim)]
        return self.split(max(1, -(-length // chunks)), dim)

    @also_axis
    def tensor_split(self, indices_or_sections: Sizes, dim: int = 0) -> Any:
        """Views between the given positions, or of nearly equal size.

        >>> [part.tolist() for part in Tensor([1, 2, 3]).tensor_split(2)]
        [[1, 2], [3]]
        """
        dim = normal_dim(dim, self.ndim)
        length = self.shape[dim]
        if isinstance(indices_or_sections, TensorBase):
            # The host reads where to split.
            indices_or_sections = indices_or_sections.read().tolist()
        if isinstance(indices_or_sections, int):
            whole, extra = divmod(length, indices_or_sections)
            parts = range(indices_or_sections)
            return self.split([whole + (part < extra) for part in parts], dim)
        stops = [min(max(stop, 0), length) for stop in indices_or_sections]
        edges = [0, *stops, length]
        pairs = itertools.pairwise(edges)
        return tuple(self.cut(dim, start, max(start, stop)) for start, stop in pairs)

    @also_axis
    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """A view for each index of a dimension, without that dimension.

        >>> Tensor([[1, 2], [3, 4]]).unbind()
        (tensor([1, 2]), tensor([3, 4]))
        """
        dim = normal_dim(dim, self.ndim)
        return tuple(self.select(dim, index) for index in range(self.shape[dim]))

    def select(self, dim: int, index: int) -> Tensor:
        """The view at one index of a dimension, without that dimension.

        >>> Tensor([[1, 2], [3, 4]]).select(1, -1)
        tensor([2, 4])
        """
        dim = normal_dim(dim, self.ndim)
        size = self.shape[dim]
        if not -size <= index < size:
            raise IndexingError(
                f"index {index} is out of range: dimension {dim} of shape "
                f"{self.shape} has {size} elements",
                hint=f"an index is from {-size} to {size - 1}",
            )
        start = index if index >= 0 else index + size
        shape = (*self.shape[:dim], *self.shape[dim + 1 :])
        return self.cut(dim, start, start + 1).moved(graph.Reshape, shape)
