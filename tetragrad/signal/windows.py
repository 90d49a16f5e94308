"""Windows of M points, as in ``torch.signal.windows``.

``sym=True`` gives a symmetric window, for filters; ``sym=False`` one period of a
periodic one, for spectra. The dtype is float32 unless ``dtype`` says otherwise; other
options are those of ``tetragrad.zeros``.

F. J. Harris, "On the use of windows for harmonic analysis with the discrete Fourier
transform", Proceedings of the IEEE 66, 1978, describes them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import to_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.tensor import Tensor

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _window(
    count: int,
    shape: Callable[[Tensor, float], Tensor],
    *,
    sym: bool,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """The values of ``shape`` at points 0 … M-1, given where the last point lies.

    They are computed in float64 and rounded once.
    """
    wanted = dtypes.float32 if dtype is None else to_dtype(dtype)
    if count < 0:
        raise ShapeError(f"a window of {count} points", hint="give 0 or more")
    if not wanted.is_floating_point:
        raise DTypeError(f"a window of {wanted}", hint="use a floating-point dtype")
    if count < 2:
        made = Tensor.ones(count, dtype=wanted, **options)
    else:
        points = Tensor.arange(count, dtype=dtypes.float64, **options)
        made = shape(points, float(count - 1 if sym else count)).to(wanted)
    return made.requires_grad_() if requires_grad else made


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, **options: Any
) -> Tensor:
    """Σ (-1)^i a_i cos(2πi n / (M-1)).

    >>> tetragrad.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    weights = list(a)
    if not weights:
        raise ShapeError("general_cosine() without coefficients", hint="a=[0.5, 0.5]")

    def shape(points: Tensor, last: float) -> Tensor:
        total = points * 0
        for order, weight in enumerate(weights):
            wave = (points * (2 * math.pi * order / last)).cos()
            total = total + wave * (weight * (-1) ** order)
        return total

    return _window(M, shape, sym=sym, **options)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any
) -> Tensor:
    """α - (1 - α) cos(2πn / (M-1))."""
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.54 - 0.46 cos(2πn / (M-1))."""
    return general_hamming(M, alpha=0.54, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """sin²(πn / (M-1)).

    >>> tetragrad.signal.windows.hann(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2πn / (M-1)) + 0.08 cos(4πn / (M-1))."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Nuttall's four cosines with the lowest side lobes."""
    weights = [0.3635819, 0.4891775, 0.1365995, 0.0106411]
    return general_cosine(M, a=weights, sym=sym, **options)


def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A triangle: 1 - |2n / (M-1) - 1|."""

    def shape(points: Tensor, last: float) -> Tensor:
        return 1 - (points * (2 / last) - 1).abs()

    return _window(M, shape, sym=sym, **options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """sin(π (n + 1/2) / M): half a wave."""

    def shape(points: Tensor, last: float) -> Tensor:
        return ((points + 0.5) * (math.pi / (last + 1))).sin()

    return _window(M, shape, sym=sym, **options)


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    **options: Any,
) -> Tensor:
    """exp(-|n - center| / tau); the center is the middle if left out."""
    if tau <= 0:
        raise ShapeError(f"an exponential window with tau {tau}: it is above 0")
    if sym and center is not None:
        raise ShapeError(
            "a symmetric window with a center of its own",
            hint="leave center out, or give sym=False",
        )

    def shape(points: Tensor, last: float) -> Tensor:
        middle = last / 2 if center is None else center
        return (-(points - middle).abs() / tau).exp()

    return _window(M, shape, sym=sym, **options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-(n - center)² / (2 std²))."""
    if std <= 0:
        raise ShapeError(f"a Gaussian window with std {std}: it is above 0")

    def shape(points: Tensor, last: float) -> Tensor:
        return (((points - last / 2) / std).square() * -0.5).exp()

    return _window(M, shape, sym=sym, **options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """I0(β sqrt(1 - (2n / (M-1) - 1)²)) / I0(β).

    >>> tetragrad.signal.windows.kaiser(3, beta=0.0)
    tensor([1., 1., 1.])
    """
    if beta < 0:
        raise ShapeError(f"a Kaiser window with beta {beta}: it is 0 or more")

    def shape(points: Tensor, last: float) -> Tensor:
        place = points * (2 / last) - 1
        inside = (1 - place.square()).clamp(min=0)
        return (inside.sqrt() * beta).i0() / points.full_like(beta).i0()

    return _window(M, shape, sym=sym, **options)
