"""Names of kernels that a person can read: ``contract_add_tanh_512x3072x768``."""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Given,
    Indexed,
    Load,
    Reduction,
    Scan,
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode

#: Ops that say nothing about what a kernel is for.
_SILENT = (ops.Cast, ops.Where, ops.Lt, ops.Eq, ops.And, ops.Or, ops.Not, ops.Neg)
_MAXIMUM_WORDS = 4


def kernel_name(kernel: Kernel) -> str:
    """What the kernel does, and the sizes of its axes."""
    words: dict[str, None] = {}
    for output in kernel.outputs:
        if output.mode is not Mode.STORE:
            words["scatter"] = None
        for expression in walk(output.value):
            word = _word(expression)
            if word:
                words[word] = None
    names = list(words)[:_MAXIMUM_WORDS] or ["copy"]
    if kernel.inner:
        names = ["chain", *names[: _MAXIMUM_WORDS - 1]]
    return "_".join([*names, sizes_text(kernel)])


def sizes_text(kernel: Kernel) -> str:
    """The sizes of a kernel's axes; of a chain's rows, how many and how long."""
    if kernel.inner:
        rows = kernel.inner[0].rows
        return f"{rows}x{kernel.inner[0].slot.numel // rows}"
    return "x".join(map(str, kernel.axes)) or "1"


def _word(expression: Expression) -> str:
    match expression:
        case Reduction():
            return "contract" if is_product(expression) else _lower_name(expression.op)
        case Scan():
            return "scan"
        case Given():
            return ""
        case Indexed():
            return "gather"
        case Compute():
            return "" if expression.op in _SILENT else _lower_name(expression.op)
    return ""


def _lower_name(op: type) -> str:
    return op.__name__.lower()


def is_product(reduction: Reduction) -> bool:
    """Whether a sum runs over products of two loads with different axes."""
    body = reduction.body
    while isinstance(body, Compute) and body.op is ops.Cast:
        (body,) = body.inputs
    if not (isinstance(body, Compute) and body.op is ops.Mul):
        return False
    lhs, rhs = (_load_axes(entry) for entry in body.inputs)
    return bool(lhs - rhs) and bool(rhs - lhs)


def _load_axes(expression: Expression) -> set[int]:
    found: set[int] = set()
    for entry in walk(expression):
        if isinstance(entry, Load):
            found |= entry.free_axes
    return found
