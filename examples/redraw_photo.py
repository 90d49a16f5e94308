"""Squeeze a photo through a tiny image autoencoder, and draw it back.

    python examples/redraw_photo.py img/astronaut.png --output redrawn.png

Each 8 by 8 block of pixels becomes 32 numbers and then pixels again. The network,
taef2 from madebyollin/taesd, learned to agree with a large autoencoder on the numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tetragrad import Tensor, nn, no_grad
from tetragrad.data import DataFile, image, read_data_file
from tetragrad.nn import functional as F
from tetragrad.state import load_torch

REPOSITORY = "https://raw.githubusercontent.com/madebyollin/taesd/main/"
ENCODER = DataFile(
    "gen/taef2_encoder.pth",
    sha256="10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",
    nbytes=2_704_692,
    urls=(REPOSITORY + "taef2_encoder.pth",),
)
DECODER = DataFile(
    "gen/taef2_decoder.pth",
    sha256="0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",
    nbytes=2_704_756,
    urls=(REPOSITORY + "taef2_decoder.pth",),
)
# Each position of the latents stands for a square of pixels of this side.
REDUCTION = 8
CHANNELS, LATENT_CHANNELS = 64, 32


def conv3x3(in_channels: int, out_channels: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, **options)


class Block(nn.Module):
    """Three convolutions that compute what to add to their input."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = (conv3x3(CHANNELS, CHANNELS) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class PooledBlock(Block):
    """A block that first adds what the whole photo has in common."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(
            nn.Conv2d(CHANNELS, 4 * CHANNELS, 1, bias=False),
            nn.GroupNorm(4, 4 * CHANNELS),
            nn.ReLU(),
            nn.Conv2d(4 * CHANNELS, CHANNELS, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.pool(x))


class SoftClamp(nn.Module):
    """Values between -3 and 3, almost unchanged near zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (x / 3).tanh() * 3


def halve() -> nn.Conv2d:
    return conv3x3(CHANNELS, CHANNELS, stride=2, bias=False)


def double() -> tuple[nn.Module, nn.Module]:
    return nn.Upsample(scale_factor=2), conv3x3(CHANNELS, CHANNELS, bias=False)


def encoder() -> nn.Sequential:
    """Photos (count, 3, height, width) of 0 to 1 to latents an eighth the size."""
    return nn.Sequential(
        *[conv3x3(3, CHANNELS), Block()],
        *[halve(), Block(), Block(), Block()],
        *[halve(), Block(), Block(), Block()],
        *[halve(), PooledBlock(), PooledBlock(), PooledBlock()],
        conv3x3(CHANNELS, LATENT_CHANNELS),
    )


def decoder() -> nn.Sequential:
    """Latents to photos of eight times the height and width."""
    return nn.Sequential(
        *[SoftClamp(), conv3x3(LATENT_CHANNELS, CHANNELS), nn.ReLU()],
        *[PooledBlock(), PooledBlock(), PooledBlock(), *double()],
        *[Block(), Block(), Block(), *double()],
        *[Block(), Block(), Block(), *double()],
        *[Block(), conv3x3(CHANNELS, 3)],
    )


def load(model: nn.Sequential, file: DataFile) -> nn.Sequential:
    model.load_state_dict(load_torch(read_data_file(file)))
    return model.eval()


def crop(photo: np.ndarray) -> np.ndarray:
    """The photo as RGB, without the edge that does not fill a block of pixels."""
    height, width = (size // REDUCTION * REDUCTION for size in photo.shape[:2])
    return np.broadcast_to(photo[:height, :width, :3], (height, width, 3))


def redraw(photo: np.ndarray) -> np.ndarray:
    """The photo after a trip through the autoencoder; uint8 in and out."""
    pixels = Tensor(photo).permute(2, 0, 1).unsqueeze(0).float() / 255
    with no_grad():
        latents = load(encoder(), ENCODER)(pixels)
        drawn = load(decoder(), DECODER)(latents).clamp(0, 1)
    rows = (drawn * 255).round().squeeze(0).permute(1, 2, 0)
    return rows.numpy().astype(np.uint8)


def signal_to_noise(photo: np.ndarray, drawn: np.ndarray) -> float:
    """The peak signal-to-noise ratio in decibels."""
    error = np.mean((photo.astype(np.float64) - drawn) ** 2)
    return float(10 * np.log10(255**2 / error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", nargs="?", default="img/astronaut.png")
    parser.add_argument("--output", type=Path, default=Path("redrawn.png"))
    options = parser.parse_args()
    photo = crop(image(options.photo))
    drawn = redraw(photo)
    Image.fromarray(drawn).save(options.output)
    print(f"{options.output}: {signal_to_noise(photo, drawn):.1f} dB like the original")


if __name__ == "__main__":
    main()
