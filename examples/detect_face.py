"""Find the faces in a photo, and draw boxes around them.

    python examples/detect_face.py img/astronaut.png --output faces.png

The network is BlazeFace (Bazarevsky et al., 2019) in the version for front cameras, so
faces should fill a good part of the photo. For each of 896 places, the anchors, it says
how much it looks like a face, and where that face's edges are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tetragrad import Tensor, cat, nn, no_grad
from tetragrad.data import DataFile, image, read_data_file
from tetragrad.nn import functional as F
from tetragrad.state import load

SOURCE = "https://raw.githubusercontent.com/hollance/BlazeFace-PyTorch/master/"
WEIGHTS = DataFile(
    "vision/blazeface.pth",
    sha256="54ecff653feaaaf1f7d44b6aff28fd2fc50e483a4e847563b6dd261369c43ba4",
    nbytes=420_224,
    urls=(SOURCE + "blazeface.pth",),
)
ANCHORS = DataFile(
    "vision/blazeface_anchors.npy",
    sha256="a10bb2fb93ab54ca426d6c750bfc3aad685028a16dcf231357d03694f261fd95",
    nbytes=28_800,
    urls=(SOURCE + "anchors.npy",),
)
SIZE = 128
LIKELY, SAME_FACE = 0.75, 0.3


class Block(nn.Module):
    """A convolution of each channel by itself, then one across the channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.added_channels = out_channels - in_channels
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, stride, groups=in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        # The network comes from TensorFlow, which pads at the end if the stride is 2.
        padding = (0, 2, 0, 2) if self.stride == 2 else (1, 1, 1, 1)
        change = self.convs(F.pad(x, padding))
        shortcut = F.max_pool2d(x, self.stride)
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added_channels))
        return F.relu(change + shortcut)


class BlazeFace(nn.Module):
    """Photos (count, 3, 128, 128) of -1 to 1 to boxes and scores at each anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone1 = nn.Sequential(
            nn.Conv2d(3, 24, 5, stride=2),
            nn.ReLU(),
            *[Block(24, 24), Block(24, 28), Block(28, 32, stride=2)],
            *[Block(32, 36), Block(36, 42), Block(42, 48, stride=2)],
            *[Block(48, 56), Block(56, 64), Block(64, 72), Block(72, 80)],
            Block(80, 88),
        )
        self.backbone2 = nn.Sequential(
            Block(88, 96, stride=2), *[Block(96, 96) for _ in range(4)]
        )
        self.classifier_8 = nn.Conv2d(88, 2, 1)
        self.classifier_16 = nn.Conv2d(96, 6, 1)
        self.regressor_8 = nn.Conv2d(88, 2 * 16, 1)
        self.regressor_16 = nn.Conv2d(96, 6 * 16, 1)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.backbone1(F.pad(photos, (1, 2, 1, 2)))
        coarse = self.backbone2(fine)
        scores = [self.classifier_8(fine), self.classifier_16(coarse)]
        boxes = [self.regressor_8(fine), self.regressor_16(coarse)]
        return by_anchor(boxes, 16), by_anchor(scores, 1).squeeze(-1).sigmoid()


def by_anchor(maps: list[Tensor], numbers: int) -> Tensor:
    """What maps (count, channels, height, width) say of each anchor, in one list."""
    rows = [entry.permute(0, 2, 3, 1) for entry in maps]
    return cat([row.reshape(len(row), -1, numbers) for row in rows], dim=1)


def load_blazeface() -> BlazeFace:
    model = BlazeFace().eval()
    model.load_state_dict(load(read_data_file(WEIGHTS)))
    return model


def find_faces(photo: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Likelihood and box (left, top, right, bottom) of each face, best first."""
    small = Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    pixels = Tensor(np.array(small)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
    with no_grad():
        boxes, scores = (result[0].numpy() for result in load_blazeface()(pixels))
    anchors = load(read_data_file(ANCHORS)).numpy()
    centers = boxes[:, :2] / SIZE + anchors[:, :2]
    corners = [centers - boxes[:, 2:4] / SIZE / 2, centers + boxes[:, 2:4] / SIZE / 2]
    height, width, _ = photo.shape
    places = np.concatenate(corners, axis=1) * [width, height, width, height]
    found: list[tuple[float, np.ndarray]] = []
    for index in np.argsort(-scores):
        is_new = all(overlap(places[index], box) < SAME_FACE for _, box in found)
        if scores[index] > LIKELY and is_new:
            found.append((float(scores[index]), places[index]))
    return found


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes share, as a part of all they cover."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.prod(np.maximum(sides, 0))
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return float(shared / (areas - shared))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", nargs="?", default="img/astronaut.png")
    parser.add_argument("--output", type=Path, default=Path("faces.png"))
    options = parser.parse_args()
    photo = image(options.photo)[:, :, :3]
    picture = Image.fromarray(photo)
    for likelihood, box in find_faces(photo):
        ImageDraw.Draw(picture).rectangle(box.tolist(), outline="yellow", width=3)
        print(f"a face at {box.round().astype(int).tolist()}: {likelihood:.0%} sure")
    picture.save(options.output)


if __name__ == "__main__":
    main()
