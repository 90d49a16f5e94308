"""Launches in order, recorded as one: a captured step costs no Python per kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tetragrad.backends.cuda.calls import Graph, KernelCall, Node
from tetragrad.backends.cuda.programs import CudaExecutable

if TYPE_CHECKING:
    from tetragrad.backends.cuda.device import CudaDevice


class LaunchSequence:
    """Launches that are recorded when they come for the second time.

    A launch whose arguments have changed since is told the new ones; the others are
    not looked at.
    """

    def __init__(
        self,
        device: CudaDevice,
        programs: Sequence[CudaExecutable],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> None:
        self._device = device
        self._programs = programs
        self._bounds = list(zip(starts, [*starts[1:], len(cells)], strict=True))
        self._cells = cells
        self._last: np.ndarray | None = None
        self._graph: Graph | None = None
        # The nodes of each program's kernels, and what their arguments lead to.
        self._nodes: list[list[Node]] = []
        self._kept: list[list[KernelCall]] = []

    def __call__(self) -> None:
        if self._graph is not None:
            self._update(self._graph)
            self._repeat(self._graph)
        elif self._last is None:
            self._launch()
        else:
            # While the stream records, tables could not be copied to the GPU.
            self._kept = [self._calls(place) for place in range(len(self._bounds))]
            self._graph = Graph(self._device.context, self._record)
            self._repeat(self._graph)
        self._remember()

    def _repeat(self, graph: Graph) -> None:
        """Launch everything again; for a fault it counts as one kernel."""
        with self._device.blaming(), self._device.context.lock:
            graph.launch()
            name = f"1 of {len(self._kept)} that are repeated"
            self._device.progress.launched(name)

    def _remember(self) -> None:
        if self._last is None:
            self._last = self._cells.copy()
        else:
            self._last[:] = self._cells

    def _calls(self, place: int) -> list[KernelCall]:
        """The kernels of one launch with its arguments of now."""
        start, stop = self._bounds[place]
        return self._programs[place].calls(self._cells[start:stop].tolist())

    def _launch(self) -> None:
        for place in range(len(self._bounds)):
            for call in self._calls(place):
                self._device.start(call)

    def _record(self) -> None:
        self._nodes = [
            [self._device.record(call) for call in calls] for calls in self._kept
        ]

    def _update(self, graph: Graph) -> None:
        """Tell the launches whose arguments are others."""
        changed = np.flatnonzero(self._cells != self._last)
        if not len(changed):
            return
        starts = [start for start, _ in self._bounds]
        places = np.searchsorted(starts, changed, side="right") - 1
        for place in dict.fromkeys(places.tolist()):
            calls = self._calls(place)
            for node, call in zip(self._nodes[place], calls, strict=True):
                graph.update(node, call)
            self._kept[place] = calls
