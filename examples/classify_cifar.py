"""Recognise small photos with a ResNet-20: what is in 1,000 images of CIFAR-10?

    python examples/classify_cifar.py --count 100

The network is that of He et al., "Deep residual learning for image recognition",
2015, section 4.2, with its shortcuts of kind A; the weights are those that the
PyTorch repository akamaster/pytorch_resnet_cifar10 publishes.
"""

from __future__ import annotations

import argparse

import numpy as np

from tetragrad import Tensor, nn, no_grad
from tetragrad.data import DataFile, cifar10, read_data_file
from tetragrad.nn import functional as F
from tetragrad.state import load_torch

SOURCE = (
    "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/"
    "master/pretrained_models/"
)
WEIGHTS = DataFile(
    "vision/cifar10_resnet20-12fca82f.th",
    sha256="12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
    nbytes=1_099_231,
    urls=(SOURCE + "resnet20-12fca82f.th",),
)
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
# Of each colour over ImageNet, which the network was trained with.
MEANS = [0.485, 0.456, 0.406]
DEVIATIONS = [0.229, 0.224, 0.225]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """Two convolutions that compute what to add to their input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added_channels = out_channels - in_channels
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        change = F.relu(self.bn1(self.conv1(x)))
        change = self.bn2(self.conv2(change))
        return F.relu(change + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """The input at the output's size: pixels left out, channels of zeros added."""
        before = self.added_channels // 2
        after = self.added_channels - before
        thinned = x[:, :, :: self.stride, :: self.stride]
        return F.pad(thinned, (0, 0, 0, 0, before, after))


class ResNet20(nn.Module):
    """Images (count, 3, 32, 32) to a score for each of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), *self.more_blocks(16))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *self.more_blocks(32))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *self.more_blocks(64))
        self.linear = nn.Linear(64, len(CLASSES))

    @staticmethod
    def more_blocks(channels: int) -> list[Block]:
        return [Block(channels, channels, stride=1) for _ in range(2)]

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def load_resnet() -> ResNet20:
    model = ResNet20()
    saved = load_torch(read_data_file(WEIGHTS))["state_dict"]
    # It was saved from inside of a DataParallel, which puts a word before each name.
    model.load_state_dict(
        {name.removeprefix("module."): value for name, value in saved.items()}
    )
    return model.eval()


def normalize(images: np.ndarray) -> Tensor:
    """Pixels of 0 to 255 as the numbers that the network was trained on."""
    means = Tensor(MEANS).reshape(3, 1, 1)
    deviations = Tensor(DEVIATIONS).reshape(3, 1, 1)
    return (Tensor(images).float() / 255 - means) / deviations


def classify(model: ResNet20, images: np.ndarray, batch: int = 100) -> np.ndarray:
    """The number of the likeliest class of each image."""
    answers = []
    with no_grad():
        for start in range(0, len(images), batch):
            scores = model(normalize(images[start : start + batch]))
            answers.append(scores.argmax(dim=1).numpy())
    return np.concatenate(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="how many images")
    count = parser.parse_args().count
    images, labels = (array[:count] for array in cifar10())
    answers = classify(load_resnet(), images)
    for number in range(min(10, len(images))):
        print(f"image {number}: {CLASSES[answers[number]]}")
    for number in np.flatnonzero(answers != labels):
        seen, true = CLASSES[answers[number]], CLASSES[labels[number]]
        print(f"image {number} looks like {seen}, and is {true}")
    correct = int((answers == labels).sum())
    print(f"{correct} of {len(images)} correct: {correct / len(images):.1%}")


if __name__ == "__main__":
    main()
