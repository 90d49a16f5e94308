"""What a training run shows: a progress bar, its curve, and its worst mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress, TextColumn

from tetragrad.data import ImageSet

#: Losses and right answers of each step.
Curve = list[tuple[float, float]]

SMOOTHING = 20
LINE_EVERY = 100


class ProgressBar(Progress):
    """How far the training is, with the mean of the newest losses and right answers."""

    def __init__(self, steps: int) -> None:
        figures = "loss {task.fields[loss]:.3f}  {task.fields[right]:.1%} right"
        super().__init__(*Progress.get_default_columns(), TextColumn(figures))
        self.bar = self.add_task("training", total=steps, loss=np.nan, right=0)

    def show(self, curve: Curve) -> None:
        """Move the bar; now and then leave a line that stays."""
        loss, right = np.mean(curve[-SMOOTHING:], axis=0)
        self.update(self.bar, completed=len(curve), loss=loss, right=right)
        if len(curve) % LINE_EVERY == 0:
            self.print(f"step {len(curve)}: loss {loss:.3f}, {right:.1%} right")


def draw_curve(curve: Curve, file: Path) -> None:
    """The loss of each step, and the mean share of wrong answers around it."""
    loss, right = np.transpose(curve)
    window = np.ones(min(SMOOTHING, len(curve)))
    counts = np.convolve(np.ones(len(curve)), window, mode="same")
    wrong = np.convolve(1 - right, window, mode="same") / counts
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(loss, label="loss", linewidth=0.8)
    axes.semilogy(np.where(wrong > 0, wrong, np.nan), label="share wrong")
    axes.set(xlabel="step", title="Training")
    axes.legend()
    figure.savefig(file, dpi=120)


def draw_worst(digits: ImageSet, probabilities: np.ndarray, file: Path) -> None:
    """The mistakes on test images that gave the right answer the least chance."""
    labels, answers = digits.test_labels, probabilities.argmax(axis=1)
    chances = probabilities[np.arange(len(labels)), labels]
    order = np.argsort(chances)
    mistakes = [i for i in order if answers[i] != labels[i]]
    figure = Figure(figsize=(8, 5), layout="constrained")
    places = list(figure.subplots(4, 8).flat)
    for axes in places:
        axes.axis("off")
    for axes, i in zip(places, mistakes, strict=False):
        axes.imshow(digits.test_images[i], cmap="gray_r")
        axes.set_title(f"{labels[i]}, read as {answers[i]}", fontsize=7)
    figure.savefig(file, dpi=120)
