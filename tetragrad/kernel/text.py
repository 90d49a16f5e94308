"""The readable form of affine addresses, expressions and kernels."""

from __future__ import annotations

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
    Scan,
    Select,
)
from tetragrad.kernel.ir import Kernel, Mode


def affine_text(form: Affine) -> str:
    """``8*a0 + a1 - 1``."""
    parts = []
    for atom, coefficient in form.terms:
        name = f"a{atom}" if isinstance(atom, int) else expression_text(atom)
        sign = "-" if coefficient < 0 else "+"
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
        parts.append((sign, f"{factor}{name}"))
    if form.constant or not parts:
        parts.append(("-" if form.constant < 0 else "+", str(abs(form.constant))))
    first_sign, first = parts[0]
    text = f"-{first}" if first_sign == "-" else first
    return text + "".join(f" {sign} {part}" for sign, part in parts[1:])


def guard_text(guard: Guard) -> str:
    """``a0 - 1 >= 0 and …``."""
    return " and ".join(f"{affine_text(form)} >= 0" for form in guard)


def expression_text(expression: Expression) -> str:
    """An expression on one line, fully written out."""
    match expression:
        case Load():
            where = f" if {guard_text(expression.guard)}" if expression.guard else ""
            return f"s{expression.slot}[{affine_text(expression.address)}{where}]"
        case Literal():
            return f"{expression.value}"
        case Scalar():
            return f"c{expression.slot}"
        case Position():
            return f"({affine_text(expression.form)})"
        case Compute():
            inputs = ", ".join(expression_text(entry) for entry in expression.inputs)
            name = expression.op.__name__.lower()
            if name in ("cast", "bitcast"):
                name = f"{name}<{expression.dtype}>"
            return f"{name}({inputs})"
        case Select():
            guard = guard_text(expression.guard)
            inside = expression_text(expression.inside)
            return f"select({guard}, {inside}, {expression_text(expression.outside)})"
        case Reduction():
            axes = ", ".join(f"a{axis}" for axis in expression.axes)
            name = expression.op.__name__.lower()
            return f"{name}[{axes}]({expression_text(expression.body)})"
        case Scan():
            name = expression.op.__name__.lower()
            way = "backward " if expression.reverse else ""
            body = expression_text(expression.body)
            return f"{way}scan_{name}[a{expression.axis}]({body})"
        case Quotient():
            return f"(({affine_text(expression.form)}) // {expression.divisor})"
        case Remainder():
            return f"(({affine_text(expression.form)}) % {expression.divisor})"
        case Indexed():
            return f"<{expression_text(expression.value)}>"
    return f"{type(expression).__name__}{expression.arguments}"


def kernel_text(kernel: Kernel) -> str:
    """A kernel over several lines: axes, slots, then a line for each output."""
    axes = ", ".join(f"a{axis} < {size}" for axis, size in enumerate(kernel.axes))
    slots = ", ".join(
        f"s{slot}: {entry.dtype}[{entry.numel}]"
        for slot, entry in enumerate(kernel.slots)
    )
    lines = [f"axes {axes}", f"slots {slots}"]
    for output in kernel.outputs:
        sign = {Mode.STORE: "=", Mode.ADD: "+=", Mode.MAX: "max="}[output.mode]
        where = f"  if {guard_text(output.guard)}" if output.guard else ""
        target = f"s{output.slot}[{affine_text(output.address)}]"
        lines.append(f"{target} {sign} {expression_text(output.value)}{where}")
    return "\n".join(lines)
