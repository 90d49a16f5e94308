"""Take a device's own power of two where its error is lost.

It is lost where the result is rounded to 16 bits, and nothing in between makes a
relative error larger: products, quotients, and sums of what is positive. And it is lost
in a sum of exponentials below their greatest one,

    Σ_j exp(x[j] - max_k x[k])

for that sum is at least 1, and what is rounded of an exponent t changes it by no more
than t * 2**t units in the last place, which is less than one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as op
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Literal,
    Reduction,
    Select,
    atoms_of,
    literal,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import QuickPower
from tetragrad.tile.plans.prepare.axes import expressions_of
from tetragrad.tile.plans.rewrite import Rewriter

_FACTORS = {op.Exp: math.log2(math.e), op.Exp2: 1.0}

Users = dict[Expression, list[Expression | None]]
"""What reads each value; None stands for an output, an address or a condition."""


def with_quick_powers(kernel: Kernel) -> Kernel:
    """The kernel with powers whose error nobody sees in place of exponentials."""
    entries = expressions_of(kernel)
    if not any(_is_exponential(entry) for entry in entries):
        return kernel
    users = _users_of(kernel, entries)
    tolerant = _rounded_later(entries, users)
    quick: dict[Expression, Expression] = {
        entry: _power(entry)
        for entry in entries
        if _is_exponential(entry) and (entry in tolerant or _is_below(entry, users))
    }
    if not quick:
        return kernel
    rewriter = Rewriter({}, quick)
    outputs = tuple(
        replace(output, value=rewriter(output.value)) for output in kernel.outputs
    )
    return replace(kernel, outputs=outputs)


def _is_exponential(entry: Expression) -> bool:
    return (
        isinstance(entry, Compute)
        and entry.op in _FACTORS
        and entry.dtype is dtypes.float32
    )


def _power(entry: Expression) -> Expression:
    factor = literal(_FACTORS[entry.op], dtypes.float32)
    return QuickPower(entry.inputs[0], factor, literal(0.0, dtypes.float32))


def _users_of(kernel: Kernel, entries: list[Expression]) -> Users:
    users: Users = {entry: [] for entry in entries}
    for output in kernel.outputs:
        users[output.value].append(None)
        for atom in atoms_of((output.address, *output.guard)):
            users[atom].append(None)
    for entry in entries:
        operands = set(entry.operands)
        for part in entry.children:
            users[part].append(entry if part in operands else None)
    return users


def _rounded_later(entries: list[Expression], users: Users) -> set[Expression]:
    """Values in float32 that reach results only by way of a rounding to 16 bits."""
    found: set[Expression] = set()
    for entry in reversed(entries):
        readers = users[entry]
        if readers and all(_forgives(reader, entry, found) for reader in readers):
            found.add(entry)
    return found


def _forgives(
    reader: Expression | None, value: Expression, found: set[Expression]
) -> bool:
    """Whether a reader rounds a value, or hands on no more than its relative error."""
    if isinstance(reader, Compute) and reader.op is op.Cast:
        return reader.dtype.is_floating_point and reader.dtype.bits == 16
    if reader not in found:
        return False
    if isinstance(reader, Reduction):
        return reader.op is Sum and _is_positive(value)
    if isinstance(reader, Select):
        return True
    if not isinstance(reader, Compute):
        return False
    if reader.op is op.Add:
        return all(_is_positive(entry) for entry in reader.inputs)
    return reader.op in (op.Mul, op.Div, op.Reciprocal)


def _is_positive(value: Expression) -> bool:
    """Whether a value is a power or a number, so that sums of it do not cancel."""
    if isinstance(value, Select):
        return all(_is_positive(entry) for entry in (value.inside, value.outside))
    if isinstance(value, Literal):
        return bool(value.value >= 0)
    return _is_exponential(value)


def _is_below(entry: Expression, users: Users) -> bool:
    """Whether a power of what is at most 0 is added up over a row that reaches 0."""
    exponent = entry.inputs[0]
    if not isinstance(exponent, Compute) or exponent.op is not op.Sub:
        return False
    value, top = exponent.inputs
    if not isinstance(top, Reduction) or top.op is not Max or top.body != value:
        return False
    return all(
        isinstance(reader, Reduction)
        and reader.op is Sum
        and set(reader.axes) == set(top.axes)
        for reader in users[entry]
    )
