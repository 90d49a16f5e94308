"""The kernel's verifier: what must hold of every kernel, with the bounds proof.

Must run after lowering and before a plan is chosen (setting ``verify``). A failure
is a mistake of ours, said with the expression that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import VerifyError
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.bounds import Domain
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
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
from tetragrad.kernel.text import affine_text, guard_text


def verify_kernel(kernel: Kernel) -> None:
    """Raise VerifyError if the kernel breaks an invariant of its level.

    Axes, slots and scalars exist and dtypes agree; every axis of an output's value
    is stored over, or bound by a reduction inside; guards say something; no two
    points store to one element; every address is proved to lie in its buffer.
    """
    for axis, size in enumerate(kernel.axes):
        if size < 2:
            raise VerifyError(f"axis a{axis} has size {size}: it needs no loop")
    _verify_slots(kernel)
    values = [output.value for output in kernel.outputs]
    forms = [
        form for output in kernel.outputs for form in (output.address, *output.guard)
    ]
    for expression in walk(*values, *_atoms(forms)):
        _verify_axes_exist(kernel, expression.forms, expression)
        _verify_expression(kernel, expression)
    for output in kernel.outputs:
        _verify_output(kernel, output)


def _atoms(forms: Iterable[Affine]) -> Iterator[Expression]:
    """The expressions in affine forms."""
    for form in forms:
        for atom, _ in form.terms:
            if isinstance(atom, Expression):
                yield atom


# --- outputs -----------------------------------------------------------------------


def _verify_slots(kernel: Kernel) -> None:
    """Each output has a slot of its own."""
    stored = [output.slot for output in kernel.outputs]
    for slot in stored:
        if slot not in range(len(kernel.slots)):
            raise VerifyError(
                f"an output stores to s{slot}; there are {len(kernel.slots)} slots"
            )
        if stored.count(slot) > 1:
            raise VerifyError(f"two outputs store to s{slot}")


def _verify_output(kernel: Kernel, output: Output) -> None:
    name = f"the store to s{output.slot}"
    held = kernel.slots[output.slot].dtype
    if output.value.dtype is not held:
        raise VerifyError(f"{name} has {output.value.dtype}; the slot holds {held}")
    forms = (output.address, *output.guard)
    _verify_axes_exist(kernel, forms, name)
    free = output.value.free_axes.union(*(form.axes() for form in forms))
    loose = free - set(output.axes)
    if loose:
        raise VerifyError(f"{name} depends on {_listed(loose)}, but runs over others")
    _verify_guard(kernel, output.guard, name)
    _verify_address(kernel, output.address, output.guard, output.slot, name)
    if output.mode is Mode.STORE:
        _verify_injective(kernel, output, name)


def _verify_injective(kernel: Kernel, output: Output, name: str) -> None:
    """No two points store to one element: each coefficient steps over the smaller.

    With coefficients in order, Σ_{j<i} |c_j|·(size_j - 1) < |c_i| is sufficient.
    """
    parts = [(abs(output.address.coefficient(axis)), axis) for axis in output.axes]
    span = 0
    for part, axis in sorted(parts):
        if part <= span:
            text = affine_text(output.address)
            raise VerifyError(f"{name}, [{text}], overwrites elements along a{axis}")
        span += part * (kernel.axes[axis] - 1)


# --- forms and guards --------------------------------------------------------------


def _verify_axes_exist(kernel: Kernel, forms: Iterable[Affine], where: object) -> None:
    for form in forms:
        for atom, _ in form.terms:
            if isinstance(atom, int) and atom not in range(len(kernel.axes)):
                raise VerifyError(
                    f"{where} uses axis a{atom}; there are {len(kernel.axes)} axes"
                )


def _verify_guard(kernel: Kernel, guard: Guard, where: object) -> None:
    """A condition that always holds is left out; one that never does is no guard."""
    for form in guard:
        low, high = form.range(kernel.axes)
        if low >= 0:
            raise VerifyError(f"{where}: the guard {guard_text((form,))} always holds")
        if high < 0:
            raise VerifyError(f"{where}: the guard {guard_text((form,))} never holds")
    if len(set(guard)) < len(guard):
        raise VerifyError(f"{where} repeats a guard")


def _verify_address(
    kernel: Kernel, address: Affine, guard: Guard, slot: int, where: object
) -> None:
    """Prove that an address lies in its slot wherever the guard holds."""
    numel = kernel.slots[slot].numel
    domain = Domain(kernel.axes, guard)
    if not domain.proves(address):
        raise VerifyError(f"nothing proves that the address of {where} is >= 0")
    if not domain.proves(address.scale(-1).shift(numel - 1)):
        raise VerifyError(f"nothing proves that the address of {where} is < {numel}")
    _verify_divisions(domain, _atoms((address, *guard)))


def _verify_divisions(domain: Domain, atoms: Iterable[Expression]) -> None:
    """Division rounds towards zero on some devices, so that forms must be >= 0."""
    for atom in atoms:
        if not isinstance(atom, Quotient | Remainder):
            continue
        if not domain.proves(atom.form):
            raise VerifyError(f"nothing proves that {atom} divides a form >= 0")
        if isinstance(atom, Quotient):
            last = atom.limit * atom.divisor - 1
            if not domain.proves(atom.form.scale(-1).shift(last)):
                raise VerifyError(f"nothing proves that {atom} is < {atom.limit}")
        _verify_divisions(domain, atom.children)


def _listed(axes: Iterable[int]) -> str:
    return ", ".join(f"a{axis}" for axis in sorted(axes))


# --- expressions -------------------------------------------------------------------


def _verify_expression(kernel: Kernel, expression: Expression) -> None:
    match expression:
        case Compute():
            _verify_compute(expression)
        case Load():
            _verify_load(kernel, expression)
        case Scalar():
            _verify_scalar(kernel, expression)
        case Position():
            _verify_position(kernel, expression)
        case Select():
            inside, outside = expression.inside.dtype, expression.outside.dtype
            if inside is not outside:
                raise VerifyError(f"{expression} is {inside} or {outside}")
            _verify_guard(kernel, expression.guard, expression)
        case Reduction():
            _verify_bound(kernel, expression.axes, expression)
        case Scan():
            _verify_bound(kernel, (expression.axis,), expression)
        case Indexed():
            dtype = expression.value.dtype
            if not dtype.is_integer:
                raise VerifyError(f"{expression} is an index of dtype {dtype}")


def _verify_load(kernel: Kernel, load: Load) -> None:
    slot = load.slot
    if slot not in range(len(kernel.slots)):
        raise VerifyError(f"{load} reads s{slot}; there are {len(kernel.slots)} slots")
    held = kernel.slots[slot].dtype
    if load.dtype is not held:
        raise VerifyError(f"{load} has {load.dtype}; the slot holds {held}")
    if any(slot == output.slot for output in kernel.outputs):
        raise VerifyError(f"{load} reads a slot that the kernel stores to")
    _verify_guard(kernel, load.guard, load)
    _verify_address(kernel, load.address, load.guard, slot, load)


def _verify_scalar(kernel: Kernel, scalar: Scalar) -> None:
    count = len(kernel.scalars)
    if scalar.slot not in range(count):
        raise VerifyError(f"{scalar} does not exist; there are {count} scalars")
    given = kernel.scalars[scalar.slot]
    if scalar.dtype is not given:
        raise VerifyError(f"{scalar} has {scalar.dtype}; {given} is given at launch")


def _verify_position(kernel: Kernel, position: Position) -> None:
    """Positions are exact wherever their value is used: they never wrap."""
    dtype, form = position.dtype, position.form
    if not dtype.is_integer:
        raise VerifyError(f"{position} counts in {dtype}")
    _verify_divisions(Domain(kernel.axes), _atoms((form,)))
    low, high = form.range(kernel.axes)
    limits = np.iinfo(dtype.numpy)
    if low >= limits.min and high <= limits.max:
        return
    fits = form.shift(-int(limits.min)), form.scale(-1).shift(int(limits.max))
    for guard in _guards_of(kernel, position):
        domain = Domain(kernel.axes, guard)
        if not all(domain.proves(entry) for entry in fits):
            raise VerifyError(
                f"{position} is {low} to {high}, beyond what {dtype} holds"
            )


def _guards_of(kernel: Kernel, wanted: Expression) -> Iterator[Guard]:
    """What holds at each use of an expression; once for each that is different."""
    pending: list[tuple[Expression, Guard]] = []
    for output in kernel.outputs:
        pending.append((output.value, output.guard))
        pending += [(atom, ()) for atom in _atoms((output.address, *output.guard))]
    seen = set(pending)
    while pending:
        expression, guard = pending.pop()
        if expression is wanted:
            yield guard
        uses = [(child, guard) for child in expression.children]
        if isinstance(expression, Select):
            uses = [(atom, guard) for atom in _atoms(expression.guard)]
            uses.append((expression.inside, guard + expression.guard))
            uses.append((expression.outside, guard))
        new = [use for use in uses if use not in seen]
        seen.update(new)
        pending += new


def _verify_bound(kernel: Kernel, axes: tuple[int, ...], where: Expression) -> None:
    """A reduction runs over axes that exist, each once."""
    if not axes or len(set(axes)) < len(axes):
        raise VerifyError(f"{where} runs over no axis, or over one twice")
    missing = set(axes) - set(range(len(kernel.axes)))
    if missing:
        raise VerifyError(
            f"{where} runs over {_listed(missing)}; there are {len(kernel.axes)} axes"
        )


def _verify_compute(compute: Compute) -> None:
    """The op has as many inputs as it takes, of dtypes that give the result's."""
    given = tuple(entry.dtype for entry in compute.inputs)
    wanted = sum(name != "target_dtype" for name in compute.op.fields)
    name = compute.op.__name__.lower()
    if len(given) != wanted:
        raise VerifyError(f"{name} takes {wanted} values; it is given {len(given)}")
    if _result_dtype(compute.op, given, compute.dtype) is not compute.dtype:
        listed = ", ".join(map(str, given))
        raise VerifyError(f"{name} of {listed} is not {compute.dtype}")


def _result_dtype(
    op: type[ops.Elementwise], given: tuple[DType, ...], said: DType
) -> DType | None:
    """The dtype of the result; None where the inputs do not fit."""
    if op is ops.Cast:
        return said
    if op is ops.Bitcast:
        return said if said.bits == given[0].bits else None
    if op is ops.Where:
        condition, inside, outside = given
        return inside if condition.is_bool and inside is outside else None
    if any(dtype is not given[0] for dtype in given):
        return None
    return dtypes.bool_ if issubclass(op, ops.Comparison) else given[0]
