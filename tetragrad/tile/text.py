"""The readable form of a tile program, as DEBUG=4 prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.kernel import text as kernel_text
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard
from tetragrad.kernel.text import SIGNS, NamedValues, TextOf
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Commit,
    Copy,
    Extent,
    Fetch,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    PassTurn,
    Pin,
    Program,
    QuickPower,
    Release,
    Role,
    Running,
    Statement,
    Store,
    Sync,
    TakeTurn,
    Tile,
    TileLoad,
    View,
    Wait,
    When,
)

_INDENT = "  "


def program_text(program: Program) -> str:
    """A program over several lines."""
    slots = ", ".join(
        f"{'out' if number in program.outputs else 'in'} "
        f"s{number}: {slot.dtype}[{slot.numel}]"
        for number, slot in enumerate(program.slots)
    )
    lines = [f"program {program.name}({slots})"]
    lines += [f"{_INDENT}scratch {tile_text(tile)}" for tile in program.scratch]
    lines += body_text(program.body, _INDENT)
    return "\n".join(lines)


def body_text(body: Sequence[Statement], indent: str) -> Iterator[str]:
    """The lines of some statements."""
    for statement in body:
        values = _values(statement)
        yield from (indent + line for line in values.lines)
        yield indent + _statement_text(statement, values.text_of)
        match statement:
            case Grid() | For() | Role():
                yield from body_text(statement.body, indent + _INDENT)
            case When():
                yield from body_text(statement.body, indent + _INDENT)
                if statement.otherwise:
                    yield f"{indent}Otherwise"
                    yield from body_text(statement.otherwise, indent + _INDENT)


def statement_text(statement: Statement) -> str:
    """One statement on one line, without its body."""
    values = _values(statement)
    return "; ".join([*values.lines, _statement_text(statement, values.text_of)])


def _values(statement: Statement) -> NamedValues:
    """The text of what a statement computes, with names for what it shares."""
    match statement:
        case Map() | Fold() | Running() | Store():
            return NamedValues([statement.value], _format)
    return NamedValues([], _format)


def _statement_text(statement: Statement, text_of: TextOf) -> str:
    match statement:
        case Grid():
            return _grid_text(statement)
        case For():
            return _for_text(statement)
        case When():
            return f"When({guard_text(statement.guard)})"
        case Alloc():
            once = ", written once" if statement.once else ""
            over = f", over {statement.over.name}" if statement.over else ""
            return f"Alloc({tile_text(statement.tile)}{once}{over})"
        case Map() | Fold() | Running() | Store():
            return _collective_text(statement, text_of)
        case View():
            source = element_at(statement.source, statement.address)
            return f"View({tile_text(statement.tile)} at {source})"
        case Fetch():
            return _fetch_text(statement)
        case Mma():
            return _mma_text(statement)
        case Copy():
            return _copy_text(statement)
        case Acquire() | Commit() | Wait() | Release():
            return f"{type(statement).__name__}({statement.channel.name})"
        case Role():
            return _role_text(statement)
        case TakeTurn() | PassTurn():
            return f"{type(statement).__name__}(i{statement.members[0]})"
        case Sync():
            return "Sync"
        case Pin():
            return f"Pin({statement.tile.name})"
    raise AssertionError(f"no text for {type(statement).__name__}")


def _grid_text(grid: Grid) -> str:
    together = "" if grid.cluster is None else f", i{grid.cluster} together"
    threads = f", {grid.threads} threads" if grid.threads else ""
    return f"Grid({axes_text(grid.axes)}{together}{threads})"


def _for_text(loop: For) -> str:
    text = f"i{loop.axis} over {loop.extent}"
    text += ", unrolled" if loop.unroll else ""
    if loop.guard:
        text += f", while {guard_text(loop.guard)}"
    return f"For({text})"


def _collective_text(statement: Map | Fold | Running | Store, text_of: TextOf) -> str:
    """``Map(t[i] = value) over i < 16 if guard``."""
    name = type(statement).__name__
    text = f"{name}({_target_text(statement)} {text_of(statement.value)})"
    if statement.axes:
        text += f" over {axes_text(statement.axes)}"
    if statement.guard:
        text += f" if {guard_text(statement.guard)}"
    return text


def _target_text(statement: Map | Fold | Running | Store) -> str:
    """What a value goes to, and how: ``t[i] =``."""
    if isinstance(statement, Store):
        target = f"s{statement.slot}[{form_text(statement.address)}]"
        return f"{target} {SIGNS[statement.mode]}"
    target = element_text(statement.tile, statement.indices)
    if isinstance(statement, Map):
        return f"{target} ="
    name = statement.op.__name__.lower()
    if isinstance(statement, Fold):
        return f"{target} +=" if name == "sum" else f"{target} {name}="
    way = " backwards" if statement.reverse else ""
    return f"{target} = running {name}{way} from {statement.carry.name} of"


def _mma_text(mma: Mma) -> str:
    lhs = ", ".join(form_text(form) for form in mma.lhs_offset)
    rhs = ", ".join(form_text(form) for form in mma.rhs_offset)
    shape = f"{mma.rows}x{mma.columns}x{mma.depth}"
    sign = "=" if mma.starts else "+="
    text = (
        f"Mma({mma.accumulator.name} {sign} {mma.lhs.name}[{lhs}] x "
        f"{mma.rhs.name}[{rhs}], {shape})"
    )
    if mma.ahead is not None:
        fetch, parts = mma.ahead.fetch, mma.ahead.parts
        text += f", {_fetch_text(fetch)} over {axes_text([parts])}"
    return text


def _fetch_text(fetch: Fetch) -> str:
    return f"Fetch({fetch.count} of {element_at(fetch.source, fetch.address)})"


def _copy_text(copy: Copy) -> str:
    name = f"s{copy.slot}" if copy.source is None else copy.source.name
    text = f"Copy({copy.tile.name} = {name}[{form_text(copy.address)}])"
    text += f" over {axes_text(copy.axes)}"
    if copy.guard:
        text += f" if {guard_text(copy.guard)}"
    return text


def _role_text(role: Role) -> str:
    text = f"Role({role.name}, {role.warps} warps"
    if role.members is not None:
        text += f" each, i{role.members[0]} over {role.members[1]}"
    return text + ")"


def tile_text(tile: Tile) -> str:
    """``total: float32[4, 16], register``."""
    shape = ", ".join(str(size) for size in tile.shape)
    return f"{tile.name}: {tile.dtype}[{shape}], {tile.space.value}"


def element_at(source: int | Tile, address: Affine) -> str:
    """``s0[64*i1]``: an element of a slot, or of a tile, by its place in memory."""
    name = f"s{source}" if isinstance(source, int) else source.name
    return f"{name}[{form_text(address)}]"


def element_text(tile: Tile, indices: Sequence[Affine]) -> str:
    """``total[i3, i4]``."""
    return f"{tile.name}[{', '.join(form_text(form) for form in indices)}]"


def axes_text(axes: Sequence[Extent]) -> str:
    """``i3 < 4, i4 < 16``."""
    return ", ".join(f"i{axis} < {extent}" for axis, extent in axes)


def guard_text(guard: Guard) -> str:
    """``i3 - 1 >= 0 and …``."""
    return kernel_text.guard_text(guard, value_text, "i")


def form_text(form: Affine) -> str:
    """``64*i0 + i1 + 3``."""
    return kernel_text.affine_text(form, value_text, "i")


def value_text(value: Expression) -> str:
    """A value on one line: what it shares, then itself."""
    values = NamedValues([value], _format)
    return "; ".join([*values.lines, values.text_of(value)])


def _format(value: Expression, text_of: TextOf) -> str:
    if isinstance(value, TileLoad):
        return element_text(value.tile, value.indices)
    if isinstance(value, QuickPower):
        exponent, factor, addend = map(text_of, value.operands)
        return f"quick 2**({exponent} * {factor} + {addend})"
    return kernel_text.format_expression(value, text_of, "i")
