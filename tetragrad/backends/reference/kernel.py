"""What a kernel means: every loop axis a dimension, every expression one array.

Loads go through computed addresses. Where a load's guard fails the value is poison
(NaN, or a pattern of bits), so that a kernel which lets it through is found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph.reduce import Max, Sum
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
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.memory import check_addresses, poison

Values = Mapping[Expression, np.ndarray]


def run_kernel(
    kernel: Kernel, buffers: Sequence[np.ndarray], scalars: Sequence[object] = ()
) -> None:
    """Evaluate a kernel on flat buffers, one a slot; the outputs are written."""
    interpreter = Interpreter(kernel, buffers, scalars)
    with np.errstate(all="ignore"):
        results = [interpreter.evaluate(output) for output in kernel.outputs]
        for output, (addresses, mask, values) in zip(
            kernel.outputs, results, strict=True
        ):
            write(buffers[output.slot], addresses, mask, values, output.mode)


def initial(mode: Mode, dtype: DType) -> object:
    """What a combining output's buffer holds before the first point."""
    operation = Sum if mode is Mode.ADD else Max
    return operation.identity(dtype)


def write(
    buffer: np.ndarray,
    addresses: np.ndarray,
    mask: np.ndarray,
    values: np.ndarray,
    mode: Mode,
) -> None:
    """Store or combine the values whose mask is true, checking the addresses."""
    addresses, mask, values = np.broadcast_arrays(addresses, mask, values)
    addresses, values = addresses[mask], values[mask]
    check_addresses(addresses, buffer.size, "a store")
    if mode is Mode.STORE:
        buffer[addresses] = values
        return
    dtype = dtypes.from_numpy(buffer.dtype)
    carried = np.full(
        buffer.size, initial(mode, dtype), dtypes.accumulation(dtype).numpy
    )
    combine = np.add if mode is Mode.ADD else np.maximum
    combine.at(carried, addresses, values.astype(carried.dtype))
    buffer[...] = carried.astype(buffer.dtype)


class Interpreter:
    """Evaluates expressions of one kernel over its whole domain."""

    def __init__(
        self, kernel: Kernel, buffers: Sequence[np.ndarray], scalars: Sequence[object]
    ) -> None:
        self.sizes = kernel.axes
        self.buffers = buffers
        self.scalars = [
            np.asarray(value).astype(dtype.numpy)
            for value, dtype in zip(scalars, kernel.scalars, strict=True)
        ]
        self.values: dict[Expression, np.ndarray] = {}

    def evaluate(self, output: Output) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Addresses, mask and values of an output, over its axes."""
        forms = (output.address, *output.guard)
        atoms = [
            atom
            for form in forms
            for atom, _ in form.terms
            if isinstance(atom, Expression)
        ]
        for expression in walk(output.value, *atoms):
            if expression not in self.values:
                self.values[expression] = np.asarray(self.compute(expression))
        shape = tuple(
            size if axis in output.axes else 1 for axis, size in enumerate(self.sizes)
        )
        return (
            np.broadcast_to(self.form(output.address), shape),
            np.broadcast_to(self.guard(output.guard), shape),
            np.broadcast_to(self.values[output.value], shape),
        )

    def form(self, form: Affine) -> np.ndarray:
        """The values of an affine form, one dimension a loop axis."""
        result = np.full((1,) * len(self.sizes), form.constant, np.int64)
        for atom, coefficient in form.terms:
            if isinstance(atom, int):
                shape = [1] * len(self.sizes)
                shape[atom] = self.sizes[atom]
                values = np.arange(self.sizes[atom]).reshape(shape)
            else:
                values = self.values[atom]
            result = result + coefficient * values
        return result

    def guard(self, guard: Guard) -> np.ndarray:
        """Where all forms of a guard are >= 0."""
        mask = np.ones((1,) * len(self.sizes), np.bool_)
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
                return value.reshape((1,) * len(self.sizes))
            case Scalar():
                return self.scalars[expression.slot].reshape((1,) * len(self.sizes))
            case Position():
                return self.form(expression.form).astype(expression.dtype.numpy)
            case Compute():
                alike = np.broadcast_arrays(*operands)
                result = expression.op.apply(expression.dtype, *alike)
                return np.asarray(result).reshape(alike[0].shape)
            case Select():
                return np.where(self.guard(expression.guard), *operands)
            case Reduction():
                return self.reduction(expression, operands[0])
            case Scan():
                return self.scan(expression, operands[0])
            case Quotient():
                return self.form(expression.form) // expression.divisor
            case Remainder():
                return self.form(expression.form) % expression.divisor
            case Indexed():
                return operands[0].astype(np.int64)
        raise AssertionError(f"no meaning for {type(expression).__name__}")

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

    def spread(self, axes: Sequence[int], body: np.ndarray) -> np.ndarray:
        """Repeat the body along axes it does not depend on."""
        shape = list(body.shape)
        for axis in axes:
            shape[axis] = self.sizes[axis]
        return np.broadcast_to(body, shape)

    def reduction(self, reduction: Expression, body: np.ndarray) -> np.ndarray:
        """Reduce, keeping each axis with size 1."""
        full = self.spread(reduction.axes, body)
        return np.asarray(reduction.op.reduce(full, reduction.axes))

    def scan(self, scan: Expression, body: np.ndarray) -> np.ndarray:
        """Accumulate along the axis in the accumulator's dtype."""
        full = self.spread((scan.axis,), body).astype(scan.accumulator.numpy)
        full = np.flip(full, scan.axis) if scan.reverse else full
        result = scan.op.universal.accumulate(full, axis=scan.axis)
        result = np.flip(result, scan.axis) if scan.reverse else result
        return np.asarray(result).astype(scan.dtype.numpy)
