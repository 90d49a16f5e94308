"""Blocks of quantised weights, as llama.cpp's files hold them, and what they mean.

The formats are those of ggml (github.com/ggml-org/ggml, ``ggml-quants.c``): a block
has some small integers and the scales to multiply them by, in float16. Each function
takes the bytes of all blocks, a row a block, and gives a row of float32 for each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tetragrad.core.frozen import frozen

Decode = Callable[[np.ndarray], np.ndarray]


@frozen
class BlockFormat:
    """How many elements a block has, in how many bytes, and how they are decoded."""

    name: str
    elements: int
    nbytes: int
    decode: Decode


def _scale(blocks: np.ndarray, begin: int) -> np.ndarray:
    """The float16 at a byte of each block, in float32, as a column."""
    return blocks[:, begin : begin + 2].copy().view("<f2").astype(np.float32)


def _halves(packed: np.ndarray) -> np.ndarray:
    """Two integers of 4 bits from each byte: first all the low ones, then the high."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32)


def _fifth_bits(blocks: np.ndarray, begin: int) -> np.ndarray:
    """16 for each of 32 elements whose bit is set in the four bytes, else 0."""
    bits = np.unpackbits(blocks[:, begin : begin + 4], axis=1, bitorder="little")
    return bits.astype(np.float32) * 16


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * (_halves(blocks[:, 2:]) - 8)


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * _halves(blocks[:, 4:]) + _scale(blocks, 2)


def _q5_0(blocks: np.ndarray) -> np.ndarray:
    numbers = _halves(blocks[:, 6:]) + _fifth_bits(blocks, 2)
    return _scale(blocks, 0) * (numbers - 16)


def _q5_1(blocks: np.ndarray) -> np.ndarray:
    numbers = _halves(blocks[:, 8:]) + _fifth_bits(blocks, 4)
    return _scale(blocks, 0) * numbers + _scale(blocks, 2)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    return _scale(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _scales_and_minima(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight minima of 6 bits each, from 12 bytes a block."""
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = [first & 63, (rest & 15) | (first >> 6) << 4]
    minima = [second & 63, (rest >> 4) | (second >> 6) << 4]
    return np.concatenate(scales, axis=1), np.concatenate(minima, axis=1)


def _by_eighths(blocks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """d·scale·q - dmin·minimum, of eight runs of 32 elements a block."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    factor = (_scale(blocks, 0) * scales)[:, :, None]
    offset = (_scale(blocks, 2) * minima)[:, :, None]
    return (factor * numbers - offset).reshape(len(blocks), 256)


def _q4_k(blocks: np.ndarray) -> np.ndarray:
    quarters = blocks[:, 16:].reshape(-1, 4, 32)
    return _by_eighths(blocks, _halves(quarters).reshape(-1, 8, 32))


def _q5_k(blocks: np.ndarray) -> np.ndarray:
    quarters = blocks[:, 48:].reshape(-1, 4, 32)
    # Bit k of a byte belongs to run k.
    runs = np.arange(8, dtype=np.uint8)[None, :, None]
    high = (blocks[:, None, 16:48] >> runs & 1).astype(np.float32) * 16
    return _by_eighths(blocks, _halves(quarters).reshape(-1, 8, 32) + high)


def _q6_k(blocks: np.ndarray) -> np.ndarray:
    low = _halves(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    # Two bits of a byte belong to each of four runs.
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3
    numbers = low + high.astype(np.float32) * 16 - 32
    scales = _scale(blocks, 208) * blocks[:, 192:208].view(np.int8)
    return (scales[:, :, None] * numbers.reshape(-1, 16, 16)).reshape(-1, 256)


#: The formats that are read, by their numbers in files.
BLOCK_FORMATS = {
    2: BlockFormat("Q4_0", 32, 18, _q4_0),
    3: BlockFormat("Q4_1", 32, 20, _q4_1),
    6: BlockFormat("Q5_0", 32, 22, _q5_0),
    7: BlockFormat("Q5_1", 32, 24, _q5_1),
    8: BlockFormat("Q8_0", 32, 34, _q8_0),
    12: BlockFormat("Q4_K", 256, 144, _q4_k),
    13: BlockFormat("Q5_K", 256, 176, _q5_k),
    14: BlockFormat("Q6_K", 256, 210, _q6_k),
}
