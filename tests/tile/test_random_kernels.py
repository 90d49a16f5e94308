"""Random small kernels: whatever the plan, the program computes what they mean."""

from __future__ import annotations

import random

import pytest

from tests.tile.kernels import TARGETS, check, compute, kernel_of, load
from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    Load,
    Reduction,
    Scan,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output

FLOAT = dtypes.float32
SIZES = [1, 2, 3, 5, 8, 17, 20]
BINARY = [ops.Add, ops.Mul, ops.Sub, ops.Maximum]


class RandomKernel:
    """Grows expressions over a few axes, and the slots that they load from."""

    def __init__(self, seed: int) -> None:
        self.choices = random.Random(seed)
        count = self.choices.randint(1, 4)
        self.axes = tuple(self.choices.choice(SIZES) for _ in range(count))
        self.sizes: list[int] = []

    def address(self, axes: list[int]) -> tuple[Affine, int]:
        """A dense address over some axes, outermost first, and its extent."""
        form, stride = ZERO, 1
        for axis in reversed(axes):
            form = form + axis_form(axis).scale(stride)
            stride *= self.axes[axis]
        return form, stride

    def some_axes(self, share: float) -> list[int]:
        """Some axes, in any order."""
        chosen = [
            axis for axis in range(len(self.axes)) if self.choices.random() < share
        ]
        if self.choices.random() < 0.5:
            self.choices.shuffle(chosen)
        return chosen

    def load(self) -> Expression:
        """A load, sometimes with an offset or a border of zeros."""
        axes = self.some_axes(0.75)
        form, size = self.address(axes)
        offset = self.choices.choice([0, 0, 2])
        slot = len(self.sizes)
        self.sizes.append(size + offset)
        if axes and self.choices.random() < 0.25:
            guard = (axis_form(self.choices.choice(axes)).shift(-1),)
            inside = Load(slot, form.shift(offset), guard, FLOAT)
            return Select(guard, inside, literal(0.0, FLOAT))
        return load(slot, form.shift(offset))

    def value(self, depth: int) -> Expression:
        """An expression up to ``depth`` operations deep."""
        kind = self.choices.random()
        if depth == 0 or kind < 0.2:
            return self.load()
        if kind < 0.6:
            lhs, rhs = self.value(depth - 1), self.value(depth - 1)
            return compute(self.choices.choice(BINARY), lhs, rhs)
        body = self.value(depth - 1)
        axes = [axis for axis in sorted(body.free_axes) if self.choices.random() < 0.5]
        if kind < 0.7 or not axes:
            return compute(ops.Tanh, body)
        if kind < 0.77:
            return Scan(Sum, axes[0], body, self.choices.random() < 0.5)
        return Reduction(self.choices.choice([Sum, Sum, Max]), tuple(axes), body)

    def kernel(self) -> Kernel:
        """One or two outputs, dense over their axes in any order."""
        values = [self.value(self.choices.randint(1, 3)) for _ in range(2)]
        outputs = []
        for value in values[: self.choices.randint(1, 2)]:
            axes = sorted(value.free_axes | set(self.some_axes(0.3)))
            order = self.choices.sample(axes, len(axes))
            outputs.append((value, tuple(axes), *self.address(order)))
        slots = [(FLOAT, size) for size in self.sizes]
        slots += [(FLOAT, size) for *_, size in outputs]
        stores = [
            Output(len(self.sizes) + number, form, value, axes)
            for number, (value, axes, form, _) in enumerate(outputs)
        ]
        return kernel_of(self.axes, slots, *stores)


@pytest.mark.parametrize("seed", range(60))
def test_random_kernel(seed):
    target = list(TARGETS.values())[seed % len(TARGETS)]
    check(RandomKernel(seed).kernel(), target, tolerance=1e-3)
