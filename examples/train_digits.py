"""Train a convolutional network to read handwritten digits, and show its mistakes.

    python examples/train_digits.py             train; the results are in runs/digits
    python examples/train_digits.py --resume    go on where a killed run stopped

The digits are MNIST where it can be found (see tetragrad.data), and otherwise the
1,797 that scikit-learn carries, enlarged to the same size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from digit_reports import Curve, ProgressBar, draw_curve, draw_worst

import tetragrad
from tetragrad import Tensor, data, nn, optim, state
from tetragrad.nn import functional as F

CHECKPOINT_EVERY = 100
TEST_BATCH = 500


def network() -> nn.Module:
    """From 28 x 28 pixels, over 10 x 10 and 3 x 3 places, to a score per digit."""

    def block(inputs: int, outputs: int, size: int) -> list[nn.Module]:
        first = nn.Conv2d(inputs, outputs, size)
        second = nn.Conv2d(outputs, outputs, size)
        rest = [nn.BatchNorm2d(outputs), nn.MaxPool2d(2)]
        return [first, nn.ReLU(), second, nn.ReLU(), *rest]

    head = [nn.Flatten(), nn.Linear(64 * 3 * 3, 10)]
    return nn.Sequential(*block(1, 32, 5), *block(32, 64, 3), *head)


class Training:
    """A network, and everything else that changes while it learns."""

    def __init__(self, digits: data.ImageSet, options: argparse.Namespace) -> None:
        tetragrad.manual_seed(options.seed)
        self.device = options.device
        self.file = options.out / "checkpoint.safetensors"
        self.model = network().to(self.device)
        images, labels = digits.train_images, digits.train_labels
        dataset = data.TensorDataset(images[: options.images], labels[: options.images])
        self.loader = data.DataLoader(
            dataset, options.batch, shuffle=True, drop_last=True, seed=options.seed
        )
        # A small set is seen more often.
        epochs = options.epochs or max(2, 12_000 // len(dataset))
        self.steps = epochs * len(self.loader)
        self.optimizer = optim.AdamW(self.model.parameters(), lr=options.lr)
        self.scheduler = optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=options.lr, total_steps=self.steps
        )
        self.curve: Curve = []
        self.parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "loader": self.loader,
        }

    def save(self) -> None:
        """Write everything; whoever kills us here finds the file of the last time."""
        state.save_checkpoint(self.file, extra=self.curve, **self.parts)

    def resume(self) -> None:
        """Go on from the checkpoint, as if nothing had happened."""
        self.curve = state.load_checkpoint(self.file, **self.parts).extra

    def run(self) -> None:
        """Train to the last step, with a progress bar and a checkpoint now and then."""
        self.model.train()
        with ProgressBar(self.steps) as progress:
            while len(self.curve) < self.steps:
                for images, labels in self.loader:
                    self.curve.append(self.step(images, labels))
                    progress.show(self.curve)
                    if len(self.curve) % CHECKPOINT_EVERY == 0:
                        self.save()
        self.save()

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Learn from one batch: the loss, and how much of it was read right."""
        loss, right = self.learn(images.to(self.device), labels.to(self.device))
        self.scheduler.step()
        return loss.item(), right.item()

    @tetragrad.jit
    def learn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Improve the network. The first call is captured, the others replay it."""
        scores = self.scores(images)
        loss = F.cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss, (scores.argmax(dim=1) == labels).float().mean()

    def scores(self, images: Tensor) -> Tensor:
        """What the network says to images of bytes, (batch, 28, 28)."""
        return self.model(images.to(self.device).unsqueeze(1).float() / 255)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The probability of each digit, for each image."""
        self.model.eval()
        batches = np.array_split(images, max(1, len(images) // TEST_BATCH))
        with tetragrad.no_grad():
            scores = [self.scores(Tensor(batch)) for batch in batches]
            return np.concatenate([part.softmax(dim=1).numpy() for part in scores])


def main(arguments: list[str] | None = None) -> float:
    """Train as the command line says; returns the accuracy on the test images."""
    parser = argparse.ArgumentParser(description="Train a network to read digits.")
    parser.add_argument("--epochs", type=int, help="default: enough for 99 %% or so")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="use only so many training images")
    parser.add_argument("--device", default=tetragrad.get_default_device())
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    digits = data.mnist_or_digits()
    training = Training(digits, options)
    if options.resume and training.file.exists():
        training.resume()
    training.run()

    probabilities = training.predict(digits.test_images)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == digits.test_labels))
    draw_curve(training.curve, options.out / "curve.png")
    draw_worst(digits, probabilities, options.out / "worst.png")
    print(
        f"{accuracy:.2%} of the {digits.name} test images read right; see {options.out}"
    )
    return accuracy


if __name__ == "__main__":
    main()
