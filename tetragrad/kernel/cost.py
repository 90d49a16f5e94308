"""How much work a kernel is: operations and bytes, from its text alone."""

from __future__ import annotations

from collections.abc import Iterable

from tetragrad.core.frozen import frozen
from tetragrad.graph.node import size_of
from tetragrad.kernel.expression import Compute, Load, Reduction, walk
from tetragrad.kernel.ir import Kernel


@frozen
class Work:
    """Arithmetic operations, and the fewest bytes that must move."""

    operations: int
    nbytes: int

    def times(self, repeats: float) -> Work:
        """The work of doing this so often."""
        return Work(round(self.operations * repeats), round(self.nbytes * repeats))


def work_of(kernel: Kernel) -> Work:
    """Each input is read once and each output written once; a reduction counts one
    operation a term; a transcendental counts one. Inner memory counts nothing."""
    operations = 0
    arguments = range(len(kernel.slots))
    touched: dict[int, int] = {}
    values = [output.value for output in kernel.outputs]
    for expression in walk(*values):
        if isinstance(expression, Compute):
            operations += _points(kernel, expression.free_axes)
        elif isinstance(expression, Reduction):
            operations += _points(kernel, expression.free_axes | set(expression.axes))
        elif isinstance(expression, Load) and expression.slot in arguments:
            points = _points(kernel, expression.address.axes())
            slot = kernel.slots[expression.slot]
            count = max(touched.get(expression.slot, 0), min(points, slot.numel))
            touched[expression.slot] = count
    nbytes = sum(
        count * kernel.slots[slot].dtype.itemsize for slot, count in touched.items()
    )
    for output in kernel.outputs:
        if output.slot in arguments:
            itemsize = kernel.slots[output.slot].dtype.itemsize
            nbytes += _points(kernel, output.axes) * itemsize
    return Work(operations, nbytes)


def _points(kernel: Kernel, axes: Iterable[int]) -> int:
    return size_of(kernel.axes[axis] for axis in axes)
