"""Several grids as one kernel: side by side, and whoever finishes last goes on.

A sum over many blocks is two grids, of parts and of their sum. Blocks whose parts go
into the same iteration of the second grid count how many of them are done, and the
last one runs that iteration. So nobody waits, the order of additions stays what it
was, and a launch is saved. Grids of equal extents that do not need one another, as the
sums of two columns of a table, are done one after the other by the same blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.emit.tiles import (
    Collective,
    find_homes,
    roots_of,
)
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.tile.ir import (
    Extent,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Role,
    Space,
    Store,
    TileLoad,
    every_statement,
)

#: Counters take little room, but are cleared when a program is loaded.
MOST_COUNTERS = 1 << 16
#: Grids of more iterations keep a GPU busy by themselves.
MOST_BESIDE = 256


@frozen
class Joint:
    """Grids that are one kernel.

    ``aliases`` are the axes of grids beside the first one, whose positions are those
    of the first one's axes.
    """

    grid: Grid
    aliases: dict[int, int]
    finish: Finish | None = None


@frozen
class Finish:
    """A grid that the last blocks of another one run.

    Its iterations are those of ``axis``; the blocks that take part in one are those
    with the same position on the first grid's axis ``group``. Without axes there is
    one iteration, for which all blocks count.
    """

    grid: Grid
    axis: int | None
    group: int | None
    iterations: int


def join_grids(grids: Sequence[Grid]) -> Iterator[Joint]:
    """The grids of a program, in kernels."""
    place = 0
    while place < len(grids):
        joint = Joint(grids[place], {})
        place += 1
        while place < len(grids):
            wider = _beside(joint, grids[place])
            if wider is None:
                break
            joint, place = wider, place + 1
        finish = find_finish(joint, grids[place]) if place < len(grids) else None
        if finish is not None:
            joint, place = Joint(joint.grid, joint.aliases, finish), place + 1
        yield joint


def _beside(joint: Joint, grid: Grid) -> Joint | None:
    """The grids as one, if they are small and do not need one another."""
    first = joint.grid
    sizes, others = ([size for _, size in entry.axes] for entry in (first, grid))
    if sizes != others or math.prod(sizes) > MOST_BESIDE:
        return None
    if not (_is_plain(first) and _is_plain(grid)):
        return None
    written = {name for name, _ in _writes(first)} | _stored(first)
    touched = {name for name, _ in (*_reads(grid), *_writes(grid))}
    if written & (touched | _loaded(grid) | _stored(grid)):
        return None
    pairs = zip(grid.axes, first.axes, strict=True)
    aliases = joint.aliases | {new: old for (new, _), (old, _) in pairs}
    return Joint(Grid(first.axes, (*first.body, *grid.body)), aliases)


def find_finish(joint: Joint, second: Grid) -> Finish | None:
    """How the last blocks of one grid can run the next one, if they can."""
    first = joint.grid
    if not (_is_plain(first) and _is_plain(second)):
        return None
    if find_homes(second.body).shared or _stored(first) & _loaded(second):
        return None
    written = {name for name, _ in _writes(first)}
    reads = [form for name, form in _reads(second) if name in written]
    original = {new: axis_form(old) for new, old in joint.aliases.items()}
    writes = [form.substitute(original) for _, form in _writes(first)]
    if not reads:
        return None
    repeated = [extent for extent in second.axes if extent[1] > 1]
    if not repeated:
        return Finish(second, None, None, 1)
    if len(repeated) > 1 or repeated[0][1] > MOST_COUNTERS:
        return None
    ((axis, size),) = repeated
    digits = {_digit(form, axis, _extents(second)) for form in reads}
    for group, extent in first.axes:
        found = {_digit(form, group, _extents(first)) for form in writes}
        if (
            extent == size
            and found == digits
            and len(digits) == 1
            and None not in found
        ):
            return Finish(second, axis, group, size)
    return None


def reads_again(first: Joint, second: Joint) -> bool:
    """Whether ordinary blocks read a buffer that those before them have read."""
    grids = (first.grid, second.grid)
    if not all(map(_is_plain, grids)):
        return False
    return bool(_loaded(first.grid) & _loaded(second.grid))


def _is_plain(grid: Grid) -> bool:
    """Whether the iterations are those of ordinary blocks."""
    return grid.cluster is None and not any(
        isinstance(entry, Role | Mma) for entry in every_statement(grid.body)
    )


def _stored(grid: Grid) -> set[object]:
    return {
        entry.slot for entry in every_statement(grid.body) if isinstance(entry, Store)
    }


def _loaded(grid: Grid) -> set[int]:
    return {entry.slot for entry in _computed(grid) if isinstance(entry, Load)}


def _computed(grid: Grid) -> Sequence[Expression]:
    """What all statements of a grid compute, each expression once."""
    return walk(
        *(
            root
            for statement in every_statement(grid.body)
            if isinstance(statement, Collective)
            for root in roots_of(statement)
        )
    )


def _writes(grid: Grid) -> Iterator[tuple[str, Affine]]:
    """Tiles in global memory that a grid writes, and where."""
    for statement in every_statement(grid.body):
        if isinstance(statement, Map | Fold) and statement.tile.space is Space.GLOBAL:
            yield statement.tile.name, statement.indices[0]


def _reads(grid: Grid) -> Iterator[tuple[str, Affine]]:
    """Tiles in global memory that a grid reads, and where."""
    for entry in _computed(grid):
        if isinstance(entry, TileLoad) and entry.tile.space is Space.GLOBAL:
            yield entry.tile.name, entry.indices[0]


def _extents(grid: Grid) -> dict[int, int]:
    """The sizes of all axes of a grid and its statements."""
    axes: list[Extent] = list(grid.axes)
    for statement in every_statement(grid.body):
        if isinstance(statement, For):
            axes.append((statement.axis, statement.extent))
        axes += getattr(statement, "axes", ())
    return dict(axes)


def _digit(form: Affine, axis: int, sizes: dict[int, int]) -> tuple[int, int] | None:
    """A unit and a base: the axis's position is (form // unit) % base.

    None where other terms reach into that digit.
    """
    unit, base = form.coefficient(axis), sizes[axis]
    if unit <= 0 or not form.is_pure():
        return None
    span = unit * base
    rest = tuple(term for term in form.terms if term[0] != axis and term[1] % span)
    low, high = Affine(form.constant % span, rest).range(sizes)  # type: ignore[arg-type]
    return (unit, base) if low >= 0 and high < unit else None


# --- text ----------------------------------------------------------------------------


def counters(name: str, finish: Finish) -> str:
    """The declaration of a kernel's counters, which begin with zero."""
    return f".global .align 4 .u32 {name}_finished[{finish.iterations}];"


