"""The kernel: one canonical loop nest as pure data.

A kernel has atomic loop axes and outputs. An axis that some output's address uses is
*parallel*; an axis that a reduction binds is a *reduce* axis. One axis can be both:
softmax stores along the row that its max and sum run over, and the row is then
visited in several passes. Nothing here names a buffer, so repeated layers of a
network are equal objects, compiled once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cached_property

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard, Reduction, walk


class Mode(Enum):
    """How an output combines with what is in memory."""

    STORE = "store"
    ADD = "add"
    MAX = "max"


@frozen
class Output:
    """Where a value goes: ``slot[address] = value`` for all points in the guard.

    ``axes`` are the loop axes the store runs over. With Mode.ADD or MAX the buffer
    first receives the reduction's identity everywhere, then every point is combined
    into it.
    """

    slot: int
    address: Affine
    value: Expression
    axes: tuple[int, ...]
    guard: Guard = ()
    mode: Mode = Mode.STORE


def combines(outputs: Iterable[Output]) -> bool:
    """Whether points are combined with what is in memory, as a scatter's are."""
    return any(output.mode is not Mode.STORE for output in outputs)


@frozen
class Slot:
    """A buffer argument: its dtype and number of elements."""

    dtype: DType
    numel: int


@frozen
class Inner:
    """Memory between outputs of one kernel, in ``rows`` that need not one another.

    The row of an element is ``(address // step) % rows``.
    """

    slot: Slot
    rows: int
    step: int


@frozen
class Kernel:
    """Loop axes (their sizes), buffer slots, launch scalars, and outputs.

    Output slots come after input slots. Two kernels that compare equal do the same
    to their arguments. Slots behind those of the arguments are ``inner`` ones: memory
    in which an output leaves what later outputs of the same kernel read.
    """

    axes: tuple[int, ...]
    slots: tuple[Slot, ...]
    scalars: tuple[DType, ...]
    outputs: tuple[Output, ...]
    inner: tuple[Inner, ...] = ()

    @cached_property
    def reductions(self) -> tuple[Reduction, ...]:
        """Every reduction, innermost first."""
        values = [output.value for output in self.outputs]
        return tuple(entry for entry in walk(*values) if isinstance(entry, Reduction))

    @cached_property
    def parallel_axes(self) -> tuple[int, ...]:
        """Axes that stores run over."""
        used = {axis for output in self.outputs for axis in output.axes}
        return tuple(sorted(used))

    @cached_property
    def reduce_axes(self) -> tuple[int, ...]:
        """Axes that reductions run over."""
        used = {axis for entry in self.reductions for axis in entry.axes}
        return tuple(sorted(used))

    @cached_property
    def hash(self) -> int:
        return hash((self.axes, self.slots, self.scalars, self.outputs, self.inner))

    def __hash__(self) -> int:
        return self.hash
