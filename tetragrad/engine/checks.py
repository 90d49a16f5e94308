"""Which indices a replay checks: before it runs, or as soon as they are computed."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.engine.realize import check_indices, device
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import InRange

#: An index that must be in range, and the buffer of its worst element.
Check = tuple[InRange, Buffer]


def distinct(checks: Sequence[Check]) -> list[Check]:
    """The checks without those of the same element against the same size."""
    return list(
        {(worst, index.size): (index, worst) for index, worst in checks}.values()
    )


class InputChecks:
    """Checks of indices that are inputs themselves, and so new in every replay.

    Args:
        checks: all of those.
        inputs: the lists of inputs, as a replay is given them.
    """

    def __init__(
        self, checks: Sequence[Check], inputs: Sequence[Sequence[Buffer]]
    ) -> None:
        place_of = {
            buffer: (number, place)
            for number, buffers in enumerate(inputs)
            for place, buffer in enumerate(buffers)
        }
        self._checks = [(index, *place_of[worst]) for index, worst in checks]

    def check(self, *inputs: Sequence[Buffer]) -> None:
        """Raise IndexingError for the first index that is out of range."""
        if self._checks:
            check_indices(
                [(index, inputs[which][place]) for index, which, place in self._checks]
            )


class ResultChecks:
    """Checks of indices that a replay computes, always in the same memory.

    Between two parts of a replay nothing else is at hand, so that each step on the way
    to a number takes time: what shows it is made beforehand.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        self._shown = []
        #: Those whose memory the host cannot read at once.
        self._elsewhere = []
        for index, worst in checks:
            where = device(worst.buffer_device)
            if where.has_host_memory:
                number = where.copy_out(worst.memory, (), worst.dtype)
                self._shown.append((index, number))
            else:
                self._elsewhere.append((index, worst))

    def check(self) -> None:
        """Raise IndexingError for the first index that was out of range."""
        for index, number in self._shown:
            index.check(number.item())
        if self._elsewhere:
            check_indices(self._elsewhere)
