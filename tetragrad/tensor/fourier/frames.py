"""Signals in overlapping frames: the short-time transform and its inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.graph.folding import fold
from tetragrad.tensor.complex_numbers import complex, view_as_complex, view_as_real
from tetragrad.tensor.fourier.functions import fft, ifft, irfft, rfft

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: Where the windows that overlap sum to less than this, a signal is lost.
SMALLEST_OVERLAP = 1e-11


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Tensor:
    """The Fourier transform of a signal's frames: which frequencies it has when.

    Args:
        input: (time) or (batch, time), real or complex.
        n_fft: how many values each frame has.
        hop_length: how far apart frames begin; n_fft // 4 if left out.
        win_length: the window's length; n_fft if left out. A shorter one stands in
            the middle of the frame.
        window: multiplied with each frame; ones if left out.
        center: pad the signal by n_fft // 2 at both ends, as ``pad_mode`` says, so
            that frame t has its middle at t * hop_length.
        normalized: divide by the root of n_fft.
        onesided: only the first n_fft // 2 + 1 frequencies, which for a real signal
            say the others; the default for those.
        return_complex: False gives the parts as a last dimension of 2.

    Returns:
        (…, frequency, frame).

    Raises:
        ShapeError: the signal is shorter than a frame, or the window does not fit.

    >>> tetragrad.stft(Tensor.ones(16), 8, 4, window=Tensor.ones(8)).shape
    (5, 5)
    """
    hop, window = _frame_options("stft", input, n_fft, hop_length, win_length, window)
    if input.ndim not in (1, 2):
        raise ShapeError(f"stft() of shape {input.shape}: it takes a signal or a batch")
    signal = input.unsqueeze(0) if input.ndim == 1 else input
    if center:
        signal = _padded(signal, n_fft // 2, pad_mode)
    if not 0 < n_fft <= signal.shape[-1]:
        raise ShapeError(
            f"stft(n_fft={n_fft}) of a signal with {signal.shape[-1]} values"
        )
    frames = _framed(signal, n_fft, hop)
    frames = frames if window is None else frames * window
    is_real = not frames.is_complex()
    one_sided = is_real if onesided is None else onesided
    if one_sided and not is_real:
        raise DTypeError("stft(onesided=True) of complex numbers", hint="leave it out")
    norm = "ortho" if normalized else None
    spectrum = rfft(frames, norm=norm) if one_sided else fft(frames, norm=norm)
    spectrum = spectrum.transpose(-2, -1)
    spectrum = spectrum.squeeze(0) if input.ndim == 1 else spectrum
    return view_as_real(spectrum) if return_complex is False else spectrum


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal whose ``stft`` is nearest to the input (Griffin and Lim 1984).

    The frames are transformed back, multiplied by the window, added where they
    overlap, and divided by the sum of the squared windows.

    Args:
        input: (…, frequency, frame), complex.
        length: how many values to give; what the frames reach if left out.

    Raises:
        TetragradError: the windows leave a value of the signal out.

    >>> signal = Tensor.ones(16)
    >>> spectrum = tetragrad.stft(signal, 8, 4)
    >>> tetragrad.istft(spectrum, 8, 4).shape
    (16,)
    """
    if not input.is_complex():
        raise DTypeError(
            f"istft() of {input.dtype}: it takes complex numbers",
            hint="write view_as_complex(x)",
        )
    hop, window = _frame_options("istft", input, n_fft, hop_length, win_length, window)
    one_sided = not return_complex if onesided is None else onesided
    rows = n_fft // 2 + 1 if one_sided else n_fft
    if input.ndim < 2 or input.shape[-2] != rows:
        raise ShapeError(
            f"istft(n_fft={n_fft}) of shape {input.shape}: there must be {rows} "
            "frequencies in the last dimension but one"
        )
    norm = "ortho" if normalized else None
    spectrum = input.transpose(-2, -1)
    if one_sided:
        frames = irfft(spectrum, n_fft, norm=norm)
    else:
        frames = ifft(spectrum, norm=norm)
        frames = frames if return_complex else frames.real
    if window is None:
        part = dtypes.part_dtype(input.dtype)
        window = input.tensor_class.ones(n_fft, dtype=part, device=input.device)
    signal = _overlapped(frames * window, hop)
    weight = _overlapped((window * window).expand(frames.shape[-2], n_fft), hop)
    return _without_padding(signal, weight, n_fft, center, length)


def _without_padding(
    signal: Tensor, weight: Tensor, n_fft: int, center: bool, length: int | None
) -> Tensor:
    """The sum of frames over the sum of windows, where the signal was."""
    first = n_fft // 2 if center else 0
    reach = signal.shape[-1]
    last = first + length if length is not None else reach - first
    weight = weight[first : min(last, reach)]
    if not (weight.abs() > SMALLEST_OVERLAP).read().all():
        raise TetragradError(
            "istft(): the windows sum to zero somewhere, so that the signal is unknown",
            hint="use a window and a hop that overlap, and center=True",
        )
    result = signal[..., first : min(last, reach)] / weight
    missing = last - reach
    if missing <= 0:
        return result
    if not result.is_complex():
        return result.pad((0, missing))
    return view_as_complex(view_as_real(result).pad((0, 0, 0, missing)))


def _frame_options(
    name: str,
    input: Tensor,
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: Tensor | None,
) -> tuple[int, Tensor | None]:
    """How far apart frames are, and the window in the middle of a frame."""
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if hop < 1 or not 0 < length <= n_fft:
        raise ShapeError(
            f"{name}(n_fft={n_fft}, hop_length={hop}, win_length={length})",
            hint="frames are at least 1 apart, and a window fits into a frame",
        )
    if window is None:
        if length == n_fft:
            return hop, None
        part = dtypes.part_dtype(input.dtype)
        window = input.tensor_class.ones(length, dtype=part, device=input.device)
    if window.shape != (length,):
        raise ShapeError(
            f"{name}() with a window of shape {window.shape}: it needs {length} values",
            hint="pass win_length too",
        )
    before = (n_fft - length) // 2
    return hop, window.pad((before, n_fft - length - before))


def _padded(signal: Tensor, size: int, mode: str) -> Tensor:
    if not signal.is_complex():
        return signal.pad((size, size), mode=mode)
    real, imag = (
        part.pad((size, size), mode=mode) for part in (signal.real, signal.imag)
    )
    return complex(real, imag)


def _framed(signal: Tensor, size: int, hop: int) -> Tensor:
    if not signal.is_complex():
        return signal.unfold(-1, size, hop)
    pairs = view_as_real(signal).unfold(-2, size, hop)
    return view_as_complex(pairs.transpose(-2, -1).contiguous())


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """Frames (…, frame, value) added where they overlap."""
    count, size = frames.shape[-2:]
    length = (count - 1) * hop + size
    dim = frames.ndim - 2
    return frames.alike(fold(frames.real_node, dim, hop, 1, length))
