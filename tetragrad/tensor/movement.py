"""Movement: views of the same elements under other shapes and orders.

A view shares its storage, so that writing to one writes to the other. ``reshape``
is a view wherever PyTorch's would be, and a copy where the elements are not evenly
spaced; ``layout.py`` decides.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import Bitcast
from tetragrad.graph.sizes import Size
from tetragrad.tensor import layout
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase, wrap
from tetragrad.tensor.cutting import CuttingMethods, Sizes
from tetragrad.tensor.promotion import broadcast_shapes, normal_dim, normal_dims

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def sizes_of(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Accept ``f(2, 3)`` and ``f((2, 3))`` alike."""
    if (
        len(sizes) == 1
        and not isinstance(sizes[0], int)
        and hasattr(sizes[0], "__iter__")
        and getattr(sizes[0], "ndim", None) != 0  # A tensor of one number is a size.
    ):
        sizes = tuple(sizes[0])
    return tuple(size if type(size) is Size else _whole(size) for size in sizes)


def _whole(size: Any) -> int:
    try:
        return operator.index(size)
    except TypeError:
        raise DTypeError(
            f"a size of {size!r}, a {type(size).__name__}",
            hint="sizes are whole numbers: write int(size), or n // 2 for n / 2",
        ) from None


class MovementMethods(CuttingMethods):
    """Methods that give a view of the same elements."""

    __slots__ = ()

    # --- shape ------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape.

        One size may be -1: it is worked out from the rest. A view where possible.

        >>> Tensor([1, 2, 3, 4]).reshape(2, -1)
        tensor([[1, 2],
                [3, 4]])

        Raises:
            ShapeError: the sizes multiply to another number of elements.
        """
        sizes = self._whole_shape(sizes_of(shape))
        if self._can_view(sizes):
            return self.moved(graph.Reshape, sizes)
        return self.copied(graph.Reshape, sizes)

    def view(self, *shape: Any) -> Tensor:
        """Like ``reshape``, but never a copy; ``view(dtype)`` reads bits anew.

        Raises:
            ShapeError: the elements are not evenly spaced, so that only a copy
                could have this shape.

        >>> Tensor([1, 2, 3, 4]).view(2, -1)
        tensor([[1, 2],
                [3, 4]])
        """
        if len(shape) == 1 and isinstance(shape[0], DType):
            return wrap(Bitcast(self.node, shape[0]), self)
        sizes = self._whole_shape(sizes_of(shape))
        if not self._can_view(sizes):
            raise ShapeError(
                f"a view of shape {sizes} onto a tensor of shape {self.shape} whose "
                "elements are not evenly spaced",
                hint="use reshape(), which copies where it must",
            )
        return self.moved(graph.Reshape, sizes)

    def _whole_shape(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes with -1 worked out; raises if they hold another number of elements."""
        count, asked = self.numel(), sizes
        unknown = [dim for dim, size in enumerate(sizes) if size == -1]
        known = math.prod(size for size in sizes if size != -1)
        fits = count == known
        if len(unknown) == 1 and known:
            fits = count % known == 0
            dim = unknown[0]
            sizes = (*sizes[:dim], count // known, *sizes[dim + 1 :])
        if not fits or min(sizes, default=0) < 0:
            raise ShapeError(
                f"cannot reshape {self.shape} ({count} elements) to {asked}",
                hint="the sizes must multiply to the number of elements; "
                "one of them may be -1",
            )
        return sizes

    def _can_view(self, sizes: tuple[int, ...]) -> bool:
        strides = self._strides()
        if strides is None:
            return False
        return layout.reshaped(self.shape, strides, sizes) is not None

    def view_as(self, other: TensorBase) -> Tensor:
        """A view with the shape of another tensor.

        >>> Tensor([1, 2]).view_as(Tensor([[0], [0]])).shape
        (2, 1)
        """
        return self.view(other.shape)

    def reshape_as(self, other: TensorBase) -> Tensor:
        """The same elements with the shape of another tensor.

        >>> Tensor([1, 2]).reshape_as(Tensor([[0], [0]])).shape
        (2, 1)
        """
        return self.reshape(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Join a run of dimensions into one.

        >>> Tensor.zeros(2, 3, 4).flatten(1).shape
        (2, 12)
        """
        if not self.ndim:
            return self.reshape(1)
        start = normal_dim(start_dim, self.ndim)
        end = normal_dim(end_dim, self.ndim)
        if start > end:
            raise ShapeError(
                f"flatten() from dimension {start} back to {end}",
                hint="start_dim is not behind end_dim",
            )
        joined = math.prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], joined, *self.shape[end + 1 :])

    def ravel(self) -> Tensor:
        """All elements in one dimension.

        >>> Tensor([[1, 2]]).ravel()
        tensor([1, 2])
        """
        return self.reshape(self.numel())

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """Split one dimension into several; one size may be -1.

        >>> Tensor.zeros(6).unflatten(0, (2, -1)).shape
        (2, 3)
        """
        dim = normal_dim(dim, self.ndim)
        sizes = tuple(sizes)
        if -1 in sizes:
            known = math.prod(size for size in sizes if size != -1)
            rest = self.shape[dim] // max(known, 1)
            sizes = tuple(rest if size == -1 else size for size in sizes)
        return self.reshape(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])

    @also_axis
    def squeeze(self, dim: Sizes | None = None) -> Tensor:
        """Drop dimensions of size 1: all of them, or the named ones.

        >>> Tensor.zeros(1, 3, 1).squeeze(0).shape
        (3, 1)
        """
        # An empty list of dimensions names none of them.
        named = () if dim == () or dim == [] else normal_dims(dim, self.ndim)
        kept = tuple(
            size
            for position, size in enumerate(self.shape)
            if size != 1 or position not in named
        )
        return self.moved(graph.Reshape, kept)

    @also_axis
    def unsqueeze(self, dim: int) -> Tensor:
        """A new dimension of size 1 before dimension ``dim``.

        >>> Tensor([1, 2]).unsqueeze(1).shape
        (2, 1)
        """
        dim = normal_dim(dim, self.ndim + 1)
        shape = (*self.shape[:dim], 1, *self.shape[dim:])
        return self.moved(graph.Reshape, shape)

    # --- order ------------------------------------------------------------------------

    def permute(self, *dims: Any) -> Tensor:
        """Dimension ``dims[i]`` becomes dimension ``i``.

        >>> Tensor.zeros(2, 3, 4).permute(2, 0, 1).shape
        (4, 2, 3)
        """
        wanted = sizes_of(dims)
        order = tuple(normal_dim(entry, self.ndim) for entry in wanted)
        if len(order) != self.ndim:
            raise ShapeError(
                f"permute{wanted} of shape {self.shape}",
                hint=f"name each of the {self.ndim} dimensions once",
            )
        return self.moved(graph.Permute, order)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two dimensions.

        >>> Tensor([[1, 2, 3]]).transpose(0, 1).shape
        (3, 1)
        """
        first, second = normal_dim(dim0, self.ndim), normal_dim(dim1, self.ndim)
        order = list(range(self.ndim))
        if order:
            order[first], order[second] = second, first
        return self.moved(graph.Permute, tuple(order))

    swapaxes = transpose
    swapdims = transpose

    def t(self) -> Tensor:
        """The transpose of a tensor with at most two dimensions.

        >>> Tensor([[1, 2]]).t().shape
        (2, 1)
        """
        if self.ndim > 2:
            raise ShapeError(
                f"t() of shape {self.shape} with {self.ndim} dimensions",
                hint="write x.mT for the last two, or x.transpose(dim0, dim1)",
            )
        return self.permute(*reversed(range(self.ndim)))

    @property
    def T(self) -> Tensor:
        """All dimensions in reverse order.

        >>> Tensor([[1, 2]]).T.shape
        (2, 1)
        """
        return self.permute(*reversed(range(self.ndim)))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged.

        >>> Tensor.zeros(3, 1, 2).mT.shape
        (3, 2, 1)
        """
        if self.ndim < 2:
            raise ShapeError(
                f"mT needs at least two dimensions, not {self.shape}",
                hint="x.unsqueeze(-1) makes a column of a vector",
            )
        return self.transpose(-2, -1)

    def movedim(self, source: Sizes, destination: Sizes) -> Tensor:
        """Move dimensions to other places; the rest keep their order.

        >>> Tensor.zeros(2, 3, 4).movedim(0, -1).shape
        (3, 4, 2)
        """
        sources = [source] if isinstance(source, int) else list(source)
        places = [destination] if isinstance(destination, int) else list(destination)
        if len(sources) != len(places):
            raise ShapeError(
                f"movedim() from {sources} to {places}: counts differ",
                hint="name a destination for each source",
            )
        found = [normal_dim(entry, self.ndim) for entry in sources]
        pairs = {
            normal_dim(place, self.ndim): dim
            for dim, place in zip(found, places, strict=True)
        }
        rest = iter(dim for dim in range(self.ndim) if dim not in found)
        order = [
            pairs[place] if place in pairs else next(rest) for place in range(self.ndim)
        ]
        return self.permute(*order)

    moveaxis = movedim

    # --- size -------------------------------------------------------------------------

    def expand(self, *sizes: Any) -> Tensor:
        """Repeat dimensions of size 1, as a view; -1 keeps a size.

        >>> Tensor([[1], [2]]).expand(2, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]])
        """
        wanted = sizes_of(sizes)
        missing = len(wanted) - self.ndim
        own = (1,) * missing + self.shape
        shape = tuple(
            old if new == -1 else new for old, new in zip(own, wanted, strict=False)
        )
        if missing < 0 or -1 in wanted[:missing]:
            raise ShapeError(
                f"cannot expand shape {self.shape} to {wanted}",
                hint="new dimensions go in front, with sizes of 0 or more",
            )
        return self.moved(graph.Reshape, own).moved(graph.Expand, shape)

    def expand_as(self, other: TensorBase) -> Tensor:
        """Repeat up to the shape of another tensor.

        >>> Tensor([[1], [2]]).expand_as(Tensor.zeros(2, 2))
        tensor([[1, 1],
                [2, 2]])
        """
        return self.expand(other.shape)

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Repeat up to a shape; the same as ``expand``.

        >>> Tensor([1, 2]).broadcast_to(2, 2)
        tensor([[1, 2],
                [1, 2]])
        """
        return self.expand(*shape)

    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """Sliding windows of one dimension; the window is a new last dimension.

        >>> Tensor([1, 2, 3, 4]).unfold(0, 2, 1)
        tensor([[1, 2],
                [2, 3],
                [3, 4]])
        """
        dim = normal_dim(dimension, self.ndim)
        if not self.ndim:
            return self.reshape(1).unfold(0, size, step).squeeze(0)
        windows = self.moved(graph.Window, dim, size, step, 1)
        return windows.movedim(dim + 1, -1)

    def flip(self, *places: Any, dims: Sizes | None = None) -> Tensor:
        """Reverse the order along dimensions (a copy, as in PyTorch).

        >>> Tensor([1, 2, 3]).flip(0)
        tensor([3, 2, 1])
        """
        wanted = sizes_of(places) if dims is None else sizes_of([dims])
        named = normal_dims(wanted, self.ndim) if wanted else ()
        return self.copied(graph.Flip, named)

    def fliplr(self) -> Tensor:
        """Reverse the second dimension.

        >>> Tensor([[1, 2]]).fliplr()
        tensor([[2, 1]])
        """
        return self.flip(1)

    def flipud(self) -> Tensor:
        """Reverse the first dimension.

        >>> Tensor([1, 2]).flipud()
        tensor([2, 1])
        """
        return self.flip(0)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """The diagonal of two dimensions as a view; it becomes the last dimension.

        >>> Tensor([[1, 2], [3, 4]]).diagonal()
        tensor([1, 4])
        """
        first, second = normal_dim(dim1, self.ndim), normal_dim(dim2, self.ndim)
        if first == second:
            raise ShapeError(
                f"diagonal() of dimension {first} with itself",
                hint="name two dimensions",
            )
        moved = self.movedim((first, second), (-2, -1))
        *batch, rows, columns = moved.shape
        length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
        if not length:
            return moved.cut(moved.ndim - 1, 0, 0).flatten(-2)
        # In row-major order the next element of the diagonal is columns + 1 further.
        start = max(offset, 0) + max(-offset, 0) * columns
        stop = start + (length - 1) * (columns + 1) + 1
        flat = moved.moved(graph.Reshape, (*batch, rows * columns))
        run = flat.cut(len(batch), start, stop)
        return run.moved(graph.Stride, (1,) * len(batch) + (columns + 1,))


def broadcast_tensors(*tensors: TensorBase) -> tuple[Tensor, ...]:
    """Views of all tensors in their common shape.

    >>> a, b = tetragrad.broadcast_tensors(Tensor([1, 2]), Tensor([[3], [4]]))
    >>> a.shape == b.shape == (2, 2)
    True
    """
    shape = broadcast_shapes(*(tensor.shape for tensor in tensors))
    return tuple(
        tensor.expand(shape)
        for tensor in tensors
        if isinstance(tensor, MovementMethods)
    )
