"""A recurrence has equal kernels at every step, however long it is."""

from __future__ import annotations

import numpy as np

from tetragrad import Tensor, nn
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, without_markers


def distinct_kernels(steps: int) -> int:
    inputs = np.random.default_rng(0).standard_normal((steps, 4, 16))
    model = nn.LSTM(16, 32)
    output, _ = model(Tensor(inputs.astype(np.float32)))
    output.square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    nodes = without_markers([gradient.node for gradient in gradients])
    _, kernels = kernels_of(nodes, device("cpu").target, settings())
    return len({entry.kernel for entry in kernels})


def test_a_longer_sequence_needs_no_other_kernels() -> None:
    assert distinct_kernels(24) <= distinct_kernels(12) <= 24
