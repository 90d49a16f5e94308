"""The two pictures of a training run: how it went, and what it got most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tetragrad.data import ImageSet


def draw_curve(curve: list[tuple[float, float]], file: Path) -> None:
    """Loss and errors over the steps."""
    loss, right = np.transpose(curve)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(loss, label="loss", linewidth=0.8)
    axes.semilogy(np.maximum(1 - right, 1e-4), ".", label="share wrong", markersize=2)
    axes.set(xlabel="step", title="Training")
    axes.legend()
    figure.savefig(file, dpi=120)


def draw_worst(digits: ImageSet, probabilities: np.ndarray, file: Path) -> None:
    """The test images whose right answer got the least probability."""
    labels = digits.test_labels
    chance = probabilities[np.arange(len(labels)), labels]
    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes, i in zip(figure.subplots(4, 8).flat, np.argsort(chance), strict=False):
        axes.imshow(digits.test_images[i], cmap="gray_r")
        axes.set_title(f"{labels[i]}, read as {probabilities[i].argmax()}", fontsize=7)
        axes.axis("off")
    figure.savefig(file, dpi=120)
