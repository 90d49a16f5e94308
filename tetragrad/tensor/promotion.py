"""How operands meet: one dtype and one shape, by PyTorch's rules.

Tensors with dimensions decide the dtype; tensors without and Python numbers only
matter if they are of a higher category (bool < integer < float).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, IndexingError, ShapeError
from tetragrad.graph.elementwise import Cast
from tetragrad.graph.leaves import number
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.sizes import Size, by_sizes, is_one, same_sizes
from tetragrad.tensor.base import TensorBase, wrap, wrap_pairs
from tetragrad.tensor.pairs import (
    Pair,
    are_nonzero,
    constant_pair,
    join,
    split,
    to_pairs,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Real: TypeAlias = bool | int | float
Scalar: TypeAlias = Real | complex
Operand: TypeAlias = "TensorBase | Scalar"

#: The dtypes that Python's numbers have on their own; ``set_default_dtype`` changes
#: those of floats and complex numbers.
PYTHON_DTYPES = {
    bool: dtypes.bool_,
    int: dtypes.int64,
    float: dtypes.float32,
    complex: dtypes.complex64,
}


def default_float() -> DType:
    """The dtype of floating-point values that come without one."""
    return PYTHON_DTYPES[float]


def is_operand(value: object) -> bool:
    """Whether a value can take part in arithmetic with a tensor."""
    kinds = TensorBase | bool | int | float | complex | np.generic | np.ndarray
    return isinstance(value, kinds)


def to_operand(value: Any) -> TensorBase | Scalar:
    """A tensor, or a Python number, from what a user may write as an operand."""
    if isinstance(value, TensorBase):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        value = value.item()
    if isinstance(value, bool | int | float | complex):
        return value
    if isinstance(value, np.ndarray):
        return TensorBase.tensor_class(value)
    if isinstance(value, np.generic):
        return TensorBase.tensor_class(np.asarray(value))
    raise DTypeError(
        f"{type(value).__name__} {value!r} is neither a tensor nor a number",
        hint="convert it first with tetragrad.tensor(...)",
    )


def _category(dtype: DType) -> int:
    if dtype.is_bool:
        return 0
    return 1 if dtype.is_integer else int(dtype.kind)


def common_dtype(*operands: TensorBase | Scalar) -> DType:
    """The dtype that an operation on these operands computes in."""
    agreed = _agreed_dtype(operands)
    if agreed is not None:
        return agreed
    with_dims: list[DType] = []
    without: list[DType] = []
    numbers: list[DType] = []
    for operand in operands:
        if not isinstance(operand, TensorBase):
            kind = int if isinstance(operand, Size) else type(operand)
            numbers.append(PYTHON_DTYPES[kind])
        elif operand.ndim:
            with_dims.append(operand.dtype)
        else:
            without.append(operand.dtype)
    result: DType | None = None
    for group in (with_dims, without, numbers):
        if group:
            result = _outranked(result, dtypes.promote(*group))
    assert result is not None
    return result


def _agreed_dtype(operands: tuple[TensorBase | Scalar, ...]) -> DType | None:
    """The one dtype of all tensors, if none outranks it: what is asked most often."""
    agreed = None
    for operand in operands:
        if isinstance(operand, TensorBase):
            dtype = operand.dtype
            if agreed is not None and dtype is not agreed:
                return None
            agreed = dtype
    if agreed is None:
        return None
    for operand in operands:
        if not isinstance(operand, TensorBase):
            is_covered = agreed.is_floating_point and type(operand) in (int, float)
            if not is_covered:
                return None
    return agreed


def _outranked(higher: DType | None, lower: DType) -> DType:
    """``higher``, unless values of a lower rank have a higher category."""
    if higher is None:
        return lower
    if _category(lower) > _category(higher):
        return dtypes.promote(higher, lower)
    return higher


def float_dtype(*operands: TensorBase | Scalar) -> DType:
    """Like ``common_dtype``, with the default in place of integers and bool."""
    dtype = common_dtype(*operands)
    is_whole = dtype.is_integer or dtype.is_bool
    return default_float() if is_whole else dtype


def to_node(operand: TensorBase | Scalar, dtype: DType) -> Node:
    """An operand's node in the given dtype: pairs, if that is complex."""
    if not isinstance(operand, TensorBase):
        if dtype.is_complex:
            return constant_pair(complex(operand), dtype)
        return number(operand, dtype)
    if operand.dtype is dtype:
        return operand.real_node
    if dtype.is_complex and not operand.dtype.is_complex:
        return to_pairs(operand.node, dtype)
    node = operand.real_node
    if operand.dtype.is_complex and not dtype.is_complex:
        return are_nonzero(node) if dtype.is_bool else Cast(split(node).real, dtype)
    return Cast(node, dtypes.part_dtype(dtype))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all these shapes repeat to.

    >>> tetragrad.broadcast_shapes((3, 1), (1, 4))
    (3, 4)
    """
    shapes = tuple((shape,) if isinstance(shape, int) else shape for shape in shapes)
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for dim, size in enumerate(shape, ndim - len(shape)):
            if is_one(size) or same_sizes(size, result[dim]):
                continue
            if not (is_one(result[dim]) or size == result[dim]):
                _refuse(shapes, dim - ndim)
            result[dim] = size
    return tuple(result)


#: The same, remembered.
_common_shape = by_sizes(broadcast_shapes)


def do_broadcast(*shapes: Shape) -> bool:
    """Whether there is a shape that all of these repeat to."""
    try:
        broadcast_shapes(*shapes)
    except ShapeError:
        return False
    return True


def _refuse(shapes: Iterable[Shape], dim: int) -> None:
    named = " and ".join(map(str, shapes))
    raise ShapeError(
        f"shapes {named} do not broadcast: they differ in dimension {dim}",
        hint="sizes must be equal, or 1, counted from the last dimension",
    )


def broadcast_nodes(*nodes: Node) -> tuple[Node, ...]:
    """All nodes repeated to their common shape."""
    shapes = [node.shape for node in nodes]
    if len(set(shapes)) == 1 and not Size.in_use:
        return nodes
    shape = _common_shape(*shapes)
    return tuple([broadcast_to(node, shape) for node in nodes])


def align(*operands: TensorBase | Scalar, dtype: DType | None = None) -> list[Node]:
    """Nodes of one dtype (promoted, unless given) and one shape."""
    dtype = dtype or common_dtype(*operands)
    return list(broadcast_nodes(*[to_node(entry, dtype) for entry in operands]))


def tensors_of(*operands: object) -> list[TensorBase]:
    """The operands that are tensors: those that may require a gradient."""
    return [entry for entry in operands if isinstance(entry, TensorBase)]


def combine(node: Node, *operands: object, dtype: DType | None = None) -> Tensor:
    """Wrap the node of an operation whose operands may be numbers.

    A complex ``dtype`` says that the node holds pairs.
    """
    wraps = wrap_pairs if dtype is not None and dtype.is_complex else wrap
    return wraps(node, *tensors_of(*operands))


def combine_parts(found: Pair | Node, *operands: object) -> Tensor:
    """Wrap what a function of pairs gave: complex numbers, or real ones."""
    if isinstance(found, Pair):
        return wrap_pairs(join(found), *tensors_of(*operands))
    return combine(found, *operands)


def normal_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front; raises if there is none such."""
    limit = max(ndim, 1)
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool):
        raise DTypeError(
            f"a dimension is an int, not {dim!r}", hint="write for example dim=0"
        )
    if not -limit <= dim < limit:
        raise IndexingError(
            f"there is no dimension {dim} in a tensor with {ndim} dimensions",
            hint=f"use {-limit} to {limit - 1}",
        )
    return int(dim) % limit


def normal_dims(dim: int | Iterable[int] | None, ndim: int) -> tuple[int, ...]:
    """Sorted dimensions; None means all of them."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int | np.integer):
        return (normal_dim(int(dim), ndim),) if ndim else ()
    found = tuple(normal_dim(entry, ndim) for entry in dim)
    if len(set(found)) != len(found):
        raise ShapeError(
            f"dimensions {tuple(dim)} name one of them twice",
            hint="name each dimension once",
        )
    if not found:
        return tuple(range(ndim))
    return tuple(sorted(found)) if ndim else ()
