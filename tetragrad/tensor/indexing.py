"""Square brackets: NumPy's indexing, to read and to assign.

Numbers, slices (with any step), None and Ellipsis give views. Integer arrays and masks
("advanced" indices) give copies: their common shape replaces the dimensions that they
index, in place if they stand together, else in front. Numbers, and arrays of one
number, are taken first, as in PyTorch: they part nothing. Masks are counted on the
host.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape, size_of
from tetragrad.graph.sizes import Size, forms_in
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import complex as join_parts
from tetragrad.tensor.formulas.arithmetic import add_nodes
from tetragrad.tensor.gathering import (
    check_known_indices,
    take_rows,
    total,
    wrap_negative,
)
from tetragrad.tensor.promotion import (
    broadcast_shapes,
    combine,
    do_broadcast,
    to_node,
    to_operand,
)
from tetragrad.tensor.reductions import positions
from tetragrad.tensor.scattering import ScatteringMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


@frozen(slots=True)
class Selection:
    """An index taken apart: a view, and the arrays that index some of its dims."""

    view: Tensor
    dims: tuple[int, ...]
    arrays: tuple[Node, ...]
    place: int

    @property
    def order(self) -> tuple[int, ...]:
        """The view's dimensions, those with arrays moved together to ``place``."""
        rest = [dim for dim in range(self.view.ndim) if dim not in self.dims]
        return (*rest[: self.place], *self.dims, *rest[self.place :])

    @property
    def index_shape(self) -> Shape:
        """The common shape of the arrays."""
        return broadcast_shapes(*(array.shape for array in self.arrays))

    def together(self) -> Node:
        """The view's value with the indexed dimensions joined into one at ``place``."""
        node = graph.Permute(self.view.node, self.order)
        joined = size_of(self.view.shape[dim] for dim in self.dims)
        before = node.shape[: self.place]
        after = node.shape[self.place + len(self.dims) :]
        return graph.Reshape(node, (*before, joined, *after))

    def apart(self, node: Node) -> Node:
        """Undo ``together``."""
        shape = tuple(self.view.shape[dim] for dim in self.order)
        inverse = tuple(self.order.index(dim) for dim in range(self.view.ndim))
        return graph.Permute(graph.Reshape(node, shape), inverse)

    def flat_index(self) -> Node:
        """One index into the joined dimension, of the arrays' common shape."""
        shape = self.index_shape
        flat = broadcast_to(constant(0, dtypes.int64), shape)
        for dim, array in zip(self.dims, self.arrays, strict=True):
            size = self.view.shape[dim]
            index = ops.Cast(wrap_negative(array, size, dim), dtypes.int64)
            scaled = ops.Mul(flat, full_like(flat, size))
            flat = ops.Add(scaled, broadcast_to(index, shape))
        return flat


def select(tensor: ScatteringMethods, key: Any) -> Selection:
    """Take an index apart; raises IndexingError where it does not fit the tensor."""
    view: Any = tensor
    dim = 0
    dims: list[int] = []
    arrays: list[Node] = []
    spread: list[int] = []
    for item in _complete(key, tensor):
        if item is None:
            view, dim = view.unsqueeze(dim), dim + 1
        elif isinstance(item, slice):
            view, dim = _sliced(view, dim, item), dim + 1
        elif isinstance(item, int):
            view = view.select(dim, item)
        elif item is not Ellipsis:
            view, found = _arrays_of(view, dim, item)
            for array in found:
                dims.append(dim)
                arrays.append(array)
                if array.ndim:
                    spread.append(dim)
                dim += 1
    return Selection(view, tuple(dims), tuple(arrays), _place_of(spread, dims))


def _place_of(spread: list[int], dims: list[int]) -> int:
    """Where the arrays' shape goes among the dimensions that no array indexes.

    Args:
        spread: the dimensions with arrays that have dimensions of their own.
        dims: all dimensions with arrays.
    """
    if not spread or any(dim not in dims for dim in range(spread[0], spread[-1])):
        return 0
    return spread[0] - sum(dim < spread[0] for dim in dims)


