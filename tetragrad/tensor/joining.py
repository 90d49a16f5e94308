"""Tensors made of pieces: concatenation, stacking, padding, repetition.

Every output element is one input element, bit for bit: pieces are padded to the full
size and chosen by position, never added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.joining import joined
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import in_place
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import by_parts
from tetragrad.tensor.contraction import ContractionMethods
from tetragrad.tensor.movement import sizes_of
from tetragrad.tensor.promotion import (
    combine,
    common_dtype,
    normal_dim,
    normal_dims,
    to_node,
)
from tetragrad.tensor.reductions import positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def pad_dim(node: Node, dim: int, before: int, after: int, value: Any = 0) -> Node:
    """Pad (or, where a size is negative, cut) one dimension."""
    bounds = [(0, size) for size in node.shape]
    bounds[dim] = (max(0, -before), node.shape[dim] - max(0, -after))
    cut = graph.Shrink(node, tuple(bounds))
    padding = [(0, 0)] * node.ndim
    padding[dim] = (max(0, before), max(0, after))
    return graph.Pad(cut, tuple(padding), constant(value, node.dtype))


def concatenate_nodes(pieces: Sequence[Node], dim: int) -> Node:
    """The pieces one after another along a dimension, as a balanced tree of choices."""
    if len(pieces) == 1:
        return pieces[0]
    half = len(pieces) // 2
    first = concatenate_nodes(pieces[:half], dim)
    return joined(first, concatenate_nodes(pieces[half:], dim), dim)


@also_axis
def cat(tensors: Sequence[TensorBase], dim: int = 0) -> Tensor:
    """Tensors one after another along a dimension; the other sizes must agree.

    >>> tetragrad.cat([Tensor([1, 2]), Tensor([3])])
    tensor([1, 2, 3])

    Raises:
        ShapeError: sizes differ in another dimension, or there are no tensors.
    """
    pieces = _checked("cat()", tensors)
    # PyTorch lets an empty vector stand for "nothing" of any shape.
    shaped = [entry for entry in pieces if entry.shape != (0,)] or pieces[:1]
    first = shaped[0].shape
    if not first:
        raise ShapeError(
            f"cat() of numbers: number 0 has shape {first}, no dimension to grow",
            hint="use stack()",
        )
    dim = normal_dim(dim, len(first))
    for position, entry in enumerate(shaped):
        same = len(entry.shape) == len(first) and all(
            have == want or axis == dim
            for axis, (have, want) in enumerate(zip(entry.shape, first, strict=True))
        )
        if not same:
            raise ShapeError(
                f"cat() of shapes {first} and {entry.shape} (number {position}) "
                f"along dimension {dim}",
                hint="all other sizes must agree; use stack() for a new dimension",
            )
    dtype = common_dtype(*pieces)
    nodes = [to_node(entry, dtype) for entry in shaped]
    return combine(concatenate_nodes(nodes, dim), *pieces, dtype=dtype)


def _checked(name: str, tensors: Sequence[TensorBase]) -> list[TensorBase]:
    if isinstance(tensors, TensorBase) and not tensors.ndim > 1:
        raise ShapeError(
            f"{name} of one tensor of shape {tensors.shape}",
            hint="pass several tensors in a list",
        )
    pieces = list(tensors)
    if not pieces:
        raise ShapeError(f"{name} of no tensors", hint="give at least one")
    for entry in pieces:
        if not isinstance(entry, TensorBase):
            raise DTypeError(f"{name} of {type(entry).__name__}", hint="pass tensors")
    return pieces


@also_axis
def stack(tensors: Sequence[TensorBase], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension.

    >>> tetragrad.stack([Tensor([1, 2]), Tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    pieces = _checked("stack()", tensors)
    first = pieces[0].shape
    for entry in pieces:
        if entry.shape != first:
            raise ShapeError(
                f"stack() of shapes {first} and {entry.shape}",
                hint="all shapes must be equal; use cat() to join along a dimension",
            )
    return cat([_with_dim(entry, dim) for entry in pieces], dim)


def _with_dim(tensor: Any, dim: int) -> Tensor:
    return tensor.unsqueeze(dim)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side: along the second dimension, vectors along the first.

    >>> tetragrad.hstack([Tensor([1]), Tensor([2, 3])])
    tensor([1, 2, 3])
    """
    pieces = [entry.reshape(1) if entry.ndim == 0 else entry for entry in tensors]
    return cat(pieces, 0 if pieces[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors below one another; a vector is a row.

    >>> tetragrad.row_stack([Tensor([1, 2]), Tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    return cat([entry.reshape(1, -1) if entry.ndim < 2 else entry for entry in tensors])


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: one tensor for each vector.

    >>> rows, columns = tetragrad.meshgrid(Tensor([1, 2]), Tensor([3, 4, 5]))
    >>> rows.shape == columns.shape == (2, 3)
    True
    """
    alone = len(tensors) == 1 and not isinstance(tensors[0], TensorBase)
    vectors = list(tensors[0]) if alone else list(tensors)
    order = list(range(len(vectors)))
    if indexing == "xy":
        order[:2] = reversed(order[:2])
    shape = [vectors[entry].numel() for entry in order]
    grids = []
    for position, vector in enumerate(vectors):
        own = [1] * len(vectors)
        own[order.index(position)] = -1
        grids.append(vector.reshape(own).expand(shape))
    return tuple(grids)


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal, zeros elsewhere.

    >>> tetragrad.block_diag(Tensor([[1]]), Tensor([[2]]))
    tensor([[1, 0],
            [0, 2]])

    Raises:
        ShapeError: a tensor has more than two dimensions; fewer make one row.
    """
    for entry in tensors:
        if entry.ndim > 2:
            raise ShapeError(f"block_diag() of a tensor of shape {entry.shape}")
    matrices = [entry if entry.ndim == 2 else entry.reshape(1, -1) for entry in tensors]
    columns = sum(entry.shape[1] for entry in matrices)
    rows, start = [], 0
    for entry in matrices:
        width = entry.shape[1]
        rows.append(entry.pad((start, columns - start - width)))
        start += width
    return cat(rows)


class JoiningMethods(ContractionMethods):
    """Methods that repeat, shift or surround the elements."""

    __slots__ = ()

    @by_parts
    def repeat(self, *sizes: Any) -> Tensor:
        """The whole tensor repeated along each dimension.

        >>> Tensor([1, 2]).repeat(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]])
        """
        counts = sizes_of(sizes)
        missing = len(counts) - self.ndim
        if missing < 0:
            raise ShapeError(
                f"repeat{counts} of shape {self.shape}",
                hint="give a count for each dimension",
            )
        shape = (1,) * missing + self.shape
        apart = tuple(entry for size in shape for entry in (1, size))
        spread = tuple(
            entry
            for count, size in zip(counts, shape, strict=True)
            for entry in (count, size)
        )
        joined = tuple(count * size for count, size in zip(counts, shape, strict=True))
        node = graph.Expand(graph.Reshape(self.node, apart), spread)
        return self.result(graph.Reshape(node, joined))

    def tile(self, *dims: Any) -> Tensor:
        """Like ``repeat``; missing counts in front are 1.

        >>> Tensor([1, 2]).tile(2)
        tensor([1, 2, 1, 2])
        """
        counts = sizes_of(dims)
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    @by_parts
    @also_axis
    def repeat_interleave(
        self, repeats: Any, dim: int | None = None, *, output_size: int | None = None
    ) -> Tensor:
        """Every element repeated in place; a tensor of counts is read by the host.

        >>> Tensor([1, 2]).repeat_interleave(2)
        tensor([1, 1, 2, 2])
        """
        if dim is None:
            return self.ravel().repeat_interleave(repeats, 0)
        dim = normal_dim(dim, self.ndim)
        if isinstance(repeats, int):
            apart = (*self.shape[: dim + 1], 1, *self.shape[dim + 1 :])
            spread = (*self.shape[: dim + 1], repeats, *self.shape[dim + 1 :])
            node = graph.Expand(graph.Reshape(self.node, apart), spread)
            size = self.shape[dim] * repeats
            joined = (*self.shape[:dim], size, *self.shape[dim + 1 :])
            return self.result(graph.Reshape(node, joined))
        counts = self.tensor_class(repeats).tolist()
        counts = counts if isinstance(counts, list) else [counts] * self.shape[dim]
        listed = [entry for entry, count in enumerate(counts) for _ in range(count)]
        whole: Any = self
        return whole.index_select(dim, self.tensor_class(listed, dtypes.int64))

    @by_parts
    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """Elements moved along dimensions; those that leave come in at the start.

        >>> Tensor([1, 2, 3]).roll(1)
        tensor([3, 1, 2])
        """
        if dims is None:
            return self.ravel().roll(shifts, 0).reshape(self.shape)
        moves = [shifts] if isinstance(shifts, int) else list(shifts)
        named = [dims] if isinstance(dims, int) else list(dims)
        node = self.node
        for shift, dim in zip(moves, named, strict=True):
            dim = normal_dim(dim, self.ndim)
            size = max(self.shape[dim], 1)
            start = -shift % size
            head = pad_dim(node, dim, 0, start - node.shape[dim])
            tail = pad_dim(node, dim, -start, 0)
            node = concatenate_nodes([tail, head], dim)
        return self.result(node)

    def rot90(self, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
        """Turned by k quarter turns, from the first dimension to the second.

        >>> Tensor([[1, 2], [3, 4]]).rot90()
        tensor([[2, 4],
                [1, 3]])
        """
        first, second = normal_dims(dims, self.ndim)
        if tuple(normal_dim(dim, self.ndim) for dim in dims) != (first, second):
            k = -k
        turns = k % 4
        if turns == 0:
            return self.result(self.node)
        if turns == 2:
            return self.flip(first, second)
        if turns == 1:
            return self.flip(second).transpose(first, second)
        return self.transpose(first, second).flip(second)

    @by_parts
    def pad(
        self, pad: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> Tensor:
        """Elements added around; pairs of sizes start with the last dimension.

        Modes are 'constant', 'reflect', 'replicate' and 'circular'; a negative size
        cuts.

        >>> Tensor([1, 2]).pad((1, 2))
        tensor([0, 1, 2, 0, 0])
        """
        sizes = tuple(pad)
        if len(sizes) % 2 or len(sizes) > 2 * self.ndim:
            raise ShapeError(
                f"pad() by {sizes} of shape {self.shape}",
                hint="give (before, after) for each dimension, the last one first",
            )
        node = self.node
        for position in range(len(sizes) // 2):
            before, after = sizes[2 * position : 2 * position + 2]
            dim = self.ndim - 1 - position
            if before == after == 0:
                continue
            if mode == "constant":
                node = pad_dim(node, dim, before, after, value or 0)
            else:
                node = _extend(node, dim, before, after, mode)
        return self.result(node)

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle of the last two dimensions; zeros above.

        >>> Tensor.ones(2, 2).tril()
        tensor([[1., 0.],
                [1., 1.]])
        """
        return self._triangle(diagonal, lower=True)

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle of the last two dimensions; zeros below.

        >>> Tensor.ones(2, 2).triu()
        tensor([[1., 1.],
                [0., 1.]])
        """
        return self._triangle(diagonal, lower=False)

    @by_parts
    def _triangle(self, diagonal: int, lower: bool) -> Tensor:
        if self.ndim < 2:
            raise ShapeError(
                f"a triangle of shape {self.shape} needs at least two dimensions",
                hint="add a dimension first, x.unsqueeze(0)",
            )
        node = self.node
        row = positions(node.shape[-2], node.ndim - 2, node.ndim)
        column = positions(node.shape[-1], node.ndim - 1, node.ndim)
        reach = ops.Add(row, full_like(row, diagonal if lower else diagonal - 1))
        is_above = ops.Lt(
            broadcast_to(reach, node.shape), broadcast_to(column, node.shape)
        )
        zero = full_like(node, 0)
        choice = (zero, node) if lower else (node, zero)
        return self.result(ops.Where(is_above, *choice))

    def diag(self, diagonal: int = 0) -> Tensor:
        """A matrix's diagonal, or the matrix with this vector as its diagonal.

        >>> Tensor([1, 2]).diag()
        tensor([[1, 0],
                [0, 2]])
        """
        if self.ndim == 2:
            return self.diagonal(diagonal)
        if self.ndim == 1:
            return self.diag_embed(diagonal)
        raise ShapeError(
            f"diag() of shape {self.shape}: it takes one or two dimensions",
            hint="use x.diagonal() for batches of matrices",
        )

    @by_parts
    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
        """Matrices with the last dimension as their diagonals.

        The matrices' rows are dimension ``dim1`` of the result, the columns ``dim2``.

        >>> Tensor([1, 2]).diag_embed()
        tensor([[1, 0],
                [0, 2]])
        """
        first, second = normal_dim(dim1, self.ndim + 1), normal_dim(dim2, self.ndim + 1)
        if (first, second) != (self.ndim - 1, self.ndim):
            return self.diag_embed(offset).movedim((-2, -1), (first, second))
        size = self.shape[-1] + abs(offset)
        node = pad_dim(self.node, self.ndim - 1, max(-offset, 0), max(offset, 0))
        shape = (*self.shape[:-1], size, size)
        row = positions(size, self.ndim - 1, self.ndim + 1)
        column = positions(size, self.ndim, self.ndim + 1)
        shifted = broadcast_to(ops.Add(row, full_like(row, offset)), shape)
        on_diagonal = ops.Eq(shifted, broadcast_to(column, shape))
        source = broadcast_to(graph.Reshape(node, (*node.shape, 1)), shape)
        return self.result(ops.Where(on_diagonal, source, full_like(source, 0)))

    def trace(self) -> Tensor:
        """The sum of a matrix's diagonal.

        >>> Tensor([[1, 2], [3, 4]]).trace()
        tensor(5)
        """
        return self.diagonal().sum()

    tril_ = in_place(tril)
    triu_ = in_place(triu)


def _extend(node: Node, dim: int, before: int, after: int, mode: str) -> Node:
    """Pad one dimension with elements of the tensor itself.

    Like PyTorch, 'reflect' also shows elements that a negative size has cut off, and
    'circular' repeats what is left.
    """
    if mode == "circular":
        node = pad_dim(node, dim, min(before, 0), min(after, 0))
        before, after = max(before, 0), max(after, 0)
    size = node.shape[dim]
    limits = {"reflect": size - 1, "circular": size, "replicate": None}
    if mode not in limits:
        raise TetragradError(
            f"there is no padding mode {mode!r}", hint=f"use one of {sorted(limits)}"
        )
    limit = limits[mode]
    if limit is not None and max(before, after) > limit:
        raise ShapeError(
            f"{mode} padding by ({before}, {after}) of a dimension of {size} elements",
            hint=f"at most {limit} can be padded on each side",
        )

    def part(start: int, stop: int) -> Node:
        return pad_dim(node, dim, -start, stop - size)

    # The result is elements start to stop, counted from the first one of the tensor.
    start, stop = -before, size + after
    if stop <= start:
        raise ShapeError(
            f"{mode} padding by ({before}, {after}) of a dimension of {size} elements",
            hint="something must be left of it",
        )
    first, last = min(max(start, 0), size), min(max(stop, 0), size)
    pieces = [part(first, last)] if first < last else []
    if start < 0:
        pieces.insert(0, _outside(part, start, min(stop, 0), dim, size, mode))
    if stop > size:
        pieces.append(_outside(part, max(start, size), stop, dim, size, mode))
    return concatenate_nodes(pieces, dim)


def _outside(
    part: Callable[[int, int], Node],
    start: int,
    stop: int,
    dim: int,
    size: int,
    mode: str,
) -> Node:
    """Elements ``start`` to ``stop`` of one dimension, which lie before or after it."""
    is_before = start < 0
    if mode == "replicate":
        edge = part(0, 1) if is_before else part(size - 1, size)
        return _repeat_dim(edge, dim, stop - start)
    if mode == "circular":
        shift = size if is_before else -size
        return part(start + shift, stop + shift)
    # Element i is the mirror's element: -i before the first, 2·(size - 1) - i behind.
    mirror = 0 if is_before else 2 * (size - 1)
    return graph.Flip(part(mirror - stop + 1, mirror - start + 1), (dim,))


def _repeat_dim(node: Node, dim: int, count: int) -> Node:
    shape = (*node.shape[:dim], count, *node.shape[dim + 1 :])
    return graph.Expand(node, shape)
