"""Storages that a replay overwrites, lent so that it need not look at them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, no_grad, optim
from tetragrad.capture.lending import LONGEST_WAIT, LentStorage
from tetragrad.core.settings import override, settings
from tetragrad.tensor.base import redirect

pytestmark = pytest.mark.skipif(
    settings().device not in ("cpu", "cuda"), reason="no program says what may be"
)

#: So many replays after a touch, and all storages are lent.
STEADY = 5


class Training:
    """Two parameters, and a captured step that overwrites them."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.parameters = [
            nn.Parameter(Tensor(random.standard_normal(shape, np.float32)))
            for shape in ((3, 4), (5,))
        ]
        for parameter in self.parameters:
            parameter.grad = Tensor(np.ones(parameter.shape, np.float32))
        self.optimizer = optim.SGD(self.parameters, lr=0.5, momentum=0.5)
        self.step = tetragrad.jit(lambda: self.optimizer.step())

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    @property
    def are_lent(self) -> bool:
        storages = [entry.storage for entry in self.parameters]
        return all(isinstance(storage, LentStorage) for storage in storages)

    def values(self) -> list[np.ndarray]:
        return [entry.detach().numpy().copy() for entry in self.parameters]


def _hold_array(training: Training) -> Any:
    return training.parameters[0].detach().numpy()


def _hold_pending(training: Training) -> Any:
    return training.parameters[0].detach() * 1.0


def _hold_view(training: Training) -> Any:
    return training.parameters[0].detach()[1:].clone()


def _write(training: Training) -> None:
    with no_grad():
        training.parameters[0].mul_(3.0)


def _write_through_view(training: Training) -> None:
    with no_grad():
        training.parameters[0][1] = 7.0


def _load(training: Training) -> None:
    name = {"0": training.parameters[0], "1": training.parameters[1]}
    module = nn.ParameterDict(name)
    module.load_state_dict({"0": Tensor(np.ones((3, 4), np.float32)),
                            "1": Tensor(np.ones(5, np.float32))})  # fmt: skip


def _load_optimizer(training: Training) -> None:
    state = training.optimizer.state_dict()
    with no_grad():
        training.parameters[1].add_(1.0)
    training.optimizer.load_state_dict(state)


def _show_something_else(training: Training) -> None:
    other = Tensor(np.full((5,), 2.0, np.float32))
    redirect(training.parameters[1], other.storage, other.steps)


def _replace_gradient(training: Training) -> None:
    first, second = training.parameters
    first.grad = Tensor(np.full((3, 4), -2.0, np.float32))
    assert second.grad is not None
    other = Tensor(np.full((5,), 4.0, np.float32))
    redirect(second.grad, other.storage, other.steps)


def _write_in_a_thread(training: Training) -> None:
    thread = threading.Thread(target=_write, args=(training,))
    thread.start()
    thread.join()


def _share(training: Training) -> Any:
    """Another captured function overwrites one parameter, and reads the other."""
    first, second = training.parameters

    @tetragrad.jit
    def other() -> Tensor:
        with no_grad():
            first.add_(second.sum())
        return second.detach() * 2.0

    # Now it is the one whose storages are lent.
    return [other() for _ in range(STEADY)]


TRAPS = [
    _hold_array,
    _hold_pending,
    _hold_view,
    _write,
    _write_through_view,
    _load,
    _load_optimizer,
    _show_something_else,
    _replace_gradient,
    _write_in_a_thread,
    _share,
]


def _run(trap: Callable[[Training], Any]) -> list[np.ndarray]:
    training = Training()
    training.steps(STEADY)
    assert training.are_lent == settings().jit
    held = []
    for _ in range(2):
        found = trap(training)
        held += found if isinstance(found, list) else [found]
        training.steps(STEADY)
    kept = [np.array(entry) for entry in held if entry is not None]
    return [*training.values(), *kept]


@pytest.mark.parametrize("trap", TRAPS)
def test_whatever_happens_between_replays_counts(
    trap: Callable[[Training], Any],
) -> None:
    with override(jit=False):
        wanted = _run(trap)
    for got, value in zip(_run(trap), wanted, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-6)


def test_two_captured_functions_take_turns() -> None:
    def run() -> list[np.ndarray]:
        training = Training()
        for _ in range(12):
            training.steps(1)
            _share(training)
        return training.values()

    with override(jit=False):
        wanted = run()
    for got, value in zip(run(), wanted, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-5)


def test_a_value_that_is_read_is_not_written_over() -> None:
    training = Training()
    training.steps(STEADY)
    before = training.parameters[0].storage.value
    training.step()
    assert training.parameters[0].storage.value is not before
    del before
    training.steps(STEADY)
    assert training.are_lent


def test_a_function_captured_later_sees_lent_storages() -> None:
    training = Training()
    training.steps(STEADY)
    total = tetragrad.jit(lambda: training.parameters[1].detach().sum())
    for _ in range(4):
        training.steps(STEADY)
        wanted = training.values()[1].sum()
        assert float(total().item()) == pytest.approx(float(wanted), rel=1e-6)


def test_storages_that_are_always_touched_are_lent_rarely() -> None:
    training = Training()
    lent = 0
    for _ in range(3 * LONGEST_WAIT):
        training.step()
        lent += training.are_lent
        training.values()
    assert lent < 10
    training.steps(2 * LONGEST_WAIT)
    assert training.are_lent