def last_of_group(
    builder: Builder, name: str, finish: Finish, blocks: int, group: str | None
) -> str:
    """A predicate: whether all other blocks of this one's group have finished.

    A counter starts again from zero with the last of them.
    """
    builder.line("bar.sync 0")
    address = builder.assign("b64", "mov.u64", f"{name}_finished")
    if group is not None:
        offset = builder.assign("b64", "mul.wide.u32", f"{group}, 4")
        address = builder.assign("b64", "add.s64", f"{address}, {offset}")
    index = builder.assign("b32", "mov.u32", "%tid.x")
    is_first = builder.assign("pred", "setp.eq.u32", f"{index}, 0")
    before, is_last = builder.register("b32"), builder.register("pred")
    last = builder.register("pred")
    limit = blocks // finish.iterations - 1
    builder.line(f"setp.ne.u32 {is_last}, 0, 0")
    builder.line(f"@{is_first} fence.acq_rel.gpu")
    builder.line(f"@{is_first} atom.global.inc.u32 {before}, [{address}], {limit}")
    builder.line(f"@{is_first} setp.eq.u32 {is_last}, {before}, {limit}")
    builder.line(f"barrier.red.or.pred {last}, 0, {is_last}")
    builder.line("fence.acq_rel.gpu")
    return last
