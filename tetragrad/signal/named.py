"""Windows under the names that PyTorch gives them outside of ``signal``.

These are periodic unless told otherwise: the first value follows the last.
"""

from __future__ import annotations

from typing import Any

from tetragrad.signal import windows
from tetragrad.tensor import Tensor


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """½ − ½ cos(2πn / N): N is the length, or one less unless ``periodic``.

    >>> tetragrad.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return windows.hann(window_length, sym=not periodic, **options)


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    **options: Any,
) -> Tensor:
    """alpha − beta cos(2πn / N).

    >>> tetragrad.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    factors = [alpha, beta]
    return windows.general_cosine(window_length, a=factors, sym=not periodic, **options)


def blackman_window(
    window_length: int, periodic: bool = True, **options: Any
) -> Tensor:
    """0.42 − 0.5 cos(2πn / N) + 0.08 cos(4πn / N).

    >>> tetragrad.blackman_window(4)[1:]
    tensor([0.3400, 1.0000, 0.3400])
    """
    return windows.blackman(window_length, sym=not periodic, **options)


def bartlett_window(
    window_length: int, periodic: bool = True, **options: Any
) -> Tensor:
    """A triangle: 1 − |2n / N − 1|.

    >>> tetragrad.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return windows.bartlett(window_length, sym=not periodic, **options)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any
) -> Tensor:
    """I₀(beta √(1 − (2n / N − 1)²)) / I₀(beta), near to the best concentration.

    >>> tetragrad.kaiser_window(4, beta=0.0)
    tensor([1., 1., 1., 1.])
    """
    return windows.kaiser(window_length, beta=beta, sym=not periodic, **options)
