"""Outputs that hand rows to one another in shared memory, all in one grid.

    Grid(block of rows)
      Map(first[row, e] = f(x[row, e]))             from memory
      Map(second[row, e] = g(first[row, ...]))      in shared memory
      Store(y[row, e] = h(second[row, ...]))        back to memory

Each stage is computed by all threads of a block at once. A tile takes the memory of the
one before the last: by then everybody has read that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, SplitAxis, axis_form, divide
from tetragrad.kernel.chains import row_axis
from tetragrad.kernel.expression import Expression, Guard, Load, walk
from tetragrad.kernel.ir import Inner, Kernel, Output
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Grid,
    Layout,
    Map,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.prepare.alternatives import write_out_alternatives
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import Builder

#: Elements after which a tile leaves one out: those that lie this far apart are then in
#: different banks, and neighbours still are.
BANKS = 16
#: Elements of a stage for each thread, and threads of a block.
EACH = 16
WARP, FEWEST_THREADS, MOST_THREADS = 32, 64, 1024
#: Bytes of memory that come together, and threads for whose sake rows that lie beside
#: one another are put together.
LINE_BYTES, BESIDE_THREADS = 128, 256


@frozen
class ChainPlan:
    """So many ``rows`` a grid iteration, computed by so many threads."""

    rows: int
    threads: int


def choose_chain(kernel: Kernel) -> ChainPlan:
    """Several rows together where one alone would leave a block's threads idle.

    Or where rows lie side by side, of which whole lines of memory are read.
    """
    (first, *_) = kernel.inner
    length = first.slot.numel // first.rows
    least = LINE_BYTES // first.slot.dtype.itemsize if _lie_beside(kernel) else 1
    together = 1
    while first.rows % (2 * together) == 0 and length * together < EACH * (
        BESIDE_THREADS if together < least else FEWEST_THREADS
    ):
        together *= 2
    threads = -(-length * together // EACH)
    return ChainPlan(together, min(MOST_THREADS, -(-threads // WARP) * WARP))


def _lie_beside(kernel: Kernel) -> bool:
    """Whether the first output reads neighbours in memory for neighbouring rows."""
    output, first = kernel.outputs[0], kernel.inner[0]
    row = row_axis(output.address, kernel.axes, first.rows, first.step)
    return row is not None and any(
        isinstance(entry, Load) and abs(entry.address.coefficient(row)) == 1
        for entry in walk(output.value)
    )


def build_chain(builder: Builder, plan: ChainPlan) -> list[Statement]:
    """The grid of a kernel with inner slots."""
    try:
        return _grid(builder, plan, BANKS)
    except _Uneven:
        return _grid(builder, plan, 1)


def _grid(builder: Builder, plan: ChainPlan, banks: int) -> list[Statement]:
    """The grid, with a gap in each tile after so many elements if they are several."""
    kernel = builder.kernel
    rows = kernel.inner[0].rows
    block = builder.axis(rows // plan.rows)
    chain = _Chain(builder, plan, axis_form(block).scale(plan.rows), banks)
    body: list[Statement] = []
    for output in kernel.outputs:
        number = output.slot - len(kernel.slots)
        if number >= 0:
            before = chain.tiles[-2] if len(chain.tiles) > 1 else None
            tile = chain.tile(kernel.inner[number])
            body.append(Alloc(tile, once=True, over=before))
        body += chain.statements(output)
    return [Grid(((block, rows // plan.rows),), tuple(body), threads=plan.threads)]


class _Uneven(Exception):
    """Places in a row cannot be told by a bank and a multiple of all banks."""


class _Chain:
    """What the stages of one chain are built with."""

    def __init__(
        self, builder: Builder, plan: ChainPlan, first: Affine, banks: int
    ) -> None:
        self.banks = banks
        self.builder = builder
        self.kernel = builder.kernel
        self.plan = plan
        self.first = first
        self.lie_beside = _lie_beside(self.kernel)
        self.tiles: list[Tile] = []

    def tile(self, inner: Inner) -> Tile:
        """Room for what one stage hands on, row by row."""
        length = inner.slot.numel // inner.rows
        shape = (self.plan.rows, -(-length // self.banks), self.banks)
        gap = self.banks + 1 if self.banks > 1 else 1
        # Rows an odd number apart: where they lie beside one another in memory, so do
        # the threads that move them.
        layout = Layout((shape[1] * gap | 1, gap, 1))
        tile = self.builder.tile("rows", shape, inner.slot.dtype, Space.SHARED, layout)
        self.tiles.append(tile)
        return tile

    def statements(self, output: Output) -> list[Map | Store]:
        """One output over the rows of a grid iteration, perhaps place by place."""
        row = self._row_axis(output)
        alike: dict[tuple[int, ...], list[Output]] = {}
        for part in self._written_out(output, row):
            alike.setdefault(part.axes, []).append(part)
        return [entry for parts in alike.values() for entry in self._over(parts, row)]

    def _over(self, parts: Sequence[Output], row: int | None) -> list[Map | Store]:
        """Outputs with the same axes: what they have in common is one expression.

        Where an axis straddles the banks of a tile, it becomes two.
        """
        forms: dict[int, Affine] = {}
        extents: list[Extent] = []
        inside = ZERO
        for axis in self._in_order(parts, row):
            own = self.builder.axis(self.kernel.axes[axis])
            extents.append((own, self.kernel.axes[axis]))
            forms[axis] = axis_form(own)
        if self.plan.rows > 1:
            place = self.builder.axis(self.plan.rows)
            inside = axis_form(place)
            # Neighbouring threads have neighbours in memory.
            last = len(extents) if self.lie_beside else 0
            extents.insert(last, (place, self.plan.rows))
        if row is not None:
            forms[row] = self.first + inside
        guard: Guard = ()
        while True:
            try:
                return self._written(parts, forms, tuple(extents), guard, row, inside)
            except SplitAxis as request:
                forms, extents, limit = self._split(forms, extents, request)
                guard = (*guard, *limit)

    def _written_out(self, output: Output, row: int | None) -> tuple[Output, ...]:
        """An output for each place that it only chooses between, but not for each row.

        Blocks have different rows, so which row it is must be known when they run.
        """
        stage = replace(self.kernel, outputs=(output,), inner=())
        outputs = write_out_alternatives(stage).outputs
        keep_row = row is None or all(row in entry.axes for entry in outputs)
        return outputs if keep_row else (output,)

    def _split(
        self, forms: dict[int, Affine], extents: list[Extent], request: SplitAxis
    ) -> tuple[dict[int, Affine], list[Extent], Guard]:
        """One axis as two: a multiple of ``inner``, and what remains.

        And what holds where the last multiple is not beyond the end.
        """
        size = self.builder.extents[request.axis]
        outer_axis = self.builder.axis(-(-size // request.inner))
        inner_axis = self.builder.axis(request.inner)
        both = axis_form(outer_axis).scale(request.inner) + axis_form(inner_axis)
        changed = {
            axis: form.substitute({request.axis: both}) for axis, form in forms.items()
        }
        divided: list[Extent] = []
        for axis, extent in extents:
            if axis == request.axis:
                divided.append((outer_axis, self.builder.extents[outer_axis]))
                divided.append((inner_axis, request.inner))
            else:
                divided.append((axis, extent))
        is_even = size % request.inner == 0
        return changed, divided, () if is_even else (both.scale(-1).shift(size - 1),)

    def _written(
        self,
        parts: Sequence[Output],
        forms: dict[int, Affine],
        extents: tuple[Extent, ...],
        guard: Guard,
        row: int | None,
        inside: Affine,
    ) -> list[Map | Store]:
        count = len(self.kernel.slots)
        inner_forms = {**forms} if row is None else {**forms, row: ZERO}

        def element(slot: int, address: Affine) -> TileLoad:
            return self._element(slot - count, address, inner_forms, inside)

        loads: dict[Expression, Expression] = {
            entry: element(entry.slot, entry.address)
            for entry in walk(*(part.value for part in parts))
            if isinstance(entry, Load) and entry.slot >= count
        }
        rewriter = Rewriter(forms, loads)
        written: list[Map | Store] = []
        for part in parts:
            value = rewriter(part.value)
            if part.slot < count:
                address = rewriter.form(part.address)
                written.append(Store(extents, part.slot, address, value, guard))
            else:
                place = element(part.slot, part.address)
                written.append(Map(extents, place.tile, place.indices, value, guard))
        return written

    def _element(
        self, number: int, address: Affine, forms: dict[int, Affine], inside: Affine
    ) -> TileLoad:
        """An element of what a stage has handed on, in this iteration's rows."""
        inner = self.kernel.inner[number]
        place = _within_row(address.substitute(forms), inner)
        found = divide(place, self.banks, self.builder.extents)  # type: ignore[arg-type]
        if found is None:
            raise self._uneven(place)
        return TileLoad(self.tiles[number], (inside, *found))

    def _uneven(self, place: Affine) -> Exception:
        """What to do about an axis that ends within the banks of a tile."""
        for atom, part in place.terms:
            if isinstance(atom, int) and self.banks % part == 0:
                inner = self.banks // abs(part)
                if self.builder.extents[atom] > inner:
                    return SplitAxis(atom, inner)
        return _Uneven()

    def _row_axis(self, output: Output) -> int | None:
        """The axis of an output along which it goes from row to row."""
        rows, step = self.kernel.inner[0].rows, self.kernel.inner[0].step
        if rows == 1:
            return None
        count = len(self.kernel.slots)
        addresses = [output.address] if output.slot >= count else []
        addresses += [
            entry.address
            for entry in walk(output.value)
            if isinstance(entry, Load) and entry.slot >= count
        ]
        return row_axis(addresses[0], self.kernel.axes, rows, step)

    def _in_order(self, parts: Sequence[Output], row: int | None) -> list[int]:
        """The other axes, the one along which memory is next to itself last."""
        slots = len(self.kernel.slots)
        outside = [
            entry.address
            for entry in walk(*(part.value for part in parts))
            if isinstance(entry, Load) and entry.slot < slots
        ]
        outside += [part.address for part in parts if part.slot < slots]
        forms = outside or [parts[0].address]

        def step(axis: int) -> int:
            return min(abs(form.coefficient(axis)) or 1 << 62 for form in forms)

        return sorted((a for a in parts[0].axes if a != row), key=step, reverse=True)


def _within_row(address: Affine, inner: Inner) -> Affine:
    """The place in a row, once the row's own axis is left out."""
    span = inner.rows * inner.step
    high = [(atom, part // span) for atom, part in address.terms if part % span == 0]
    low = [(atom, part) for atom, part in address.terms if part % span]
    upper = Affine(address.constant // span, tuple(high))
    return upper.scale(inner.step) + Affine(address.constant % span, tuple(low))
