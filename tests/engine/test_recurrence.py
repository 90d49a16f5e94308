"""A recurrence has equal kernels at every step, however long it is."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor, nn
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, without_markers
from tetragrad.kernel import lowering


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


def steps_of_lowering(times: int, monkeypatch: pytest.MonkeyPatch) -> int:
    count = 0
    step = lowering._Lowering.step

    def counted(*arguments: object) -> object:
        nonlocal count
        count += 1
        return step(*arguments)

    scores = np.random.default_rng(0).standard_normal((times, 2, 5))
    x = Tensor(scores.astype(np.float32), requires_grad=True)
    lengths = Tensor([times, times - 2])
    targets = Tensor([[1, 2, 2], [3, 4, 0]])
    log_probs = nn.functional.log_softmax(x, -1)
    nn.functional.ctc_loss(log_probs, targets, lengths, Tensor([3, 2])).backward()
    assert x.grad is not None
    with monkeypatch.context() as patch:
        patch.setattr(lowering._Lowering, "step", counted)
        nodes = without_markers([x.grad.node])
        kernels_of(nodes, device("cpu").target, settings())
    return count


def test_lowering_an_alignment_grows_with_its_length_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short, long = (steps_of_lowering(times, monkeypatch) for times in (8, 16))
    assert long < 4 * short < 100_000
