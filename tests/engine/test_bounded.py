"""Nothing grows with the number of steps, and memory comes back when tensors die."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import GradientError
from tetragrad.engine import assembly, memory, realize
from tetragrad.graph.node import interned_count
from tetragrad.kernel import expression
from tetragrad.nn import functional
from tetragrad.tensor import base, pending

#: Resident memory may move by this much without anything being kept.
NOISE = 24 << 20


def resident_bytes() -> int:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def kept() -> dict[str, int]:
    """What the process holds on to, by kind."""
    gc.collect()
    return {
        "bytes of tensors": memory.allocated_bytes(),
        "nodes": interned_count(),
        "expressions": len(expression._interned.references),
        "realized": len(realize._realized),
        "schedules": len(realize._schedules),
        "executables": len(assembly._loaded),
        "collectors": len(base.collectors),
        "outstanding": len(list(pending.outstanding)),
        "reverse passes": len(pending.reverse_passes.given),
    }


class Training:
    """A tiny network with everything that a training step usually has."""

    def __init__(self) -> None:
        numbers = np.random.default_rng(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.optimizer = optim.Adam(self.model.parameters(), lr=1e-3)
        self.scheduler = optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9999)
        self.samples = Tensor(numbers.normal(size=(16, 4)).astype(np.float32))
        self.labels = Tensor(numbers.integers(0, 2, 16))

    def step(self, samples: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.model(samples), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def check_steps(training: Training, step: Callable[..., Tensor], count: int) -> None:
    """Steps after the first few must leave nothing behind."""
    for _ in range(20):
        step(training.samples, training.labels).item()
        training.scheduler.step()
    before, resident = kept(), resident_bytes()
    for _ in range(count):
        step(training.samples, training.labels).item()
        training.scheduler.step()
    assert kept() == before
    assert resident_bytes() - resident < NOISE


def test_ten_thousand_captured_steps_keep_nothing() -> None:
    training = Training()
    step = tetragrad.jit(training.step)
    check_steps(training, step, 10_000)
    assert len(step.captures) == 1


def test_plain_steps_keep_nothing() -> None:
    training = Training()
    check_steps(training, training.step, 150)


def test_collected_losses_keep_only_themselves() -> None:
    training = Training()
    for _ in range(5):
        training.step(training.samples, training.labels)
    before = kept()
    losses = [training.step(training.samples, training.labels) for _ in range(50)]
    after = kept()
    # One block of the smallest size, and one node, for each loss.
    assert after["bytes of tensors"] - before["bytes of tensors"] <= 50 * 64
    assert after["nodes"] - before["nodes"] <= 50
    assert len({loss.item() for loss in losses}) == 50


def test_a_step_ends_the_graphs_it_used() -> None:
    weight = Tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)
    loss = (weight * weight).sum()
    loss.backward()
    optimizer.step()
    with pytest.raises(GradientError, match=r"optimiser's step.*test_bounded"):
        loss.backward()
    assert loss.item() == 4.0


def test_a_graph_can_be_kept_beyond_the_step() -> None:
    weight = Tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)
    loss = (weight * weight).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0]


def test_loops_that_read_nothing_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "PENDING_LIMIT", 300)
    monkeypatch.setattr(pending, "_next_check", 0)
    before = kept()
    total = Tensor(0.0)
    for number in range(1_000):
        total = total + Tensor(float(number)).realize()
    assert interned_count() - before["nodes"] < 2 * pending.PENDING_LIMIT
    assert total.item() == 499_500
    del total
    after = kept()
    # Constants are kept for reuse, a limited number of them.
    assert after["nodes"] <= before["nodes"] + 4
    assert after["bytes of tensors"] == before["bytes of tensors"]


def test_an_average_that_nobody_reads_keeps_no_old_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "PENDING_BYTES", 1 << 20)
    monkeypatch.setattr(pending, "_next_bytes", memory.allocated_bytes() + (1 << 20))
    before = memory.allocated_bytes()
    average, weights = Tensor.zeros(10_000), Tensor.ones(10_000).realize()
    for _ in range(200):
        weights = (weights + 1).realize()
        average = average * 0.5 + weights * 0.5
        assert memory.allocated_bytes() - before < 4 << 20
    assert average[0].item() == pytest.approx(200.0)


def test_memory_comes_back_when_tensors_die() -> None:
    # LLVM, and the kernels' code, come to stay.
    assert Tensor.zeros(1_000).realize()[-1].item() == 0
    before, resident = memory.allocated_bytes(), resident_bytes()
    nbytes = 300 << 20
    for _ in range(4):
        big = Tensor.zeros(nbytes // 4).realize()
        assert memory.allocated_bytes() - before >= nbytes
        assert big[-1].item() == 0
        del big
        assert memory.allocated_bytes() - before < 1 << 20
    memory.empty_cache()
    assert resident_bytes() - resident < NOISE


def test_schedules_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realize, "MAXIMUM_SCHEDULES", len(realize._schedules) + 5)
    for size in range(400, 420):
        assert (Tensor.ones(size) + 1).sum().item() == 2 * size
    assert len(realize._schedules) <= realize.MAXIMUM_SCHEDULES


def adds_up(rounds: int) -> float:
    """What an evaluation loop does: nothing in it is read."""
    layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval()
    total = Tensor(0.0)
    with tetragrad.no_grad():
        for number in range(rounds):
            x = Tensor.full((2, 4), float(number)).realize()
            total = total + layers(x).mean() * 0 + number
    return total.item()


def pending_gradient() -> object:
    """A value of which somebody may want the gradient, and one made from it."""
    value = Tensor([2.0], requires_grad=True) * 3
    return value, value.detach() + 1


def pending_pass() -> object:
    """A gradient that nobody has read."""
    weight = Tensor([2.0], requires_grad=True)
    (weight * 3).sum().backward()
    return weight


def stale_mark() -> object:
    """A line that was marked when far more nodes were alive."""
    pending._marked = (stale_mark.__code__, 1)
    pending._marked_nodes = 1 << 30
    return None


@pytest.mark.parametrize(
    "elsewhere", [object, pending_gradient, pending_pass, stale_mark]
)
def test_equal_rounds_of_a_loop_that_is_not_read_compile_once(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[], object]
) -> None:
    """Whatever waits for its gradient in another part of the program."""
    monkeypatch.setattr(pending, "LOOP_LIMIT", 300)
    # As if nothing else had run in this process.
    pending._expect_loops()
    _held = elsewhere()
    sizes: list[int] = []
    compiled = realize._new_schedule

    def watched(nodes: Any, structure: Any, *rest: Any) -> Any:
        sizes.append(structure.nodes)
        return compiled(nodes, structure, *rest)

    monkeypatch.setattr(realize, "_new_schedule", watched)
    for _ in range(3):
        assert adds_up(60) == 1770.0
        before, sizes[:] = list(sizes), []
    assert max(before, default=0) < 600
    # All rounds but the last few are those of before.
    assert adds_up(120) == 7140.0
    assert sum(sizes) < 600


def test_a_step_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "LOOP_LIMIT", 20)
    runs: list[int] = []
    run = realize.run
    monkeypatch.setattr(realize, "run", lambda *args: runs.append(1) or run(*args))
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(6)])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = Tensor.ones(2, 4).realize()
    for step in range(3):
        runs.clear()
        for _ in range(2):
            output = model(x)
            right = (output.argmax(1) == 0).float().mean()
            (output * output).mean().backward()
        assert step == 0 or not runs
        optimizer.step()
        optimizer.zero_grad()
        assert 0 <= right.item() <= 1
