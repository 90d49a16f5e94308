"""A kernel over flat memory as one small kernel, run on piece after piece.

What an optimiser does to a parameter depends on no size:

    p[i] = f(p[i], g[i], rate), i < 1048576   ->   the same with i < n, n <= 4096,
                                                   on 256 pieces of the buffers

So kernels that differ in their sizes only have one and the same piece, which is
compiled once, whatever the sizes are; and one launch can run it on all their pieces,
from a table of addresses and sizes.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Given,
    Guard,
    Load,
    Reduction,
    Scalar,
    Scan,
    Select,
)
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot
from tetragrad.kernel.substitution import substitute
from tetragrad.tile.plans.prepare.axes import expressions_of, simplify_axes

#: Elements of a whole piece: next to them, what is computed once does not count.
PIECE = 1 << 14

_POSITION = axis_form(0)


@frozen
class Piece:
    """A kernel for a whole piece, and one for what remains.

    The latter's last scalar says how many elements it is to compute. ``steps`` tells
    for each slot how many bytes one element moves its address.
    """

    whole: Kernel
    rest: Kernel
    steps: tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def piece_of(kernel: Kernel) -> tuple[Piece, int] | None:
    """The piece of a kernel over flat memory, and its number of elements.

    None if the kernel reads or writes anything but element i at its i-th point, or
    a value that all points share.
    """
    flat = simplify_axes(kernel)
    if kernel.inner or len(flat.axes) != 1 or not _is_flat(flat):
        return None
    moving = _moving_slots(flat)
    count = Given(Scalar(len(flat.scalars), dtypes.int64), 1, PIECE)
    guard = (of_atom(count).shift(-1) - _POSITION,)
    slots = tuple(
        Slot(slot.dtype, PIECE) if number in moving else slot
        for number, slot in enumerate(flat.slots)
    )
    steps = tuple(
        slot.dtype.itemsize if number in moving else 0
        for number, slot in enumerate(flat.slots)
    )
    outputs = tuple(_guarded(output, guard) for output in flat.outputs)
    whole = Kernel((PIECE,), slots, flat.scalars, flat.outputs)
    rest = Kernel((PIECE,), slots, (*flat.scalars, dtypes.int64), outputs)
    return Piece(whole, rest, steps), flat.axes[0]


def _is_flat(kernel: Kernel) -> bool:
    """Whether every point has its own element of each buffer, or they share one."""
    if any(_is_other_output(output) for output in kernel.outputs):
        return False
    for entry in expressions_of(kernel):
        if isinstance(entry, Reduction | Scan | Select):
            return False
        if isinstance(entry, Load):
            if entry.guard or not _is_flat_address(entry.address):
                return False
        elif entry.forms:
            return False
    return True


def _is_other_output(output: Output) -> bool:
    return bool(
        output.mode is not Mode.STORE
        or output.guard
        or output.address != _POSITION
        or output.axes != (0,)
    )


def _is_flat_address(address: Affine) -> bool:
    return address == _POSITION or not address.terms


def _moving_slots(kernel: Kernel) -> frozenset[int]:
    moving = {output.slot for output in kernel.outputs}
    for entry in expressions_of(kernel):
        if isinstance(entry, Load) and entry.address.terms:
            moving.add(entry.slot)
    return frozenset(moving)


def _guarded(output: Output, guard: Guard) -> Output:
    """The output of a piece, which may end early."""
    value = substitute(output.value, {0: _POSITION}, guard=guard)
    return replace(output, value=value, guard=guard)
