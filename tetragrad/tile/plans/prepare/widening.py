"""Add up 16-bit floats at places of their own in float32, and round them once.

    y[t[i]] += x[i]   ->   scratch[t[i]] += float32(x[i])       the first kernel
                           y[j] = bfloat16(scratch[j])          the rest

Memory that many points add to would otherwise be rounded with every addition.
"""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Load
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.scope import cast


@frozen
class Widening:
    """Combine the points of one output in float32 first."""

    output: int


def choose_widening(kernel: Kernel) -> Widening | None:
    """The first output that needs it, if any."""
    for number, output in enumerate(kernel.outputs):
        dtype = kernel.slots[output.slot].dtype
        is_narrow = dtype.is_floating_point and dtype.bits < 32
        if output.mode is not Mode.STORE and is_narrow:
            return Widening(number)
    return None


def apply_widening(kernel: Kernel, widening: Widening) -> tuple[Kernel, Kernel]:
    """The kernel that combines in float32, and the rest with a conversion."""
    output = kernel.outputs[widening.output]
    slot = kernel.slots[output.slot]
    wide = len(kernel.slots)
    slots = (*kernel.slots, Slot(dtypes.float32, slot.numel))
    value = cast(output.value, dtypes.float32)
    combined = replace(output, slot=wide, value=value)
    axis = len(kernel.axes)
    place = axis_form(axis)
    rounded = cast(Load(wide, place, (), dtypes.float32), slot.dtype)
    others = (entry for entry in kernel.outputs if entry is not output)
    first = replace(kernel, slots=slots, outputs=(combined,))
    rest = replace(
        kernel,
        axes=(*kernel.axes, slot.numel),
        slots=slots,
        outputs=(*others, Output(output.slot, place, rounded, (axis,))),
    )
    return simplify_axes(first), simplify_axes(rest)
