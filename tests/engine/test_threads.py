"""Threads, forked and spawned processes compute what one thread alone computes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.nn import functional

STEPS = 8


def losses(seed: int, jitted: bool = False) -> list[float]:
    """Train a small network; its losses depend on the seed only."""
    numbers = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with tetragrad.no_grad():
        for parameter in model.parameters():
            start = numbers.normal(size=parameter.shape).astype(np.float32)
            parameter.copy_(Tensor(start))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    samples = Tensor(numbers.normal(size=(16, 4)).astype(np.float32))
    labels = Tensor(numbers.integers(0, 2, 16))

    def step(samples: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(samples), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    update = tetragrad.jit(step) if jitted else step
    return [update(samples, labels).item() for _ in range(STEPS)]


def in_threads(count: int, work: object, *arguments: object) -> dict[int, object]:
    """What ``work(number, *arguments)`` gives in each of several threads."""
    found: dict[int, object] = {}

    def run(number: int) -> None:
        found[number] = work(number, *arguments)  # type: ignore[operator]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a deadlock"
    return found


@pytest.mark.parametrize("jitted", [False, True])
def test_threads_train_models_of_their_own(jitted: bool) -> None:
    expected = {seed: losses(seed) for seed in range(3)}
    assert in_threads(3, losses, jitted) == expected


def test_threads_share_a_model() -> None:
    model = nn.Linear(4, 3)
    inputs = [Tensor(np.full((2, 4), number, np.float32)) for number in range(4)]
    expected = [model(entry).tolist() for entry in inputs]
    captured = tetragrad.jit(model)

    def infer(number: int, function: object) -> bool:
        return all(
            function(inputs[(turn + number) % 4]).tolist()  # type: ignore[operator]
            == expected[(turn + number) % 4]
            for turn in range(20)
        )

    for function in (model, captured):
        assert in_threads(4, infer, function) == dict.fromkeys(range(4), True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_a_forked_child_computes() -> None:
    expected = losses(1)
    child = os.fork()
    if child == 0:
        product = Tensor.ones(300, 300) @ Tensor.ones(300, 300)
        same = losses(1) == expected and product.sum().item() == 300.0**3
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert losses(1) == expected


def test_spawned_processes_compute() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(losses, [2]) == [losses(2)]


INTERRUPTED = """
import os, random, signal, sys, threading, time
import numpy as np
from tetragrad import Tensor
from tetragrad.data import DataLoader, TensorDataset

moments = random.Random(3)

def compile_something():
    size = moments.randrange(3, 60)
    values = Tensor.ones(size, size + 1)
    ((values @ values.T).softmax(-1) + values.sum(1)).cumsum(0).tolist()

def run_kernels():
    values = Tensor.ones(500, 500).realize()
    for _ in range(10):
        (values @ values).sum().item()

def wait_for_batches():
    for _ in DataLoader(TensorDataset(np.arange(600.0)), batch_size=2):
        pass

def interrupt():
    time.sleep(moments.random() * 0.3)
    os.kill(os.getpid(), signal.SIGINT)

caught = 0
for attempt in range(12):
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        (compile_something, run_kernels, wait_for_batches)[attempt % 3]()
        thread.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        caught += 1
    thread.join()
    values = Tensor.arange(12.0).reshape(3, 4)
    assert (values @ values.T).sum(1).tolist() == [114.0, 378.0, 642.0]
    assert [len(b) for (b,) in DataLoader(TensorDataset(np.arange(4.0)))] == [1] * 4
assert caught == 12, caught
assert threading.active_count() == 1
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_interrupts_leave_the_process_usable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "TETRAGRAD_DISK_CACHE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
