"""Split axes of which quotients and remainders are taken into those two.

    y[i] = Σ_k x[i // 2, k] * w[i % 2, k],             i < 75
      ->  y[2*q + r] = Σ_k x[q, k] * w[r, k],          q < 38, r < 2, 2*q + r < 75

Where sizes nest, lowering has done so already. They do not where the last position is
cut off, as in the gradient of a strided convolution of an odd image.
"""

from __future__ import annotations

from dataclasses import replace

from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    IndexAtom,
    Load,
    Position,
    Quotient,
    Remainder,
    walk_until,
)
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.prepare.axes import expressions_of
from tetragrad.tile.plans.rewrite import Rewriter


def with_split_axes(kernel: Kernel) -> Kernel:
    """The kernel with such axes in two, where only sums depend on them."""
    divisors = _divisors(kernel)
    for axis, divisor in sorted(divisors.items()):
        if _can_be_split(kernel, axis):
            kernel = _split(kernel, axis, divisor)
    return kernel


def _divisors(kernel: Kernel) -> dict[int, int]:
    """Axes that are divided by one number only, and that number."""
    found: dict[int, set[int]] = {}
    for entry in expressions_of(kernel):
        if isinstance(entry, IndexAtom):
            plain = isinstance(entry, Quotient | Remainder) and _only_axis(entry.form)
            for axis in entry.free_axes:
                found.setdefault(axis, set()).add(entry.divisor if plain else 0)
    return {
        axis: min(divisors)
        for axis, divisors in found.items()
        if len(divisors) == 1 and 0 not in divisors
    }


def _only_axis(form: Affine) -> bool:
    """Whether a form is an axis and nothing else."""
    return form.constant == 0 and len(form.terms) == 1 and form.terms[0][1] == 1


def _can_be_split(kernel: Kernel, axis: int) -> bool:
    """Whether an axis is one of all outputs, and all that reads along it is in sums."""
    sums: dict[Expression, Expression] = {entry: entry for entry in kernel.reductions}
    outside = walk_until(sums, *(output.value for output in kernel.outputs))
    return all(
        axis in output.axes and output.mode is Mode.STORE for output in kernel.outputs
    ) and not any(
        axis in entry.free_axes
        for entry in outside
        if isinstance(entry, Load | Position)
    )


def _split(kernel: Kernel, axis: int, divisor: int) -> Kernel:
    """The axis counts quotients from now on, and a new one remainders."""
    size, rest = kernel.axes[axis], len(kernel.axes)
    quotients = -(-size // divisor)
    sizes = list(kernel.axes)
    sizes[axis] = quotients
    position = axis_form(axis).scale(divisor) + axis_form(rest)
    replacements = {
        entry: axis_form(axis if isinstance(entry, Quotient) else rest)
        for entry in expressions_of(kernel)
        if isinstance(entry, Quotient | Remainder) and axis in entry.free_axes
    }
    rewriter = Rewriter({axis: position}, replacements)  # type: ignore[arg-type]
    exists = (position.scale(-1).shift(size - 1),) if size % divisor else ()

    def split(output: Output) -> Output:
        return replace(
            output,
            address=rewriter.form(output.address),
            value=rewriter(output.value),
            axes=tuple(sorted((*output.axes, rest))),
            guard=(*rewriter.guards(output.guard), *exists),
        )

    outputs = tuple(split(output) for output in kernel.outputs)
    return replace(kernel, axes=(*sizes, divisor), outputs=outputs)
