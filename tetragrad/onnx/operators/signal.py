"""Spectra: Fourier transforms of signals, windows, and mel scales.

A complex number is a last dimension of two.
"""

from __future__ import annotations

import math

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host, Value, element_type
from tetragrad.tensor import Tensor
from tetragrad.tensor.fourier.transform import Plan, transform
from tetragrad.tensor.joining import cat, stack


@operator("DFT", since=20)
def dft(
    x: Tensor,
    dft_length: Host | None = None,
    axis: Host | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    dim = -2 if axis is None else int(axis.item())
    return _transformed(x, dft_length, dim, bool(inverse), bool(onesided))


@operator("DFT", since=17)
def dft_17(
    x: Tensor,
    dft_length: Host | None = None,
    *,
    axis: int = 1,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    return _transformed(x, dft_length, axis, bool(inverse), bool(onesided))


def _transformed(
    x: Tensor, dft_length: Host | None, axis: int, inverse: bool, onesided: bool
) -> Tensor:
    dim = axis % x.ndim
    if dim == x.ndim - 1 or x.shape[-1] not in (1, 2):
        raise ShapeError(
            f"DFT of shape {x.shape} along dimension {axis}: the last one holds real "
            "and imaginary parts"
        )
    length = x.shape[dim]
    if inverse and onesided:
        length = 2 * (length - 1)
    if dft_length is not None:
        length = int(dft_length.item())
    fitted = _fitted(x, dim, length).movedim(dim, -2)
    real = fitted[..., 0]
    imaginary = fitted[..., 1] if x.shape[-1] == 2 else None
    if inverse and onesided:
        real, imaginary = _whole_spectrum(x.movedim(dim, -2), length)
    rows = length // 2 + 1 if onesided and not inverse else length
    result = spectrum(real, imaginary, length, rows, inverse)
    if inverse and onesided:
        result = result[..., :1]
    return result.movedim(-2, dim)


def _fitted(x: Tensor, dim: int, length: int) -> Tensor:
    """The dimension cut to a length, or filled up with zeros."""
    have = x.shape[dim]
    if have >= length:
        return x.cut(dim, 0, length)
    return x.pad([0, 0] * (x.ndim - 1 - dim) + [0, length - have])


def _whole_spectrum(half: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The spectrum of a real signal from its first half: the rest is its mirror."""
    first = _fitted(half, half.ndim - 2, length // 2 + 1)
    real, imaginary = first[..., 0], first[..., 1]
    mirrored = (length - 1) // 2
    real_rest = real.cut(real.ndim - 1, 1, 1 + mirrored).flip(-1)
    imaginary_rest = imaginary.cut(real.ndim - 1, 1, 1 + mirrored).flip(-1)
    return cat([real, real_rest], -1), cat([imaginary, -imaginary_rest], -1)


def spectrum(
    real: Tensor, imaginary: Tensor | None, length: int, rows: int, inverse: bool
) -> Tensor:
    """Transform the last dimension; its parts are in a new last one."""
    source = real if imaginary is None else stack([real, imaginary], -1)
    wide = source if source.dtype.bits >= 32 else source.float()
    plan = Plan(length, rows, real_input=imaginary is None, inverse=inverse)
    result = wide.result(transform(wide.node, plan))
    return (result / length if inverse else result).to(source.dtype)


@operator("STFT")
def stft(
    signal: Tensor,
    frame_step: Host,
    window: Tensor | None = None,
    frame_length: Host | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """Spectra of overlapping frames: (batch, frames, frequencies, 2)."""
    step = int(frame_step.item())
    if frame_length is not None:
        length = int(frame_length.item())
    elif window is not None:
        length = window.shape[0]
    else:
        raise ShapeError("STFT needs a window or a frame_length")
    parts = [signal] if signal.ndim == 2 else list(signal.unbind(-1))
    frames = [part.unfold(1, length, step) for part in parts]
    if window is not None:
        frames = [frame * window for frame in frames]
    rows = length // 2 + 1 if onesided else length
    imaginary = frames[1] if len(frames) == 2 else None
    return spectrum(frames[0], imaginary, length, rows, False)


def _cosine_window(
    size: Host, periodic: int, output_datatype: int, coefficients: tuple[float, ...]
) -> Host:
    """a₀ − a₁·cos(2πn/N) + a₂·cos(4πn/N) …"""
    count = int(size.item())
    span = count if periodic else count - 1
    angles = 2 * math.pi * np.arange(count) / max(span, 1)
    terms = [
        (-1) ** order * factor * np.cos(order * angles)
        for order, factor in enumerate(coefficients)
    ]
    return np.sum(terms, axis=0).astype(element_type(output_datatype))


@operator("HannWindow")
def hann_window(size: Host, *, output_datatype: int = 1, periodic: int = 1) -> Value:
    return _cosine_window(size, periodic, output_datatype, (0.5, 0.5))


@operator("HammingWindow")
def hamming_window(size: Host, *, output_datatype: int = 1, periodic: int = 1) -> Value:
    return _cosine_window(size, periodic, output_datatype, (25 / 46, 21 / 46))


@operator("BlackmanWindow")
def blackman_window(
    size: Host, *, output_datatype: int = 1, periodic: int = 1
) -> Value:
    return _cosine_window(size, periodic, output_datatype, (0.42, 0.5, 0.08))


@operator("MelWeightMatrix")
def mel_weight_matrix(
    num_mel_bins: Host,
    dft_length: Host,
    sample_rate: Host,
    lower_edge_hertz: Host,
    upper_edge_hertz: Host,
    *,
    output_datatype: int = 1,
) -> Host:
    """Triangles from the bins of a spectrum to bands that are even in mel."""
    bands, length = int(num_mel_bins.item()), int(dft_length.item())
    low, high = (_to_mel(edge.item()) for edge in (lower_edge_hertz, upper_edge_hertz))
    step = (high - low) / (bands + 2)
    mels = low + np.arange(bands + 2) * step
    hertz = 700 * (10 ** (mels / 2595) - 1)
    bins = ((length + 1) * hertz // int(sample_rate.item())).astype(np.int64)
    matrix = np.zeros((length // 2 + 1, bands))
    for band in range(bands):
        left, centre, right = bins[band : band + 3]
        if left == centre:
            matrix[centre, band] = 1
        for place in range(left, centre + 1):
            if left != centre:
                matrix[place, band] = (place - left) / (centre - left)
        for place in range(centre, right):
            matrix[place, band] = (right - place) / (right - centre)
    return matrix.astype(element_type(output_datatype))


def _to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
