"""Elementwise methods of tensors: arithmetic, comparisons, functions."""

from __future__ import annotations

from typing import Any, Self

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph import elementwise as ops
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase


class ElementwiseMethods(TensorBase):
    """Methods that treat every element alike."""

    __slots__ = ()

    def __add__(self, other: Any) -> Self:
        return self.binary(ops.Add, other)

    def __mul__(self, other: Any) -> Self:
        return self.binary(ops.Mul, other)

    def exp(self) -> Self:
        """e to the power of each element.

        >>> Tensor([0.0, 1.0]).exp()
        tensor([1.0000, 2.7183])
        """
        return self.unary(ops.Exp)

    def unary(self, op: type[ops.Unary]) -> Self:
        """Apply an op that needs floating point; integers become float32."""
        node = self.node
        if not node.dtype.is_floating_point:
            node = ops.Cast(node, dtypes.float32)
        return self.result(op(node))

    def binary(self, op: type[ops.Binary], other: Any) -> Self:
        """Apply an op to two tensors, or a tensor and a number, after promotion."""
        other_tensor = other if isinstance(other, TensorBase) else None
        ...
