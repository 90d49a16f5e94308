"""Reading values while a program is being recorded changes no gradient.

Random programs run twice: once in one piece, once with some of their values read on
the way, which gives their leaves and what was computed so far other nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.settings import override

SHAPE = (3, 4)

STEPS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda x, y: x * y,
    lambda x, y: x + y.flip(0),
    lambda x, y: x.tanh() - y,
    lambda x, y: (x @ y.T) @ y,
    lambda x, y: x.repeat(1, 1) * 0.5,
    lambda x, y: y.reshape(4, 3).reshape(SHAPE) + x.sum(0),
    lambda x, y: tetragrad.where(x > y, x, y * 2),
    lambda x, y: x.detach() * y,
    lambda x, y: tetragrad.cat([x[:1], y[1:]]).softmax(-1),
)


def gradients(seed: int, reads: bool) -> list[np.ndarray]:
    """The gradients of a random program's leaves, whose values are pending first."""
    random = np.random.default_rng(seed)
    leaves = [
        (Tensor(random.standard_normal(SHAPE)) + 1).requires_grad_() for _ in range(2)
    ]
    values = list(leaves)
    for _ in range(8):
        first, second = random.integers(len(values), size=2)
        step = STEPS[random.integers(len(STEPS))]
        values.append(step(values[first], values[second]))
        chosen = values[random.integers(len(values))]
        if random.random() < 0.4 and reads:
            chosen.detach().numpy()
    loss = sum((value.sum() for value in values[2:]), start=leaves[0].sum())
    found = tetragrad.grad(loss, leaves, allow_unused=True)
    return [entry.numpy() for entry in found if entry is not None]


@pytest.mark.parametrize("seed", range(24))
def test_gradients_are_the_same(seed: int) -> None:
    with override(device="reference"):
        wanted = gradients(seed, reads=False)
        found = gradients(seed, reads=True)
    assert len(found) == len(wanted) >= 1
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
