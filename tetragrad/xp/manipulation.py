"""Shapes and orders: the same elements, moved, repeated or joined.

Source: "Manipulation functions" and "Indexing functions" of the Python array API
standard 2025.12. All take all dtypes. An axis that an array does not have raises
IndexingError, sizes that do not fit ShapeError.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.tensor import Tensor, joining
from tetragrad.tensor import promotion as tensors
from tetragrad.tensor.promotion import normal_dim
from tetragrad.xp.array import Array
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import operands

Axes = int | tuple[int, ...]


def axes_of(axis: Axes | None, ndim: int) -> tuple[int, ...]:
    """Axes from the front; None means all of them, and () none."""
    if axis is None:
        return tuple(range(ndim))
    named = (axis,) if isinstance(axis, int) else tuple(axis)
    found = tuple(normal_dim(entry, ndim) for entry in named)
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {named} name one of them twice")
    return found


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all these shapes repeat to.

    >>> xp.broadcast_shapes((3, 1), (1, 4))
    (3, 4)
    """
    return tensors.broadcast_shapes(*shapes)


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Arrays repeated to their common shape; each keeps its dtype.

    >>> [x.shape for x in xp.broadcast_arrays(xp.ones(2), xp.ones((3, 1)))]
    [(3, 2), (3, 2)]
    """
    found = [tensor_of(entry, "broadcast_arrays") for entry in arrays]
    shape = tensors.broadcast_shapes(*(entry.shape for entry in found))
    return tuple(wrap(entry.expand(shape)) for entry in found)


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """The array repeated to a shape.

    >>> xp.broadcast_to(xp.asarray([1, 2]), (2, 2))
    Array([[1, 2],
           [1, 2]])
    """
    return wrap(tensor_of(x, "broadcast_to").expand(tuple(shape)))


def concat(
    arrays: tuple[Array, ...] | list[Array], /, *, axis: int | None = 0
) -> Array:
    """Arrays one after another along an axis, in their common dtype; None flattens.

    >>> xp.concat([xp.asarray([1, 2]), xp.asarray([3])])
    Array([1, 2, 3])

    Raises:
        ShapeError: the arrays differ in another axis, or there are none.
    """
    pieces = _pieces("concat", arrays)
    if axis is None:
        return wrap(joining.cat([piece.ravel() for piece in pieces]))
    ndim = pieces[0].ndim
    axis = normal_dim(axis, ndim)
    if any(piece.ndim != ndim for piece in pieces) or not ndim:
        shapes = ", ".join(str(piece.shape) for piece in pieces)
        raise ShapeError(
            f"concat() of shapes {shapes}",
            hint="all need the same number of axes, and at least one",
        )
    return wrap(joining.cat(pieces, axis))


def _pieces(name: str, arrays: Sequence[Array]) -> list[Tensor]:
    if not arrays:
        raise ShapeError(f"{name}() of no arrays", hint="give at least one")
    for entry in arrays:
        tensor_of(entry, name)
    return list(operands(*arrays))


def stack(arrays: tuple[Array, ...] | list[Array], /, *, axis: int = 0) -> Array:
    """Arrays of one shape along a new axis, in their common dtype.

    >>> xp.stack([xp.asarray([1, 2]), xp.asarray([3, 4])])
    Array([[1, 2],
           [3, 4]])
    """
    return wrap(joining.stack(_pieces("stack", arrays), axis))


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """An array for each index of an axis, without that axis.

    >>> xp.unstack(xp.asarray([[1, 2], [3, 4]]))
    (Array([1, 2]), Array([3, 4]))
    """
    tensor = tensor_of(x, "unstack")
    if not tensor.ndim:
        raise ShapeError("unstack() of an array without axes")
    return tuple(map(wrap, tensor.unbind(axis)))


def expand_dims(x: Array, /, axis: Axes = 0) -> Array:
    """New axes of size 1, at these places of the result.

    >>> xp.expand_dims(xp.asarray([1, 2]), (0, 2)).shape
    (1, 2, 1)
    """
    tensor = tensor_of(x, "expand_dims")
    count = 1 if isinstance(axis, int) else len(axis)
    new = axes_of(axis, tensor.ndim + count)
    sizes = iter(tensor.shape)
    shape = [1 if place in new else next(sizes) for place in range(tensor.ndim + count)]
    return wrap(tensor.reshape(shape))


def squeeze(x: Array, /, axis: Axes) -> Array:
    """The named axes dropped.

    >>> xp.squeeze(xp.ones((1, 3, 1)), 0).shape
    (3, 1)

    Raises:
        ShapeError: one of them has another size than 1.
    """
    tensor = tensor_of(x, "squeeze")
    gone = axes_of(axis, tensor.ndim)
    if any(tensor.shape[entry] != 1 for entry in gone):
        raise ShapeError(
            f"squeeze() of axes {gone} of shape {tensor.shape}",
            hint="only axes of size 1 can be dropped",
        )
    kept = [size for place, size in enumerate(tensor.shape) if place not in gone]
    return wrap(tensor.reshape(kept))


def flip(x: Array, /, *, axis: Axes | None = None) -> Array:
    """The order along axes reversed, along all of them if none is named.

    >>> xp.flip(xp.asarray([1, 2, 3]))
    Array([3, 2, 1])
    """
    tensor = tensor_of(x, "flip")
    named = axes_of(axis, tensor.ndim)
    return wrap(tensor.flip(named) if named else tensor.clone())


def moveaxis(x: Array, source: Axes, destination: Axes, /) -> Array:
    """Axes moved to other places; the rest keep their order.

    >>> xp.moveaxis(xp.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    tensor = tensor_of(x, "moveaxis")
    sources = axes_of(source, tensor.ndim)
    places = axes_of(destination, tensor.ndim)
    return wrap(tensor.movedim(sources, places))


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    """Axis ``axes[i]`` becomes axis ``i``.

    >>> xp.permute_dims(xp.ones((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return wrap(tensor_of(x, "permute_dims").permute(tuple(axes)))


def repeat(x: Array, repeats: int | Array, /, *, axis: int | None = None) -> Array:
    """Every element (or slice of an axis) repeated in place; flattened without axis.

    Counts may be an array of integers, one for each index or one for all, which the
    host reads.

    >>> xp.repeat(xp.asarray([1, 2]), 2)
    Array([1, 1, 2, 2])
    """
    tensor = tensor_of(x, "repeat")
    if axis is None:
        tensor, axis = tensor.ravel(), 0
    counts = repeats.to_tensor() if isinstance(repeats, Array) else repeats
    if not isinstance(counts, int) and counts.numel() == 1:
        counts = int(counts.item())
    return wrap(tensor.repeat_interleave(counts, axis))


def reshape(x: Array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
    """The same elements in row-major order under another shape; one size may be -1.

    With ``copy=True`` the result shares no elements with x, with ``copy=False`` it
    shares all.

    >>> xp.reshape(xp.asarray([1, 2, 3, 4]), (2, -1))
    Array([[1, 2],
           [3, 4]])

    Raises:
        ShapeError: the sizes multiply to another number; or ``copy=False``, and the
            elements are not evenly spaced.
    """
    tensor = tensor_of(x, "reshape")
    if copy is False:
        return wrap(tensor.view(tuple(shape)))
    found = tensor.reshape(tuple(shape))
    return wrap(found.clone() if copy else found)


def roll(
    x: Array, /, shift: int | tuple[int, ...], *, axis: Axes | None = None
) -> Array:
    """Elements moved along axes; those that leave come in at the start.

    Without axis the array is flattened first, and gets its shape back.

    >>> xp.roll(xp.asarray([1, 2, 3]), 1)
    Array([3, 1, 2])
    """
    tensor = tensor_of(x, "roll")
    if axis is None:
        shifts = [shift] if isinstance(shift, int) else list(shift)
        return wrap(tensor.ravel().roll(sum(shifts), 0).reshape(tensor.shape))
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if isinstance(shift, int) else list(shift)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll() by {shifts} along axes {axes}: the counts differ")
    return wrap(tensor.roll(shifts, axes))


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """The whole array repeated along each axis; missing counts in front are 1.

    >>> xp.tile(xp.asarray([1, 2]), (2, 2))
    Array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    tensor = tensor_of(x, "tile")
    missing = max(0, tensor.ndim - len(repetitions))
    return wrap(tensor.repeat((*(1,) * missing, *repetitions)))


# --- elements chosen by index ---------------------------------------------------------


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """The slices of an axis that an array of integers names.

    ``axis`` may be left out for an array with one axis.

    >>> xp.take(xp.asarray([10, 20, 30]), xp.asarray([2, 0]))
    Array([30, 10])

    Raises:
        DTypeError: indices that are no integers.
        IndexingError: an index outside of the axis.
    """
    tensor, places = tensor_of(x, "take"), _index("take", indices)
    if axis is None and tensor.ndim != 1:
        raise TetragradError(
            f"take() of shape {tensor.shape} without axis",
            hint="name the axis to choose from",
        )
    axis = normal_dim(axis or 0, tensor.ndim)
    found = tensor.index_select(axis, places.ravel())
    shape = (*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :])
    return wrap(found.reshape(shape))


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """For each index, the element at that place along the axis.

    The other axes of both arrays broadcast.

    >>> xp.take_along_axis(xp.asarray([[1, 2], [3, 4]]), xp.asarray([[1], [0]]))
    Array([[2],
           [3]])
    """
    tensor = tensor_of(x, "take_along_axis")
    places = _index("take_along_axis", indices)
    return wrap(tensor.take_along_dim(places, normal_dim(axis, tensor.ndim)))


def _index(name: str, indices: Array) -> Tensor:
    tensor = tensor_of(indices, name)
    if not tensor.dtype.is_integer:
        raise DTypeError(f"{name}() at indices of {tensor.dtype}", hint="use integers")
    return tensor
