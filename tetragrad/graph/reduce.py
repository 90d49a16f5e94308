"""The reduce ops: many elements become one. Reduced dimensions stay, with size 1.

A sum or product of float16 or bfloat16 is carried in float32 and rounded once.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph.elementwise import Div, Elementwise, Eq, Mul, Where, full_like
from tetragrad.graph.movement import Expand, broadcast_to, constant_of
from tetragrad.graph.node import Node, OfOneSource, Shape
from tetragrad.graph.sizes import by_sizes, is_one


class Reduce(OfOneSource):
    """Combine all elements along some dimensions with an associative op."""

    __slots__ = ()
    fields = ("source", "dims")
    universal: ClassVar[np.ufunc]

    @classmethod
    def simplify(cls, source: Node, dims: tuple[int, ...]) -> Node | None:
        """Over dimensions of size 1 only -> x; what repeats is reduced once."""
        if _are_single(source.shape, dims):
            return source
        once = _unrepeated(source, dims)
        if once is None:
            return None
        return Expand(cls(once, dims), cls.infer(source, dims)[0])

    @classmethod
    def infer(cls, source: Node, dims: tuple[int, ...]) -> tuple[Shape, DType]:
        shape = _reduced(source.shape, dims)
        if shape is None:
            raise ShapeError(f"cannot reduce dimensions {dims} of shape {source.shape}")
        cls.check(source, dims)
        return shape, source.dtype

    @classmethod
    def check(cls, source: Node, dims: tuple[int, ...]) -> None:
        """Raise if the op is not defined on such a source."""

    @classmethod
    def identity(cls, dtype: DType) -> int | float | bool:
        """The value that changes nothing: what an empty reduction gives."""
        raise NotImplementedError

    @classmethod
    def reduce(cls, array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
        """The definition, on a NumPy array."""
        dtype = dtypes.from_numpy(array.dtype)
        carried = array.astype(dtypes.accumulation(dtype).numpy)
        start = carried.dtype.type(cls.identity(dtype))
        result = cls.universal.reduce(
            carried, axis=dims, keepdims=True, dtype=carried.dtype, initial=start
        )
        return np.asarray(result).astype(array.dtype)

    def spread(self, node: Node) -> Node:
        """Repeat a reduced value over the reduced dimensions again."""
        return Expand(node, self.source.shape)


class Sum(Reduce):
    """The sum; 0 for nothing. Integers wrap."""

    __slots__ = ()
    universal = np.add

    @classmethod
    def check(cls, source: Node, dims: tuple[int, ...]) -> None:
        _refuse_bool(cls, source)

    @classmethod
    def identity(cls, dtype: DType) -> int | float:
        return 0.0 if dtype.is_floating_point else 0

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (self.spread(upstream),)


class Prod(Reduce):
    """The product; 1 for nothing. Integers wrap."""

    __slots__ = ()
    universal = np.multiply

    @classmethod
    def check(cls, source: Node, dims: tuple[int, ...]) -> None:
        _refuse_bool(cls, source)

    @classmethod
    def identity(cls, dtype: DType) -> int | float:
        return 1.0 if dtype.is_floating_point else 1

    def gradient(self, upstream: Node) -> tuple[Node]:
        # Dividing the product by x fails at zeros: with one zero in the row only
        # that element has a gradient (the product of the others); with two, none.
        source = self.source
        zero, one = full_like(source, 0.0), full_like(source, 1.0)
        is_zero = Eq(source, zero)
        others = Where(is_zero, one, source)
        zeros = self.spread(Sum(Where(is_zero, one, zero), self.dims))
        at_zero = Where(Eq(zeros, one), self.spread(Prod(others, self.dims)), zero)
        elsewhere = Div(self.spread(self), others)
        slope = Where(is_zero, at_zero, elsewhere)
        return (Mul(self.spread(upstream), slope),)


class Extremum(Reduce):
    """Max or min: one of the elements."""

    __slots__ = ()

    @classmethod
    def check(cls, source: Node, dims: tuple[int, ...]) -> None:
        if any(source.shape[dim] == 0 for dim in dims) and source.numel == 0:
            kept = [size for dim, size in enumerate(source.shape) if dim not in dims]
            if 0 not in kept:
                raise ShapeError(
                    f"{cls.__name__.lower()} of nothing: shape {source.shape} "
                    f"has no elements along dimensions {dims}",
                    hint="check the size first, or pad with a value",
                )

    def gradient(self, upstream: Node) -> tuple[Node]:
        # Equal extremes share the gradient evenly.
        is_extreme = Eq(self.source, self.spread(self))
        one, zero = full_like(self.source, 1.0), full_like(self.source, 0.0)
        chosen = Where(is_extreme, one, zero)
        share = Div(chosen, self.spread(Sum(chosen, self.dims)))
        return (Mul(self.spread(upstream), share),)


class Max(Extremum):
    """The largest element; NaN if any is NaN. On bools: any."""

    __slots__ = ()
    universal = np.maximum

    @classmethod
    def identity(cls, dtype: DType) -> int | float | bool:
        return dtypes.lowest(dtype)


class Min(Extremum):
    """The smallest element; NaN if any is NaN. On bools: all."""

    __slots__ = ()
    universal = np.minimum

    @classmethod
    def identity(cls, dtype: DType) -> int | float | bool:
        return dtypes.highest(dtype)


@by_sizes
def _are_single(shape: Shape, dims: tuple[int, ...]) -> bool:
    """Whether all of these dimensions have one element."""
    return all(0 <= dim < len(shape) and is_one(shape[dim]) for dim in dims)


@by_sizes
def _reduced(shape: Shape, dims: tuple[int, ...]) -> Shape | None:
    """The shape with one element in each of the dimensions; None if there are none."""
    if list(dims) != sorted(set(dims)) or not all(0 <= d < len(shape) for d in dims):
        return None
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape))


def _unrepeated(source: Node, dims: tuple[int, ...]) -> Node | None:
    """The source without its repetitions along other dimensions; None if it has none.

    Of attention(q, k, v).sum() the weights' gradient is a sum of values that are the
    same for all queries: they would else be summed for each, and that many stored.
    """
    operands = source.sources if isinstance(source, Elementwise) else (source,)
    if source.device is None or not source.numel:
        return None
    repeated = set(range(source.ndim)).difference(dims)
    for operand in operands:
        if operand.device is not None:
            moved = operand.expanded_dims if isinstance(operand, Expand) else ()
            repeated.intersection_update(moved)
        elif constant_of(operand) is None:
            return None
    if not repeated:
        return None
    sizes = enumerate(source.shape)
    shape = tuple([1 if dim in repeated else size for dim, size in sizes])
    kept = tuple([_repeated_to(operand, shape) for operand in operands])
    return kept[0] if operands[0] is source else source.replace_sources(kept)


def _repeated_to(operand: Node, shape: Shape) -> Node:
    """An operand that is a constant, or repeats, up to a smaller shape."""
    found = constant_of(operand)
    if found is not None:
        return broadcast_to(found, shape)
    assert isinstance(operand, Expand)
    return Expand(operand.source, shape)


def _refuse_bool(op: type[Reduce], source: Node) -> None:
    if source.dtype.is_bool:
        raise DTypeError(
            f"{op.__name__.lower()} of bools",
            hint="convert first, for example to int64",
        )
