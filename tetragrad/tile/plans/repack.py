"""Copy an operand that the bulk copy engine cannot bring, or brings slowly.

    y[m, n] = Σ_k x[m, k] * w[k, n]       rows of 777 elements begin anywhere
      ->  scratch[m, k] = x[m, k]         in rows of 832: each begins with a line
          y[m, n] = Σ_k scratch[m, k] * w[k, n]

The copy is a kernel of its own. It moves the operand twice through memory, and pays
where the product reads it often.
"""

from __future__ import annotations

from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.axes import expressions_of, simplify_axes
from tetragrad.tile.plans.choose_roles import (
    LAUNCH_CYCLES,
    LINE_BYTES,
    MEMORY_BYTES_PER_CYCLE,
    MULTIPLICATIONS_PER_CYCLE,
    multiplies,
    role_plans,
)
from tetragrad.tile.plans.contraction import Contraction, hosted_contraction
from tetragrad.tile.plans.cuts import Cut, apply_cut
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.traffic import points_in

#: How much longer a product takes without the bulk copy engine, about, and what each
#: step of so much depth takes however small the block is.
WITHOUT_BULK = 6
STEP_DEPTH, STEP_CYCLES = 64, 2500
#: The gain that is worth a kernel more.
WORTHWHILE = 0.9


@frozen
class Repack:
    """Copy what one load of a kernel reads; ``load`` counts the kernel's loads.

    As a cut does, it divides a kernel into one that runs first, and the rest.
    """

    load: int


def divide(kernel: Kernel, cut: Cut | Repack) -> tuple[Kernel, Kernel]:
    """The kernel that runs first, and the rest."""
    if isinstance(cut, Cut):
        return apply_cut(kernel, cut)
    first, rest = _copied(kernel, _loads_of(kernel)[cut.load])
    return simplify_axes(first), simplify_axes(rest)


def _loads_of(kernel: Kernel) -> list[Expression]:
    return [entry for entry in expressions_of(kernel) if isinstance(entry, Load)]


def _copied(kernel: Kernel, load: Expression) -> tuple[Kernel, Kernel]:
    """The kernel that copies what a load reads, and the one that reads the copy."""
    itemsize = load.dtype.itemsize
    inner, *outer = sorted(
        load.free_axes, key=lambda axis: abs(load.address.coefficient(axis))
    )
    line = LINE_BYTES // itemsize
    address, stride = axis_form(inner), -(-kernel.axes[inner] // line) * line
    for axis in outer:
        address = address + axis_form(axis).scale(stride)
        stride *= kernel.axes[axis]
    number = len(kernel.slots)
    slots = (*kernel.slots, Slot(load.dtype, stride))
    copy = Output(number, address, load, tuple(sorted(load.free_axes)))
    rewriter = Rewriter({}, {load: Load(number, address, (), load.dtype)})
    outputs = tuple(
        replace(output, value=rewriter(output.value)) for output in kernel.outputs
    )
    first = replace(kernel, slots=slots, outputs=(copy,))
    rest = replace(kernel, slots=slots, outputs=outputs)
    return first, rest


def choose_repack(kernel: Kernel, target: Target) -> Repack | None:
    """The first operand of a product that should be copied before it is multiplied."""
    contraction = hosted_contraction(kernel)
    if contraction is None or not multiplies(contraction, target):
        return None
    loads = [load for load in _operands(contraction) if _is_unaligned(kernel, load)]
    if not loads:
        return None
    rest, cycles = kernel, 0.0
    for load in loads:
        _, rest = _copied(rest, load)
        moved = 2 * points_in(kernel, load.free_axes) * load.dtype.itemsize
        cycles += moved / MEMORY_BYTES_PER_CYCLE + LAUNCH_CYCLES
    rest = simplify_axes(rest)
    after = hosted_contraction(rest)
    plans = () if after is None else role_plans(rest, after, target)
    if not plans:
        return None
    cycles += min(plan_cycles for plan_cycles, _ in plans)
    if cycles >= WORTHWHILE * _cycles_as_is(kernel, contraction, target):
        return None
    return Repack(_loads_of(kernel).index(loads[0]))


def _operands(contraction: Contraction) -> list[Expression]:
    """The plain loads among the operands, without what widens them."""
    found = []
    for operand in (contraction.lhs, contraction.rhs):
        if isinstance(operand, Compute) and operand.op is Cast:
            (operand,) = operand.inputs
        is_plain = isinstance(operand, Load) and not operand.guard
        if is_plain and operand.address.is_pure():
            found.append(operand)
    return found


def _is_unaligned(kernel: Kernel, load: Expression) -> bool:
    """Whether some rows of what a load reads begin within a line of memory."""
    line = LINE_BYTES // load.dtype.itemsize
    steps = [load.address.coefficient(axis) for axis in load.free_axes]
    return sorted(step % line for step in steps) != [0] * (len(steps) - 1) + [1]


def _cycles_as_is(kernel: Kernel, contraction: Contraction, target: Target) -> float:
    """What the product takes without a copy."""
    plans = role_plans(kernel, contraction, target)
    if plans:
        return min(cycles for cycles, _ in plans)
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    products = points_in(kernel, axes)
    rate = MULTIPLICATIONS_PER_CYCLE * target.units
    steps = points_in(kernel, contraction.depth) / STEP_DEPTH
    return WITHOUT_BULK * products / rate + steps * STEP_CYCLES + LAUNCH_CYCLES
