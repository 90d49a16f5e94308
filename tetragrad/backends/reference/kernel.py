"""What a kernel means: every loop axis a dimension, every expression one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.evaluator import ExpressionEvaluator, check_addresses
from tetragrad.kernel.expression import Expression, Reduction, Scan, walk
from tetragrad.kernel.ir import Kernel, Mode, Output


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


class Interpreter(ExpressionEvaluator):
    """Evaluates expressions of one kernel over its whole domain."""

    def __init__(
        self, kernel: Kernel, buffers: Sequence[np.ndarray], scalars: Sequence[object]
    ) -> None:
        given = [
            np.asarray(value).astype(dtype.numpy)
            for value, dtype in zip(scalars, kernel.scalars, strict=True)
        ]
        super().__init__(buffers, given, len(kernel.axes))
        self.sizes = kernel.axes

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

    def axis(self, axis: int) -> np.ndarray:
        shape = [1] * len(self.sizes)
        shape[axis] = self.sizes[axis]
        return np.arange(self.sizes[axis]).reshape(shape)

    def value(self, expression: Expression) -> np.ndarray:
        return self.values[expression]

    def compute(self, expression: Expression) -> np.ndarray:
        match expression:
            case Reduction():
                return self.reduction(expression, self.values[expression.body])
            case Scan():
                return self.scan(expression, self.values[expression.body])
        return super().compute(expression)

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
