"""Store what lies beside scores again, in rows that the copy engine can bring.

    scores[q, k] + mask[q*1555 + k]
      ->  scratch[q*1568 + k] = mask[q*1555 + k]       the first kernel
          scores[q, k] + scratch[q*1568 + k]           the rest

Rows must begin at multiples of 16 bytes. Every head reads a mask, and threads would
load it an element at a time.
"""

from __future__ import annotations

from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Expression, Load
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.prepare.axes import expressions_of, simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.rewrite import Rewriter

ROW_BYTES = 16


@frozen
class EvenRows(Division):
    """Store the loads of a slot first, rows of an ``axis`` beginning evenly."""

    slot: int
    axis: int

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that stores the rows, and the one that reads them."""
        (load,) = (
            entry
            for entry in expressions_of(kernel)
            if isinstance(entry, Load) and entry.slot == self.slot
        )
        unit = ROW_BYTES // load.dtype.itemsize
        others = sorted(load.free_axes - {self.axis})
        address = axis_form(self.axis)
        stride = -(-kernel.axes[self.axis] // unit) * unit
        for axis in reversed(others):
            address = address + axis_form(axis).scale(stride)
            stride *= kernel.axes[axis]
        number = len(kernel.slots)
        slots = (*kernel.slots, Slot(load.dtype, stride))
        stored = Output(number, address, load, (*others, self.axis))
        first = replace(kernel, slots=slots, outputs=(stored,))
        again: dict[Expression, Expression] = {
            load: Load(number, address, (), load.dtype),
        }
        rewriter = Rewriter({}, again)
        outputs = tuple(
            replace(output, value=rewriter(output.value)) for output in kernel.outputs
        )
        return simplify_axes(first), replace(kernel, slots=slots, outputs=outputs)
