"""The short-time transform as a method; its module is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tetragrad.tensor.base import TensorBase

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class FrameMethods(TensorBase):
    """Methods on signals that are cut into frames."""

    __slots__ = ()

    def stft(self, n_fft: int, *args: Any, **options: Any) -> Tensor:
        """The Fourier transform of overlapping frames; see ``tetragrad.stft``.

        >>> Tensor.ones(16).stft(8, 4).shape
        (5, 5)
        """
        from tetragrad.tensor.fourier import frames

        return frames.stft(cast("Tensor", self), n_fft, *args, **options)

    def istft(self, n_fft: int, *args: Any, **options: Any) -> Tensor:
        """The signal whose ``stft`` this is; see ``tetragrad.istft``.

        >>> window = Tensor.ones(4)
        >>> spectrum = Tensor.ones(8).stft(4, window=window, return_complex=True)
        >>> spectrum.istft(4, window=window)
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
        """
        from tetragrad.tensor.fourier import frames

        return frames.istft(cast("Tensor", self), n_fft, *args, **options)
