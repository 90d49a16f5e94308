"""The elementary functions on vectors of registers, and what is kept out of line.

All are straight lines of arithmetic from ``tile/functions.py``, which LLVM puts in
place of each call. Next to products it does not: it would load all constants of the
function before the outermost loop, and keep the products' totals on the stack instead.
The reduction of huge angles, too, is so long that it stays a function of its own,
called when some lane needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.backends.cpu.emit.vector import (
    Builder,
    Value,
    constant,
    mangled,
    register_dtype,
    register_type,
    type_of,
)
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as op
from tetragrad.tile import functions
from tetragrad.tile.arithmetic import absolute, format_of

if TYPE_CHECKING:
    from tetragrad.backends.cpu.emit.operations import Operations


@frozen
class _Written:
    """The text of a function: with all that it calls, and what it declares."""

    functions: dict[str, str]
    declarations: set[str]


#: Each function's text is the same in all kernels.
_texts: dict[tuple[str, frozenset[str]], _Written] = {}


def elementary(
    ops: Operations,
    kind: type[op.Elementwise],
    dtype: DType,
    operands: tuple[Value, ...],
) -> Value:
    """A call of an elementary function, rounded to its dtype.

    Half-width floats are computed in their float32 carrier and rounded once.
    """
    carrier, builder = register_dtype(dtype), ops.builder
    operands = builder.alike(*operands)
    lanes = operands[0].lanes
    whole = register_type(carrier, lanes)
    name = f"{kind.__name__.lower()}_{mangled(carrier, lanes)}"
    key = name, ops.features
    written = _texts.get(key)
    if written is None:
        places = [f"%operand{place}" for place in range(len(operands))]
        parameters = [Value(place, carrier, lanes) for place in places]
        written = _texts[key] = _write(ops, name, kind, parameters)
    builder.functions |= written.functions
    builder.declarations |= written.declarations
    arguments = ", ".join(f"{whole} {entry.text}" for entry in operands)
    where = " noinline" if builder.keeps_calls else ""
    text = builder.assign(f"call {whole} @{name}({arguments}){where}")
    return ops.rounded(Value(text, dtype, lanes))


def _write(
    ops: Operations, name: str, kind: type[op.Elementwise], parameters: list[Value]
) -> _Written:
    def body(inner: Builder) -> Value:
        inner_ops = ops.with_builder(inner)
        if kind in (op.Sin, op.Cos):
            return _of_angle(inner_ops, kind, parameters[0])
        return functions.BY_OP[kind](inner_ops, *parameters)

    builder = Builder()
    types = ", ".join(f"{type_of(entry)} {entry.text}" for entry in parameters)
    builder.inlined(name, types, body)
    return _Written(builder.functions, builder.declarations)


def _of_angle(ops: Operations, kind: type[op.Elementwise], angle: Value) -> Value:
    """Sine or cosine: the short way, unless some lane's angle is too large for it."""
    builder, whole = ops.builder, type_of(angle)
    slot = builder.stack_slot(whole, 1)
    near = functions.BY_OP[kind](ops, angle, moderate=True)
    builder.line(f"store {whole} {near.text}, ptr {slot}")
    limit = constant(format_of(ops, angle).moderate_angle, angle.dtype)
    is_moderate = ops.lt(absolute(ops, angle), limit)
    after = builder.jump_if(ops.any_lane(ops.invert(is_moderate)))
    name = _any_angle_function(ops, kind, angle.dtype, angle.lanes)
    far = builder.assign(f"call {whole} {name}({whole} {angle.text})")
    builder.line(f"store {whole} {far}, ptr {slot}")
    builder.end_jump(after)
    text = builder.assign(f"load {whole}, ptr {slot}")
    return Value(text, angle.dtype, angle.lanes)


def _any_angle_function(
    ops: Operations, kind: type[op.Elementwise], dtype: DType, lanes: int
) -> str:
    """The name of a function for angles of any size; written at its first use."""
    name = f"@any_{kind.__name__.lower()}_{mangled(dtype, lanes)}"
    if name not in ops.builder.functions:
        inner = Builder()
        angle = Value("%angle", dtype, lanes)
        result = functions.BY_OP[kind](ops.with_builder(inner), angle)
        whole = type_of(angle)
        inner.line(f"ret {whole} {result.text}")
        lines = [f"define internal {whole} {name}({whole} %angle) #0 {{", "entry:"]
        ops.builder.functions[name] = "\n".join([*lines, *inner.block.lines, "}"])
        ops.builder.declarations |= inner.declarations
    return name
