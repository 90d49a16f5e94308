"""Constants of Fourier transforms: computed once, in double precision, and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.graph.leaves import Buffer

#: Tables that are kept; the one that was not used for longest is forgotten.
KEPT = 128


def table(
    make: Callable[..., np.ndarray], *arguments: Any, dtype: DType, device: str
) -> Buffer:
    """``make(*arguments)``, real numbers, as a node on a device."""
    buffer = _kept(make, arguments, dtype, device)
    recorder = capture.active()
    if recorder is not None and buffer not in recorder.host_data:
        recorder.host_data.append(buffer)
    return buffer


@lru_cache(KEPT)
def _kept(
    make: Callable[..., np.ndarray],
    arguments: tuple[Any, ...],
    dtype: DType,
    device: str,
) -> Buffer:
    # A table that is made while a function is captured is made for all of them.
    with capture.recording(None):
        return engine.from_array(make(*arguments).astype(dtype.numpy), device)


def roots(size: int, count: np.ndarray, *, inverse: bool) -> np.ndarray:
    """exp(∓2πi count / size), with the angle reduced exactly before it is rounded."""
    turns = count % size
    angle = 2 * np.pi * turns / size
    values = np.exp(1j * angle if inverse else -1j * angle)
    # Quarter turns are exact, so that a constant has no noise in its spectrum.
    quarters = np.array([1, 1j, -1, -1j] if inverse else [1, -1j, -1, 1j])
    return np.where(4 * turns % size == 0, quarters[4 * turns // size], values)


def dense(
    size: int, kept: int, real_input: bool, real_output: bool, inverse: bool
) -> np.ndarray:
    """The matrix that transforms ``size`` values to the first ``kept`` of the result.

    It is real: rows are (input, part) and columns (output, part), where a complex
    number is two parts and a real one is one.
    """
    turns = np.outer(np.arange(size), np.arange(kept))
    factor = roots(size, turns, inverse=inverse)
    # (a + bi)(c + di) has the parts ac - bd and ad + bc.
    parts = np.empty((size, 2, kept, 2))
    parts[:, 0, :, 0] = factor.real
    parts[:, 0, :, 1] = factor.imag
    parts[:, 1, :, 0] = -factor.imag
    parts[:, 1, :, 1] = factor.real
    parts = parts[:, : 1 if real_input else 2, :, : 1 if real_output else 2]
    return parts.reshape(size * parts.shape[1], kept * parts.shape[3])


def twiddles(rows: int, columns: int, inverse: bool) -> np.ndarray:
    """exp(∓2πi j k / (rows columns)) for j < columns and k < rows."""
    turns = np.outer(np.arange(columns), np.arange(rows))
    return roots(rows * columns, turns, inverse=inverse)


def apart(size: int, inverse: bool) -> np.ndarray:
    """exp(∓2πi k / size) / 2i for k <= size / 2: takes even from odd places."""
    return roots(size, np.arange(size // 2 + 1), inverse=inverse) / 2j


def together(size: int, inverse: bool) -> np.ndarray:
    """i exp(∓2πi k / size) for k < size / 2: puts odd beside even places."""
    return roots(size, np.arange(size // 2), inverse=inverse) * 1j


def chirp(size: int, kept: int, inverse: bool) -> np.ndarray:
    """exp(∓πi j² / size) for j < kept: the factors of Bluestein's algorithm."""
    return roots(2 * size, np.arange(kept) ** 2, inverse=inverse)


def chirp_spectrum(size: int, length: int, inverse: bool) -> np.ndarray:
    """The transform of the filter in Bluestein's algorithm, of ``length`` values."""
    factors = chirp(size, size, inverse).conj()
    around = np.zeros(length, np.complex128)
    around[:size] = factors
    around[length - size + 1 :] = factors[:0:-1]
    return np.fft.fft(around) / length


def pair_factors(make: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
    """A complex table as (c, c) and (-d, d), for (a, b) (c + di) on pairs.

    The product is (a, b) (c, c) + (b, a) (-d, d).
    """
    values = make(*arguments)
    straight = np.stack([values.real, values.real], -1)
    crossed = np.stack([-values.imag, values.imag], -1)
    return np.stack([straight, crossed])
