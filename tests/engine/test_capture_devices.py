"""Captured steps on a device that is not the default one."""

from __future__ import annotations

import numpy as np

import tetragrad
from tetragrad import Tensor, optim
from tetragrad.nn import functional


def losses(device: str) -> list[float]:
    """A few captured steps of training; state and numbers are made on the way."""
    draw = np.random.default_rng(0)

    def values(*shape: int) -> Tensor:
        return Tensor(draw.standard_normal(shape).astype(np.float32), device=device)

    first, second = values(6, 5).requires_grad_(), values(5, 3).requires_grad_()
    optimizer = optim.AdamW([first, second], lr=1e-2)

    @tetragrad.jit
    def step(inputs: Tensor, classes: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy((inputs @ first).relu() @ second, classes)
        loss.backward()
        optimizer.step()
        return loss

    classes = Tensor(np.arange(4) % 3, device=device)
    return [step(values(4, 6), classes).item() for _ in range(4)]


def test_steps_stay_on_the_device_of_their_parameters() -> None:
    np.testing.assert_allclose(losses("reference"), losses("cpu"), rtol=1e-5)
