"""The ops of the graph on a device's values, as far as all devices have them alike.

An emitter says how its instructions are spelled; which op is an instruction, which a
method and which an elementary function is the same everywhere.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Generic

from tetragrad.core.dtypes import DType
from tetragrad.graph import elementwise as op
from tetragrad.graph import reduce
from tetragrad.tile.arithmetic import Value
from tetragrad.tile.functions import BY_OP

#: The op that takes one more value into a reduction.
REDUCTIONS = {
    reduce.Sum: op.Add,
    reduce.Prod: op.Mul,
    reduce.Max: op.Maximum,
}


class DeviceOperations(Generic[Value]):
    """Ops by class, and the part of ``Arithmetic`` that is one instruction each."""

    #: Ops that are more than an instruction.
    methods: dict[type[op.Elementwise], Callable[..., Value]]

    @abstractmethod
    def instruction(self, kind: type[op.Elementwise], *operands: Value) -> Value:
        """One op on operands of its dtype, as a table of the device spells it."""

    @abstractmethod
    def elementary(
        self, kind: type[op.Elementwise], dtype: DType, operands: tuple[Value, ...]
    ) -> Value:
        """One of ``tile/functions.py``, or what the device has in its place."""

    @abstractmethod
    def dtype(self, value: Value) -> DType:
        """What a value is read as."""

    @abstractmethod
    def cast(self, value: Value, dtype: DType) -> Value:
        """The same value in another dtype."""

    @abstractmethod
    def bitcast(self, value: Value, dtype: DType) -> Value:
        """The same bits in another dtype."""

    @abstractmethod
    def min(self, lhs: Value, rhs: Value) -> Value:
        """The smaller of two values; NaN if either is NaN."""

    def apply(
        self, kind: type[op.Elementwise], dtype: DType, operands: tuple[Value, ...]
    ) -> Value:
        """One node of an expression, rounded to its dtype."""
        if kind is op.Cast:
            return self.cast(operands[0], dtype)
        if kind is op.Bitcast:
            return self.bitcast(operands[0], dtype)
        if kind in BY_OP:
            return self.elementary(kind, dtype, operands)
        if kind in self.methods:
            return self.methods[kind](*operands)
        return self.instruction(kind, *operands)

    def combine(self, kind: type[reduce.Reduce], lhs: Value, rhs: Value) -> Value:
        """One step of a reduction."""
        if kind is reduce.Min:
            return self.min(lhs, rhs)
        return self.apply(REDUCTIONS[kind], self.dtype(lhs), (lhs, rhs))

    def add(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Add, lhs, rhs)

    def sub(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Sub, lhs, rhs)

    def mul(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Mul, lhs, rhs)

    def div(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Div, lhs, rhs)

    def and_(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.And, lhs, rhs)

    def or_(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Or, lhs, rhs)

    def xor(self, lhs: Value, rhs: Value) -> Value:
        return self.instruction(op.Xor, lhs, rhs)

    def floor(self, value: Value) -> Value:
        return self.instruction(op.Floor, value)

    def trunc(self, value: Value) -> Value:
        return self.instruction(op.Trunc, value)

    def sqrt(self, value: Value) -> Value:
        return self.instruction(op.Sqrt, value)
