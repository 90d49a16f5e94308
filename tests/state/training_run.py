"""A small training run that saves after every step, and goes on where it was killed.

    python training_run.py FOLDER STEPS plain|jit [KILLED_AT]

With KILLED_AT, the process kills itself at that many Python calls after the start of
the saving of the third step. Each line of ``losses.txt`` is a step and its exact loss.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.data import DataLoader, TensorDataset
from tetragrad.nn import functional
from tetragrad.state import load_checkpoint, save_checkpoint

KILLED_IN_STEP = 3


class Run:
    """Everything that a checkpoint must bring back."""

    def __init__(self, folder: Path, *, jitted: bool) -> None:
        tetragrad.manual_seed(7)
        numbers = np.random.default_rng(0)
        samples = numbers.normal(size=(20, 6)).astype(np.float32)
        dataset = TensorDataset(samples, numbers.integers(0, 3, 20))
        self.path = folder / "run.safetensors"
        self.losses = folder / "losses.txt"
        self.step = 0
        self.model = nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(8, 3),
        )
        self.parts: dict[str, Any] = {
            "model": self.model,
            "optimizer": (optimizer := optim.AdamW(self.model.parameters(), lr=0.01)),
            "scheduler": optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9),
            "loader": DataLoader(dataset, batch_size=8, shuffle=True),
        }
        self.update = tetragrad.jit(self.update_once) if jitted else self.update_once

    def update_once(self, samples: Tensor, labels: Tensor) -> Tensor:
        """One step on one batch."""
        self.parts["optimizer"].zero_grad()
        noisy = samples + tetragrad.randn(*samples.shape) * 0.1
        loss = functional.cross_entropy(self.model(noisy), labels)
        loss.backward()
        self.parts["optimizer"].step()
        return loss.detach()

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        if self.path.exists():
            self.step = load_checkpoint(self.path, **self.parts).step or 0

    def save(self) -> None:
        """Keep the state of this step."""
        save_checkpoint(self.path, step=self.step, **self.parts)

    def train(self, steps: int, killed_at: int | None) -> None:
        """Go on until ``steps`` steps are done."""
        while self.step < steps:
            for samples, labels in self.parts["loader"]:
                loss = self.update(samples, labels)
                self.parts["scheduler"].step()
                self.step += 1
                with self.losses.open("a") as file:
                    file.write(f"{self.step} {loss.item().hex()}\n")
                if killed_at is not None and self.step == KILLED_IN_STEP:
                    kill_after(killed_at)
                self.save()
                if self.step == steps:
                    break


def kill_after(calls: int) -> None:
    """End this process, as by SIGKILL, at the n-th call or return from now on."""
    left = calls

    def count(*event: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def main(folder: str, steps: str, mode: str, killed_at: str | None = None) -> None:
    run = Run(Path(folder), jitted=mode == "jit")
    run.resume()
    run.train(int(steps), None if killed_at is None else int(killed_at))


if __name__ == "__main__":
    main(*sys.argv[1:])
