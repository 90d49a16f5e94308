"""Which indices a replay checks: before it runs, or as soon as they are computed."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.engine.realize import check_indices
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
