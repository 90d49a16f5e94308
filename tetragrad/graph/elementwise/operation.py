"""What all elementwise ops have in common: operands, dtypes that are accepted, folding.

``evaluate`` is the definition. It works on NumPy arrays of one dtype and serves
constant folding, the reference backend and every test. All operands of a node have
the same shape; broadcasting is movement and happens before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph.leaves import constant, number
from tetragrad.graph.movement import broadcast_to, constant_of
from tetragrad.graph.node import Node, Shape


class Elementwise(Node):
    """An op that treats every element alike."""

    __slots__ = ()
    accepts: ClassVar[str] = "numbers"

    #: The definition, on one array for each operand.
    evaluate: ClassVar[Callable[..., np.ndarray]]

    @classmethod
    def apply(cls, dtype: DType, *operands: np.ndarray) -> np.ndarray:
        """Evaluate with the result's dtype given; only casts need it."""
        return cls.evaluate(*operands)

    @classmethod
    def fold(cls, *operands: Node) -> Node | None:
        """All operands constant: compute now."""
        values = []
        for operand in operands:
            value = constant_of(operand) if operand.device is None else None
            if value is None:
                return None
            values.append(value)
        with np.errstate(all="ignore"):
            result = cls.evaluate(*(value.array for value in values))
        dtype = dtypes.from_numpy(result.dtype)
        return broadcast_to(constant(result, dtype), operands[0].shape)


class Unary(Elementwise):
    """An op with one operand."""

    __slots__ = ()
    fields = ("operand",)

    @classmethod
    def sources_of(cls, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        return arguments

    @classmethod
    def place(cls, operand: Node) -> str | None:
        return operand.device

    @classmethod
    def simplify(cls, operand: Node) -> Node | None:
        return cls.fold(operand) if operand.device is None else None

    @classmethod
    def infer(cls, operand: Node) -> tuple[Shape, DType]:
        check_accepts(cls, operand.dtype)
        return operand.shape, operand.dtype


class Binary(Elementwise):
    """An op with two operands of one shape and dtype."""

    __slots__ = ()
    fields = ("lhs", "rhs")

    @classmethod
    def sources_of(cls, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        return arguments

    @classmethod
    def simplify(cls, lhs: Node, rhs: Node) -> Node | None:
        """Values that a device holds are no constants; most operands are of those."""
        if lhs.device is not None and rhs.device is not None and lhs is not rhs:
            return None
        return cls.simplify_known(lhs, rhs)

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """The same where an operand may be constant, or both are one."""
        return cls.fold(lhs, rhs)

    @classmethod
    def infer(cls, lhs: Node, rhs: Node) -> tuple[Shape, DType]:
        dtype = lhs.dtype
        check_accepts(cls, dtype)
        if lhs.shape != rhs.shape or dtype is not rhs.dtype:
            check_alike(cls, lhs, rhs)
        return lhs.shape, dtype


_FLOATS = frozenset(dtype for dtype in dtypes.ARITHMETIC if dtype.is_floating_point)
_INTEGERS = frozenset(dtype for dtype in dtypes.ALL if dtype.is_integer)
_ACCEPTED = {
    "anything": frozenset(dtypes.ARITHMETIC),
    "numbers": _FLOATS | _INTEGERS,
    "floats": _FLOATS,
    "integers": _INTEGERS,
    "bits": _INTEGERS | {dtypes.bool_},
    "ordered": _FLOATS | _INTEGERS | {dtypes.bool_},
}


def check_accepts(op: type[Elementwise], dtype: DType) -> None:
    """Raise DTypeError unless the op is defined on values of ``dtype``."""
    if dtype not in _ACCEPTED[op.accepts]:
        raise DTypeError(
            f"{op.__name__.lower()} works on {op.accepts}, not on {dtype}",
            hint="convert the operand first, for example x.float()",
        )


def check_alike(op: type[Node], lhs: Node, rhs: Node) -> None:
    """Raise unless both operands have one shape and one dtype."""
    name = op.__name__.lower()
    if lhs.shape != rhs.shape:
        raise ShapeError(f"{name} of shapes {lhs.shape} and {rhs.shape}")
    if lhs.dtype is not rhs.dtype:
        raise DTypeError(f"{name} of {lhs.dtype} and {rhs.dtype}")


def is_constant(node: Node, value: float) -> bool:
    """Whether the node is this value everywhere, bit for bit."""
    if node.device is not None:
        return False
    found = constant_of(node)
    return found is not None and found.bits == constant(value, node.dtype).bits


def full_like(node: Node, value: float) -> Node:
    """A constant with the shape and dtype of ``node``."""
    return broadcast_to(number(value, node.dtype), node.shape)
