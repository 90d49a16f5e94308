"""The runs of points that a thread has of a collective statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tetragrad.backends.cuda.emit.blocks import Block
from tetragrad.backends.cuda.emit.ptx import INDEX, Value
from tetragrad.backends.cuda.emit.spread import MOST_RUNS, Run
from tetragrad.backends.cuda.emit.tiles import Collective, Spread, TileHomes
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.core.frozen import replace
from tetragrad.tile.ir import Fold, Map

#: Runs that are written out where each thread has about as many.
MOST_EVEN_RUNS = 64


class Runs:
    """What the statements of one grid's body are emitted with."""

    def __init__(
        self, values: Values, homes: TileHomes, block: Block, *, contract: bool
    ) -> None:
        self.values = values
        self.builder = values.builder
        self.ops = values.ops
        self.homes = homes
        self.block = block
        self.contract = contract

    def _is_shared(self, name: str) -> bool:
        storage = self.values.storages.get(name)
        return storage is not None and storage.space == "shared"

    def _crosses(self, statement: Map | Fold) -> bool:
        if not isinstance(statement, Fold) or not statement.axes:
            return False
        lane = statement.axes[-1][0]
        return all(lane not in form.axes() for form in statement.indices)

    def runs_of(self, statement: Collective) -> Iterator[Run]:
        """The runs of points of this thread; in a loop where they are many."""
        for axis, extent in statement.axes:
            self.values.extents[axis] = extent
        threads = self.block.threads
        spread = self.homes.spread(statement)
        if spread is Spread.EVERYWHERE:
            yield from threads.everywhere(statement.axes)
        elif spread is Spread.LANES:
            yield from threads.on_lanes(statement.axes)
        elif spread is Spread.FRAGMENTS:
            if self.homes.patches is not None:
                yield from self.homes.patches.runs(threads, statement.axes)
            else:
                yield from threads.on_fragments(statement.axes)
        elif spread is Spread.FRAGMENT_ROWS:
            yield from threads.on_fragment_rows(statement.axes)
        else:
            yield from self._flat_runs(statement)

    def alike_runs(
        self, statement: Collective, runs: Iterable[Run] | None = None
    ) -> Iterator[Sequence[Run]]:
        """The same runs, or others, those together that are alike but for constants.

        Each is written in a part of its own, so that the text is that of one run after
        the other, in whatever order it is made up.
        """
        runs = self.runs_of(statement) if runs is None else runs
        if self._is_loop(statement):
            for run in runs:
                yield (run,)
            return
        kinds: dict[object, list[Run]] = {}
        part = self.builder.new_part()
        for run in runs:
            run = replace(run, part=part)
            kinds.setdefault(run.kind, []).append(run)
            part = self.builder.new_part()
        for alike in kinds.values():
            self.builder.go_to(alike[0].part)
            yield alike
        self.builder.join_parts()

    def _is_loop(self, statement: Collective) -> bool:
        """Whether runs are so many that they are in a loop."""
        if self.homes.spread(statement) is not Spread.FLAT:
            return False
        threads = self.block.threads
        most = MOST_EVEN_RUNS if threads.is_even else MOST_RUNS
        return threads.flat_runs(statement.axes) > most

    def _flat_runs(self, statement: Collective) -> Iterator[Run]:
        threads = self.block.threads
        count = threads.flat_runs(statement.axes)
        if not self._is_loop(statement):
            for sweep in range(count):
                yield threads.flat_run(statement.axes, sweep)
            return
        counter, more = self.builder.register("b32"), self.builder.register("pred")
        again = self.builder.label()
        self.builder.line(f"mov.b32 {counter}, 0")
        self.builder.place(again)
        with self.builder.scope():
            yield threads.flat_run(statement.axes, Value(counter, INDEX))
        self.builder.line(f"add.s32 {counter}, {counter}, 1")
        self.builder.line(f"setp.lt.s32 {more}, {counter}, {count}")
        self.builder.line(f"@{more} bra {again}")

    def _known_runs(self, statement: Collective) -> list[Run]:
        """The runs of a statement, where they are no loop."""
        is_flat = self.homes.spread(statement) is Spread.FLAT
        if is_flat and self.block.threads.flat_runs(statement.axes) > MOST_RUNS:
            return []
        return list(self.runs_of(statement))

    def _writers(self, statement: Collective) -> Iterator[Run]:
        """The runs of what is written to memory, each by one thread."""
        for run in self.runs_of(statement):
            yield self._one_writer(statement, run)

    def _one_writer(self, statement: Collective, run: Run) -> Run:
        """Where every thread has a point, one of them writes it."""
        if self.homes.spread(statement) is not Spread.EVERYWHERE:
            return run
        mask = self.block.threads.is_thread(run.number % self.block.threads.count)
        return Run(run.places, run.lane, run.width, mask, run.number)
