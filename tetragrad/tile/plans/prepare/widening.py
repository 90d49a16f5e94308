"""Add up narrow values at places of their own in 32 bits, and narrow them once.

    y[t[i]] += x[i]   ->   scratch[t[i]] += float32(x[i])       the first kernel
                           y[j] = bfloat16(scratch[j])          the rest

Memory that many points add to would otherwise be rounded with every addition, and for
narrow integers and truth values there are no instructions that combine.
"""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen, replace
from tetragrad.graph.elementwise import Maximum
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Compute, Expression, Load, literal
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.scope import cast


@frozen
class Widening(Division):
    """Combine the points of one output in 32 bits first."""

    output: int

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that combines in 32 bits, and the rest with a conversion."""
        output = kernel.outputs[self.output]
        slot = kernel.slots[output.slot]
        wide = len(kernel.slots)
        dtype = _combined_dtype(slot.dtype)
        slots = (*kernel.slots, Slot(dtype, slot.numel))
        value = cast(output.value, dtype)
        combined = replace(output, slot=wide, value=value)
        axis = len(kernel.axes)
        place = axis_form(axis)
        found: Expression = Load(wide, place, (), dtype)
        if output.mode is Mode.MAX and not dtype.is_floating_point:
            # Where nothing came, there is the lowest of all wide values.
            least = literal(dtypes.lowest(slot.dtype), dtype)
            found = Compute(Maximum, dtype, (found, least))
        rounded = cast(found, slot.dtype)
        others = (entry for entry in kernel.outputs if entry is not output)
        first = replace(kernel, slots=slots, outputs=(combined,))
        rest = replace(
            kernel,
            axes=(*kernel.axes, slot.numel),
            slots=slots,
            outputs=(*others, Output(output.slot, place, rounded, (axis,))),
        )
        return simplify_axes(first), simplify_axes(rest)


def choose_widening(kernel: Kernel) -> Widening | None:
    """The first output that needs it, if any."""
    for number, output in enumerate(kernel.outputs):
        is_narrow = kernel.slots[output.slot].dtype.itemsize < 4
        if output.mode is not Mode.STORE and is_narrow:
            return Widening(number)
    return None


def _combined_dtype(dtype: DType) -> DType:
    """What narrow values are combined in: sums of integers wrap afterwards, as ever."""
    return dtypes.float32 if dtype.is_floating_point else dtypes.int32
