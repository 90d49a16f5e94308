"""One training step of the MNIST convolutional network, ours beside PyTorch's.

    python benchmarks/mnist.py [--batch 512] [--steps 8]

The same network, the same weights, Adam, random digits; steps take turns. Prints the
first step from cold (everything compiled) and the median of the others.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def network(nn: Any) -> Any:
    """The convolutional network, in the words that both libraries share."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(),
        nn.Conv2d(32, 32, 5), nn.ReLU(),
        nn.BatchNorm2d(32), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.BatchNorm2d(64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip


def tetragrad_step(images: np.ndarray, labels: np.ndarray, state: Any) -> Callable:
    """A captured step of ours."""
    from tetragrad import Tensor, jit, nn, optim
    from tetragrad.nn import functional

    model = network(nn)
    model.load_state_dict(state)
    optimizer = optim.Adam(model.parameters())
    x, y = Tensor(images).realize(), Tensor(labels).realize()

    @jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return lambda: step(x, y).item()


def torch_step(images: np.ndarray, labels: np.ndarray, model: Any) -> Callable:
    """An eager step of PyTorch's."""
    import torch

    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def step() -> float:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def main() -> None:
    """Take turns and print milliseconds and the ratio."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    import torch

    from tetragrad import set_num_threads

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_num_threads(arguments.threads)
    random = np.random.default_rng(0)
    images = random.random((arguments.batch, 1, 28, 28), dtype=np.float32)
    labels = random.integers(0, 10, arguments.batch)
    theirs = network(torch.nn)
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    steps = {
        "tetragrad": tetragrad_step(images, labels, state),
        "torch": torch_step(images, labels, theirs),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.steps):
        losses = {}
        for name, step in steps.items():
            started = time.perf_counter()
            losses[name] = step()
            times[name].append(time.perf_counter() - started)
        print({name: round(loss, 5) for name, loss in losses.items()}, flush=True)
    for name, samples in times.items():
        median = float(np.median(samples[2:])) * 1e3
        print(f"{name:10} first {samples[0] * 1e3:8.0f} ms, then {median:8.1f} ms")
    ratio = np.median(times["torch"][2:]) / np.median(times["tetragrad"][2:])
    print(f"ratio {ratio:.2f} (above 1: ours is faster)")


if __name__ == "__main__":
    main()