def _complete(key: Any, tensor: TensorBase) -> list[Any]:
    """One item for each dimension; Ellipsis stays before the slices it stands for."""
    items = [_plain(item) for item in (key if isinstance(key, tuple) else (key,))]
    used = sum(_dims_used(item) for item in items)
    if used > tensor.ndim:
        raise IndexingError(
            f"{used} indices for a tensor of shape {tensor.shape} "
            f"with {tensor.ndim} dimensions",
            hint=f"use at most {tensor.ndim}; None adds a dimension",
        )
    ellipses = [number for number, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexingError(
            "an index with more than one Ellipsis (...)",
            hint="write ... once, and : for other dimensions",
        )
    everything = [slice(None)] * (tensor.ndim - used)
    if not ellipses:
        return [*items, *everything]
    split = ellipses[0] + 1
    return [*items[:split], *everything, *items[split:]]


def _plain(item: Any) -> Any:
    """An index item as None, Ellipsis, slice, int, NumPy array or tensor."""
    if item is None or item is Ellipsis or isinstance(item, slice | TensorBase):
        return _number_if_single(item)
    if isinstance(item, bool | np.bool_):
        return np.asarray(bool(item))
    if isinstance(item, Size):
        return item
    if isinstance(item, int | np.integer):
        return int(item)
    if isinstance(item, list | tuple | range | np.ndarray):
        return _index_array(item)
    if hasattr(item, "__index__"):
        return operator.index(item)
    raise IndexingError(
        f"{type(item).__name__} {item!r} cannot index a tensor",
        hint="use integers, slices, None, ..., lists, or tensors of integers or bools",
    )


def _number_if_single(item: Any) -> Any:
    """Tensors of integers and bools index; others have no meaning as an index."""
    if not isinstance(item, TensorBase):
        return item
    if not (item.dtype.is_integer or item.dtype.is_bool):
        raise IndexingError(
            f"a tensor of {item.dtype} cannot index",
            hint="write x[index.long()], or x[index != 0] for a mask",
        )
    return item


def _index_array(item: Any) -> Any:
    """A list or array as an array of integers or bools; tensors inside are read."""
    if isinstance(item, list | tuple):
        item = [
            entry.read() if isinstance(entry, TensorBase) else entry for entry in item
        ]
    array = np.asarray(item)
    if array.size == 0 and array.dtype.kind == "f":
        return array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise IndexingError(
            f"an array of {array.dtype} cannot index",
            hint="indices are integers, masks are bools",
        )
    return array


def _is_mask(item: Any) -> bool:
    if isinstance(item, TensorBase):
        return item.dtype.is_bool
    return isinstance(item, np.ndarray) and item.dtype.kind == "b"


def _dims_used(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return int(item.ndim) if _is_mask(item) else 1


def _sliced(view: Tensor, dim: int, item: slice) -> Tensor:
    """The view of a slice with any step but 0."""
    size = view.shape[dim]
    if item.step is not None and operator.index(item.step) == 0:
        raise IndexingError(
            "a slice with step 0 never moves", hint="use a step of 1 or more"
        )
    if forms_in((size, item.start, item.stop)) is not None and item.step in (None, 1):
        return view.cut(dim, *_symbolic_bounds(item, size))
    start, stop, step = item.indices(size)
    count = len(range(start, stop, step))
    if count == 0:
        return view.cut(dim, 0, 0)
    last = start + (count - 1) * step
    view = view.cut(dim, min(start, last), max(start, last) + 1)
    if step < 0:
        view = view.moved(graph.Flip, (dim,))
    steps = tuple(abs(step) if axis == dim else 1 for axis in range(view.ndim))
    return view.moved(graph.Stride, steps) if abs(step) > 1 else view


def _symbolic_bounds(item: slice, size: int) -> tuple[int, int]:
    """Where a slice starts and stops, as sizes that keep their symbols."""
    start = 0 if item.start is None else _place(item.start, size)
    stop = size if item.stop is None else _place(item.stop, size)
    return start, max(start, stop)


def _place(index: Any, size: int) -> int:
    """An index counted from the front, and no further than the end."""
    place = index if isinstance(index, Size) else operator.index(index)
    if place < 0:
        place = place + size
    return min(max(place, 0), size)


def _arrays_of(view: Tensor, dim: int, item: Any) -> tuple[Tensor, list[Node]]:
    """Index nodes for the dimensions from ``dim`` on that an array indexes."""
    if _is_mask(item):
        return _mask_arrays(view, dim, item)
    if isinstance(item, TensorBase):
        return view, [item.node]
    check_known_indices(item, view.shape[dim], dim)
    return view, [_known(item)]


def _mask_arrays(view: Tensor, dim: int, mask: Any) -> tuple[Tensor, list[Node]]:
    """The places where a mask holds, one vector for each of its dimensions."""
    array = mask.read() if isinstance(mask, TensorBase) else mask
    if array.ndim == 0:
        # x[True] is x with a new dimension of size 1, x[False] of size 0.
        found = np.zeros(int(array), np.int64)
        return view.unsqueeze(dim), [_known(found)]
    covered = view.shape[dim : dim + array.ndim]
    if covered != array.shape:
        raise IndexingError(
            f"a mask of shape {array.shape} for dimensions {covered} of {view.shape}",
            hint="a mask has the sizes of the dimensions it chooses from",
        )
    return view, [_known(column) for column in np.nonzero(array)]


def _known(array: np.ndarray) -> Node:
    return TensorBase.tensor_class(array.astype(np.int64)).node


def put_rows(found: Selection, index: Node, values: Node, accumulate: bool) -> Node:
    """The view with slices put at (or added to) indices of the joined dimension.

    Of several slices with one index the last one stays. What is put goes where the
    view has it, not the view where the slices are: so its elements stay in place.
    """
    dim, joined = found.place, found.together().shape
    size, count = joined[dim], index.numel
    if not count or not size:
        return found.view.node
    flat = graph.Reshape(index, (1, count))
    shape = (size, count)
    hits = ops.Eq(
        broadcast_to(positions(size, 0, 2, index.dtype), shape),
        broadcast_to(flat, shape),
    )
    if accumulate:
        return add_nodes(found.view.node, found.apart(_summed_rows(hits, values, dim)))
    number = broadcast_to(positions(count, 1, 2), shape)
    masked = ops.Where(hits, number, full_like(number, -1))
    last = total(reduce.Max, masked, 1)
    along = tuple(size if axis == dim else 1 for axis in range(len(joined)))
    is_hit: Node = ops.Not(ops.Lt(last, full_like(last, 0)))
    is_hit = found.apart(broadcast_to(graph.Reshape(is_hit, along), joined))
    rows = found.apart(take_rows(values, last, dim))
    return ops.Where(is_hit, rows, found.view.node)


def _summed_rows(hits: Node, values: Node, dim: int) -> Node:
    """For each index, the sum of its slices; of bools, whether any holds."""
    size, count = hits.shape
    before, after = values.shape[:dim], values.shape[dim + 1 :]
    shape = (*before, size, count, *after)
    ones_before, ones_after = (1,) * len(before), (1,) * len(after)
    mask = graph.Reshape(hits, (*ones_before, size, count, *ones_after))
    spread = broadcast_to(graph.Reshape(values, (*before, 1, count, *after)), shape)
    body = ops.Where(broadcast_to(mask, shape), spread, full_like(spread, 0))
    return total(reduce.Max if body.dtype.is_bool else reduce.Sum, body, dim + 1)


class IndexingMethods(ScatteringMethods):
    """``x[...]`` and ``x[...] = value``."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Tensor:
        found = select(self, key)
        if not found.arrays:
            # Even x[...] is another handle, so that writing to it says "in place".
            return found.view if found.view is not self else self.alias()
        if self.dtype.is_complex:
            return join_parts(self.real[key], self.imag[key])
        rows = take_rows(found.together(), found.flat_index(), found.place)
        return self.result(rows)

    def alias(self) -> Tensor:
        """Another handle on the same view of the same storage.

        >>> x = Tensor([1, 2])
        >>> _ = x.alias().add_(1)
        >>> x
        tensor([2, 3])
        """
        return self.moved(graph.Reshape, self.shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        given = (
            to_operand(value)
            if not isinstance(value, list)
            else (self.tensor_class(value))
        )
        if self._set_by_mask(key, given):
            return
        found = select(self, key)
        if not found.arrays:
            self._copy_into(found.view, given)
            return
        if self.dtype.is_complex:
            # The parts are views, so that writing to them writes to the whole.
            whole = self.tensor_class(given).to(self.dtype)
            self.real[key], self.imag[key] = whole.real, whole.imag
            return
        self._put(found, given, accumulate=False)

    def _copy_into(self, view: Any, given: Any) -> None:
        if isinstance(given, TensorBase):
            if given.storage is view.storage and given.steps == view.steps:
                return  # x[i] += y has written into x[i] already, and assigns it.
            if not do_broadcast(given.shape, view.shape):
                raise ShapeError(
                    f"cannot assign a value of shape {given.shape} to a part of shape "
                    f"{view.shape} of a tensor of shape {self.shape}",
                    hint="a value broadcasts: each of its sizes is the part's, or 1",
                )
        view.copy_(_without_leading_ones(given, view.shape))

    def _set_by_mask(self, key: Any, given: Any) -> bool:
        """x[mask] = number needs no count of the mask, so nothing is read."""
        is_single = not isinstance(given, TensorBase) or given.ndim == 0
        if not (is_single and isinstance(key, TensorBase) and key.dtype.is_bool):
            return False
        mask: Any = key
        if mask.shape != self.shape[: mask.ndim] or not mask.ndim:
            return False
        shape = (*mask.shape, *(1 for _ in self.shape[mask.ndim :]))
        self.masked_fill_(mask.reshape(shape), given)
        return True

    def _put(self, found: Selection, given: Any, *, accumulate: bool) -> None:
        target = found.together()
        before = target.shape[: found.place]
        after = target.shape[found.place + 1 :]
        shape = (*before, *found.index_shape, *after)
        given = _without_leading_ones(given, shape)
        node = to_node(given, self.dtype)
        try:
            values = broadcast_to(node, shape)
        except ShapeError as error:
            raise ShapeError(
                f"cannot assign a value of shape {node.shape} to an index of "
                f"shape {shape}",
                hint="a value broadcasts: each of its sizes is the index's, or 1",
            ) from error
        count = math.prod(found.index_shape)
        values = graph.Reshape(values, (*before, count, *after))
        index = graph.Reshape(found.flat_index(), (count,))
        new = put_rows(found, index, values, accumulate)
        found.view.write(combine(new, found.view, given))

    def index_put_(
        self, indices: tuple[Any, ...], values: Any, accumulate: bool = False
    ) -> Tensor:
        """x[indices] = values in place, or += with ``accumulate`` (repeats add up).

        >>> Tensor([0, 0]).index_put_((Tensor([1, 1]),), Tensor([2, 3]), True)
        tensor([0, 5])
        """
        found = select(self, tuple(indices))
        self._put(found, to_operand(values), accumulate=accumulate)
        return self  # type: ignore[return-value]

    def index_put(
        self, indices: tuple[Any, ...], values: Any, accumulate: bool = False
    ) -> Tensor:
        """A copy with x[indices] = values.

        >>> Tensor([0, 0]).index_put((Tensor([1]),), Tensor([5]))
        tensor([0, 5])
        """
        return self.clone().index_put_(indices, values, accumulate)


def _without_leading_ones(given: Any, shape: Shape) -> Any:
    """NumPy lets a value have more dimensions, if the extra ones have size 1."""
    if not isinstance(given, TensorBase):
        return given
    extra = given.ndim - len(shape)
    if extra > 0 and all(size == 1 for size in given.shape[:extra]):
        whole: Any = given
        return whole.reshape(given.shape[extra:])
    return given
