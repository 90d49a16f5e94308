"""Loads that come before they are needed, and before anything is stored.

What was loaded is known, so it is not loaded again where it is used. By itself the
assembler moves no plain load above a store.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from tetragrad.backends.cuda.emit.runs import Runs
from tetragrad.backends.cuda.emit.spread import Coordinate
from tetragrad.backends.cuda.emit.tiles import Collective
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.tile.ir import For, Statement, Store, TileLoad

#: Runs that are loaded together before anything is stored.
MOST_LOADED_FIRST = 16


class Loads(Runs):
    """Loads what statements read from memory that this kernel does not change."""

    def fetch_ahead(self, body: Sequence[Statement]) -> None:
        """Load now what single stores at the end need from memory.

        What was loaded is known, so it is not loaded again where it is used.
        """
        for statement in body:
            if not isinstance(statement, Store) or statement.axes:
                continue
            (run,) = self.runs_of(statement)
            point = self.values.at(self._one_writer(statement, run), statement.guard)
            for entry in walk(statement.value):
                if isinstance(entry, Load) and not _reads_tiles(entry):
                    point.evaluate(entry)

    def _load_before(self, loop: For) -> None:
        """Load before a loop what is the same in all of its iterations."""
        for statement in loop.body:
            if isinstance(statement, Collective):
                inside = {axis for axis, _ in statement.axes}
                known = self.values.places.keys() - {loop.axis} | inside
                self._load_runs(statement, known)

    def _load_first(
        self, loop: For, counter: str | None, positions: Sequence[int]
    ) -> None:
        """Load what several iterations need before the first one stores anything.

        The assembler does so by itself only with loads that it knows to be unchanging.
        """
        stores = any(isinstance(entry, Store) for entry in loop.body)
        if not self.values.memory.comes_early or not stores or len(positions) < 2:
            return
        for position in positions:
            self.values.places[loop.axis] = Coordinate(counter, position)
            for statement in loop.body:
                if isinstance(statement, Collective):
                    self._load_runs(statement)

    def _load_runs(self, statement: Collective, known: Set[int] | None = None) -> None:
        """Load what the runs of a statement read from memory that nobody changes.

        Only what depends on ``known`` axes alone, if those are given.
        """
        loads = [
            entry
            for entry in walk(statement.value)
            if self._is_unchanging(entry)
            and (known is None or entry.free_axes <= known)
        ]
        runs = self._known_runs(statement) if loads else []
        if len(runs) * len(loads) > MOST_LOADED_FIRST:
            return
        for run in runs:
            point = self.values.at(run, statement.guard)
            for entry in loads:
                point.evaluate(entry)

    def _is_unchanging(self, value: Expression) -> bool:
        """Whether it is read from device memory that this kernel does not write."""
        if isinstance(value, TileLoad):
            return value.tile.name in self.values.given
        if not isinstance(value, Load) or value.slot in self.values.written:
            return False
        return not _reads_tiles(value)


def _reads_tiles(value: Expression) -> bool:
    return any(isinstance(entry, TileLoad) for entry in walk(value))
