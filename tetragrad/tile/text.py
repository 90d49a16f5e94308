"""The readable form of a tile program, as DEBUG=4 prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Select,
)
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Commit,
    Copy,
    Extent,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Pin,
    Program,
    Release,
    Role,
    Statement,
    Store,
    Sync,
    Tile,
    TileLoad,
    Wait,
    When,
)

_INDENT = "  "
_SIGNS = {Mode.STORE: "=", Mode.ADD: "+=", Mode.MAX: "max="}
_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "eq": "==",
    "and": "&", "or": "|", "xor": "^", "idiv": "//", "mod": "%",
}  # fmt: skip


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
        yield indent + statement_text(statement)
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
    match statement:
        case Grid():
            return f"Grid({axes_text(statement.axes)})"
        case For():
            unrolled = ", unrolled" if statement.unroll else ""
            return f"For(i{statement.axis} over {statement.extent}{unrolled})"
        case When():
            return f"When({guard_text(statement.guard)})"
        case Alloc():
            return f"Alloc({tile_text(statement.tile)})"
        case Map():
            target = element_text(statement.tile, statement.indices)
            return _collective(statement, f"{target} = ")
        case Fold():
            target = element_text(statement.tile, statement.indices)
            name = statement.op.__name__.lower()
            sign = "+=" if name == "sum" else f"{name}="
            return _collective(statement, f"{target} {sign} ")
        case Store():
            target = f"s{statement.slot}[{form_text(statement.address)}]"
            return _collective(statement, f"{target} {_SIGNS[statement.mode]} ")
        case Mma():
            return _mma_text(statement)
        case Copy():
            source = f"s{statement.slot}[{form_text(statement.address)}]"
            axes = axes_text(statement.axes)
            return f"Copy({statement.tile.name} = {source}) over {axes}"
        case Acquire() | Commit() | Wait() | Release():
            return f"{type(statement).__name__}({statement.channel.name})"
        case Role():
            return f"Role({statement.name}, {statement.warps} warps)"
        case Sync() | Pin():
            return type(statement).__name__
    raise AssertionError(f"no text for {type(statement).__name__}")


def _collective(statement: Map | Fold | Store, target: str) -> str:
    """``Map(t[i] = value) over i < 16 if guard``."""
    name = type(statement).__name__
    text = f"{name}({target}{value_text(statement.value)})"
    if statement.axes:
        text += f" over {axes_text(statement.axes)}"
    if statement.guard:
        text += f" if {guard_text(statement.guard)}"
    return text


def _mma_text(mma: Mma) -> str:
    lhs = ", ".join(form_text(form) for form in mma.lhs_offset)
    rhs = ", ".join(form_text(form) for form in mma.rhs_offset)
    shape = f"{mma.rows}x{mma.columns}x{mma.depth}"
    return (
        f"Mma({mma.accumulator.name} += {mma.lhs.name}[{lhs}] x "
        f"{mma.rhs.name}[{rhs}], {shape})"
    )


def tile_text(tile: Tile) -> str:
    """``total: float32[4, 16], register``."""
    shape = ", ".join(str(size) for size in tile.shape)
    return f"{tile.name}: {tile.dtype}[{shape}], {tile.space.value}"


def element_text(tile: Tile, indices: Sequence[Affine]) -> str:
    """``total[i3, i4]``."""
    return f"{tile.name}[{', '.join(form_text(form) for form in indices)}]"


def axes_text(axes: Sequence[Extent]) -> str:
    """``i3 < 4, i4 < 16``."""
    return ", ".join(f"i{axis} < {extent}" for axis, extent in axes)


def guard_text(guard: Guard) -> str:
    """``i3 - 1 >= 0 and …``."""
    return " and ".join(f"{form_text(form)} >= 0" for form in guard)


def form_text(form: Affine) -> str:
    """``64*i0 + i1 + 3``."""
    text = ""
    for atom, coefficient in form.terms:
        name = f"i{atom}" if isinstance(atom, int) else value_text(atom)
        sign = " - " if coefficient < 0 else " + "
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
        text += f"{sign}{factor}{name}"
    if form.constant or not text:
        sign = " - " if form.constant < 0 else " + "
        text += f"{sign}{abs(form.constant)}"
    return text.removeprefix(" + ") if text.startswith(" + ") else "-" + text[3:]


def value_text(value: Expression) -> str:
    """A value on one line."""
    match value:
        case Load():
            where = f" if {guard_text(value.guard)}" if value.guard else ""
            return f"s{value.slot}[{form_text(value.address)}{where}]"
        case TileLoad():
            return element_text(value.tile, value.indices)
        case Literal():
            return str(value.value)
        case Scalar():
            return f"c{value.slot}"
        case Position():
            return f"({form_text(value.form)})"
        case Compute():
            return _compute_text(value)
        case Select():
            inside, outside = value_text(value.inside), value_text(value.outside)
            return f"({inside} if {guard_text(value.guard)} else {outside})"
        case Reduction():
            axes = ", ".join(f"i{axis}" for axis in value.axes)
            return f"{value.op.__name__.lower()}[{axes}]({value_text(value.body)})"
        case Quotient():
            return f"(({form_text(value.form)}) // {value.divisor})"
        case Remainder():
            return f"(({form_text(value.form)}) % {value.divisor})"
        case Indexed():
            return f"<{value_text(value.value)}>"
    raise AssertionError(f"no text for {type(value).__name__}")


def _compute_text(compute: Compute) -> str:
    name = compute.op.__name__.lower()
    inputs = [value_text(entry) for entry in compute.inputs]
    if name in _INFIX:
        return f"({inputs[0]} {_INFIX[name]} {inputs[1]})"
    if name in ("cast", "bitcast"):
        name = str(compute.dtype) if name == "cast" else f"bitcast<{compute.dtype}>"
    return f"{name}({', '.join(inputs)})"
