"""What expressions mean: their values at many points at once, as NumPy arrays.

The interpreters of kernels and of tile programs share it; they say which points there
are, and what they have in memory. Where a load's guard fails the value is poison (NaN,
or a pattern of bits), so that whoever lets it through is found out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Remainder,
    Scalar,
    Select,
)


class ExpressionEvaluator:
    """Evaluates expressions whose operands have been evaluated: one dimension an axis.

    ``ndim`` is the number of axes; values that are the same along one have size 1 in
    it, or are repeated, as the interpreter likes.
    """

    def __init__(
        self, buffers: Sequence[np.ndarray], scalars: Sequence[np.ndarray], ndim: int
    ) -> None:
        self.buffers = buffers
        self.scalars = scalars
        self.ndim = ndim
        self.values: dict[Expression, np.ndarray] = {}

    def axis(self, axis: int) -> np.ndarray:
        """The numbers of an axis, along its dimension."""
        raise NotImplementedError

    def value(self, expression: Expression) -> np.ndarray:
        """The values of an expression that a form or a user holds."""
        raise NotImplementedError

    def form(self, form: Affine) -> np.ndarray:
        """The values of an affine form."""
        result = np.full((1,) * self.ndim, form.constant, np.int64)
        for atom, coefficient in form.terms:
            values = self.axis(atom) if isinstance(atom, int) else self.value(atom)
            result = result + coefficient * values
        return result

    def guard(self, guard: Guard) -> np.ndarray:
        """Where all forms of a guard are >= 0."""
        mask = np.ones((1,) * self.ndim, np.bool_)
        for form in guard:
            mask = mask & (self.form(form) >= 0)
        return mask

    def compute(self, expression: Expression) -> np.ndarray:
        """The value of one expression from the values of its operands."""
        operands = [self.values[operand] for operand in expression.operands]
        match expression:
            case Load():
                return self.load(expression)
            case Literal():
                value = np.frombuffer(expression.bits, expression.dtype.numpy)
                return value.reshape((1,) * self.ndim)
            case Scalar():
                return self.scalars[expression.slot].reshape((1,) * self.ndim)
            case Position():
                return self.form(expression.form).astype(expression.dtype.numpy)
            case Compute():
                alike = np.broadcast_arrays(*operands)
                result = expression.op.apply(expression.dtype, *alike)
                return np.asarray(result).reshape(alike[0].shape)
            case Select():
                return np.where(self.guard(expression.guard), *operands)
            case Quotient():
                return self.form(expression.form) // expression.divisor
            case Remainder():
                return self.form(expression.form) % expression.divisor
            case Indexed():
                return operands[0].astype(np.int64)
        raise VerifyError(f"{type(expression).__name__} has no meaning here")

    def load(self, load: Expression) -> np.ndarray:
        """Read where the guard holds, poison elsewhere."""
        buffer = self.buffers[load.slot]
        addresses, mask = np.broadcast_arrays(
            self.form(load.address), self.guard(load.guard)
        )
        check_addresses(addresses[mask], buffer.size, f"a load of slot {load.slot}")
        result = np.full(addresses.shape, poison(load.dtype), load.dtype.numpy)
        result[mask] = buffer[addresses[mask]]
        return result


def poison(dtype: DType) -> np.ndarray:
    """A value that no program should ever let through: NaN, or a pattern of bits."""
    if dtype.is_floating_point:
        return np.array(np.nan).astype(dtype.numpy)
    if dtype.is_bool:
        return np.array(True)
    return np.asarray(np.frombuffer(b"\x5a" * dtype.itemsize, dtype.numpy)[0])


def check_addresses(addresses: np.ndarray, numel: int, what: str) -> None:
    """Raise VerifyError if any address is outside its buffer."""
    if addresses.size and (addresses.min() < 0 or addresses.max() >= numel):
        raise VerifyError(
            f"{what} reaches elements {addresses.min()} to {addresses.max()} "
            f"of a buffer of {numel}"
        )
