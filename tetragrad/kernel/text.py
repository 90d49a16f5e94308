"""The readable form of affine addresses, expressions and kernels.

    axes a0 < 512, a1 < 64
    slots s0: float32[32768], s1: float32[32768]
    t1 = max[a1](s0[64*a0 + a1])
    s1[64*a0 + a1] = exp((s0[64*a0 + a1] - t1))

Reductions and values that are long or used twice are named by lines of their own, so
the text of a kernel is as long as the kernel, however much its values are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

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
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode, Output

#: A value used twice is named if it is longer than this.
SHORT = 16
#: Any value longer than this is named.
LONG = 72

SIGNS = {Mode.STORE: "=", Mode.ADD: "+=", Mode.MAX: "max="}
INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "eq": "==",
    "and": "&", "or": "|", "xor": "^", "idiv": "//", "mod": "%",
}  # fmt: skip

TextOf = Callable[[Expression], str]


def kernel_text(kernel: Kernel) -> str:
    """A kernel over several lines: axes, slots, named values, then the outputs."""
    axes = ", ".join(f"a{axis} < {size}" for axis, size in enumerate(kernel.axes))
    slots = ", ".join(
        f"s{slot}: {entry.dtype}[{entry.numel}]"
        for slot, entry in enumerate(kernel.slots)
    )
    lines = [f"axes {axes}".rstrip(), f"slots {slots}"]
    if kernel.scalars:
        scalars = (f"c{slot}: {dtype}" for slot, dtype in enumerate(kernel.scalars))
        lines.append(f"scalars {', '.join(scalars)}")
    named = NamedValues(_roots(kernel.outputs))
    targets = [_output_text(output, named.text_of) for output in kernel.outputs]
    return "\n".join([*lines, *named.lines, *targets])


def expression_text(expression: Expression) -> str:
    """An expression on one line: its named values, then itself."""
    named = NamedValues([expression])
    return "; ".join([*named.lines, named.text_of(expression)])


class NamedValues:
    """The text of some expressions, with names for values that are shared or long.

    ``lines`` define the names in an order that can be read from above.
    """

    def __init__(
        self, roots: Iterable[Expression], format: Callable[..., str] | None = None
    ) -> None:
        self.lines: list[str] = []
        self.texts: dict[Expression, str] = {}
        self.format = format_expression if format is None else format
        roots = list(roots)
        order = list(walk(*roots))
        uses = Counter(child for entry in order for child in entry.children)
        for expression in order:
            text = self.format(expression, self.text_of)
            limit = SHORT if uses[expression] > 1 else LONG
            is_long = len(text) > limit or isinstance(expression, Reduction | Scan)
            if is_long and uses[expression]:
                name = f"t{len(self.lines) + 1}"
                self.lines.append(f"{name} = {text}")
                text = name
            self.texts[expression] = text

    def text_of(self, expression: Expression) -> str:
        """The expression's name, or its short text."""
        return self.texts[expression]


def _roots(outputs: Sequence[Output]) -> list[Expression]:
    forms = [form for output in outputs for form in (output.address, *output.guard)]
    atoms = [atom for form in forms for atom, _ in form.terms]
    values = [output.value for output in outputs]
    return [*values, *(atom for atom in atoms if isinstance(atom, Expression))]


def _output_text(output: Output, text_of: TextOf) -> str:
    where = f"  if {guard_text(output.guard, text_of)}" if output.guard else ""
    target = f"s{output.slot}[{affine_text(output.address, text_of)}]"
    return f"{target} {SIGNS[output.mode]} {text_of(output.value)}{where}"


# --- one form, one expression ---------------------------------------------------------


def affine_text(
    form: Affine, text_of: TextOf = expression_text, axis: str = "a"
) -> str:
    """``8*a0 + a1 - 1``."""
    parts = []
    for atom, coefficient in form.terms:
        name = f"{axis}{atom}" if isinstance(atom, int) else text_of(atom)
        sign = "-" if coefficient < 0 else "+"
        factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
        parts.append((sign, f"{factor}{name}"))
    if form.constant or not parts:
        parts.append(("-" if form.constant < 0 else "+", str(abs(form.constant))))
    first_sign, first = parts[0]
    text = f"-{first}" if first_sign == "-" else first
    return text + "".join(f" {sign} {part}" for sign, part in parts[1:])


def guard_text(guard: Guard, text_of: TextOf = expression_text, axis: str = "a") -> str:
    """``a0 - 1 >= 0 and …``."""
    return " and ".join(f"{affine_text(form, text_of, axis)} >= 0" for form in guard)


def format_expression(expression: Expression, text_of: TextOf, axis: str = "a") -> str:
    """One expression, given the texts of those below it."""

    def form(affine: Affine) -> str:
        return affine_text(affine, text_of, axis)

    def guard(forms: Guard) -> str:
        return guard_text(forms, text_of, axis)

    match expression:
        case Load():
            where = f" if {guard(expression.guard)}" if expression.guard else ""
            return f"s{expression.slot}[{form(expression.address)}{where}]"
        case Literal():
            return f"{expression.value}"
        case Scalar():
            return f"c{expression.slot}"
        case Position():
            return f"({form(expression.form)})"
        case Compute():
            return _compute_text(expression, text_of)
        case Select():
            inside, outside = text_of(expression.inside), text_of(expression.outside)
            return f"select({guard(expression.guard)}, {inside}, {outside})"
        case Reduction():
            axes = ", ".join(f"{axis}{number}" for number in expression.axes)
            name = expression.op.__name__.lower()
            return f"{name}[{axes}]({text_of(expression.body)})"
        case Scan():
            name = f"scan_{expression.op.__name__.lower()}"
            way = "backward " if expression.reverse else ""
            return f"{way}{name}[{axis}{expression.axis}]({text_of(expression.body)})"
        case Quotient():
            return f"(({form(expression.form)}) // {expression.divisor})"
        case Remainder():
            return f"(({form(expression.form)}) % {expression.divisor})"
        case Indexed():
            return f"<{text_of(expression.value)}>"
    return f"{type(expression).__name__}{expression.arguments}"


def _compute_text(compute: Compute, text_of: TextOf) -> str:
    name = compute.op.__name__.lower()
    inputs = [text_of(entry) for entry in compute.inputs]
    if name in INFIX:
        return f"({inputs[0]} {INFIX[name]} {inputs[1]})"
    if name in ("cast", "bitcast"):
        name = str(compute.dtype) if name == "cast" else f"bitcast<{compute.dtype}>"
    return f"{name}({', '.join(inputs)})"
