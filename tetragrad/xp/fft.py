"""The Fourier transform extension: ``xp.fft.fft(x)``.

Source: "Fourier transform Functions" of the Python array API standard 2025.12. ``norm``
says which transform divides by the number of elements: the inverse one ("backward"),
the other ("forward"), or both by its root ("ortho"). Arrays are cut, or padded with
zeros, to the sizes ``n`` or ``s``. Dtypes are floating-point ones; a function of real
arrays refuses complex ones with DTypeError, and an axis without elements raises
ShapeError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from tetragrad.core.dtypes import DType
from tetragrad.tensor.fourier import frequencies, functions
from tetragrad.xp.array import Array
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import COMPLEX, FLOATING, REAL_FLOATING, Kinds

Norm: TypeAlias = Literal["backward", "ortho", "forward"]

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]


def _transformed(
    name: str,
    function: Callable[..., Any],
    x: Array,
    on: Kinds,
    sizes: Any,
    axes: Any,
    norm: str,
) -> Array:
    tensor = tensor_of(x, name)
    on.check(tensor.dtype, name)
    return wrap(function(tensor, sizes, axes, norm))


def fft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """Σ x[j] exp(-2πi j k / n), for k < n; complex.

    >>> xp.fft.fft(xp.asarray([1.0, 0.0]))
    Array([1.+0.j, 1.+0.j])
    """
    return _transformed("fft", functions.fft, x, FLOATING, n, axis, norm)


def ifft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """The inverse of ``fft``.

    >>> xp.fft.ifft(xp.asarray([2.0 + 0.0j, 0.0j]))
    Array([1.+0.j, 1.+0.j])
    """
    return _transformed("ifft", functions.ifft, x, FLOATING, n, axis, norm)


def rfft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """The first n // 2 + 1 values of ``fft`` of real numbers; complex.

    >>> xp.fft.rfft(xp.asarray([1.0, 0.0]))
    Array([1.+0.j, 1.+0.j])
    """
    return _transformed("rfft", functions.rfft, x, REAL_FLOATING, n, axis, norm)


def irfft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """The inverse of ``rfft``: n real numbers, by default 2 (size - 1).

    >>> xp.fft.irfft(xp.asarray([2.0 + 0.0j, 0.0j]))
    Array([1., 1.])
    """
    return _transformed("irfft", functions.irfft, x, COMPLEX, n, axis, norm)


def hfft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """``fft`` of numbers of which the half is given, and the rest conjugate; real.

    >>> xp.fft.hfft(xp.asarray([2.0 + 0.0j, 0.0j]))
    Array([2., 2.])
    """
    return _transformed("hfft", functions.hfft, x, COMPLEX, n, axis, norm)


def ihfft(
    x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> Array:
    """The inverse of ``hfft``; complex.

    >>> xp.fft.ihfft(xp.asarray([2.0, 2.0]))
    Array([2.+0.j, 0.+0.j])
    """
    return _transformed("ihfft", functions.ihfft, x, REAL_FLOATING, n, axis, norm)


def fftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """``fft`` along several axes: all, or as many last ones as ``s`` names.

    >>> xp.fft.fftn(xp.ones((2, 4))).shape
    (2, 4)
    """
    return _transformed("fftn", functions.fftn, x, FLOATING, s, axes, norm)


def ifftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """The inverse of ``fftn``.

    >>> xp.fft.ifftn(xp.ones((2, 4))).shape
    (2, 4)
    """
    return _transformed("ifftn", functions.ifftn, x, FLOATING, s, axes, norm)


def rfftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """``rfft`` along the last of several axes, ``fft`` along the others.

    >>> xp.fft.rfftn(xp.ones((2, 4))).shape
    (2, 3)
    """
    return _transformed("rfftn", functions.rfftn, x, REAL_FLOATING, s, axes, norm)


def irfftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """The inverse of ``rfftn``.

    >>> xp.fft.irfftn(xp.ones((2, 4), dtype=xp.complex64)).shape
    (2, 6)
    """
    return _transformed("irfftn", functions.irfftn, x, COMPLEX, s, axes, norm)


def fftfreq(
    n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: str | None = None
) -> Array:
    """The frequencies of ``fft``'s values, for samples ``d`` apart: k / (n d).

    >>> xp.fft.fftfreq(4)
    Array([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    return wrap(frequencies.fftfreq(n, d, dtype=dtype, device=device))


def rfftfreq(
    n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: str | None = None
) -> Array:
    """The frequencies of ``rfft``'s values, for samples ``d`` apart: k / (n d).

    >>> xp.fft.rfftfreq(4)
    Array([0.0000, 0.2500, 0.5000])
    """
    return wrap(frequencies.rfftfreq(n, d, dtype=dtype, device=device))


def fftshift(x: Array, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """Frequency 0 moved to the middle of the axes (all, if none is named).

    >>> xp.fft.fftshift(xp.asarray([0, 1, -2, -1]))
    Array([-2, -1,  0,  1])
    """
    return wrap(frequencies.fftshift(tensor_of(x, "fftshift"), _listed(axes)))


def ifftshift(x: Array, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """The inverse of ``fftshift``.

    >>> xp.fft.ifftshift(xp.asarray([-2, -1, 0, 1]))
    Array([ 0,  1, -2, -1])
    """
    return wrap(frequencies.ifftshift(tensor_of(x, "ifftshift"), _listed(axes)))


def _listed(axes: int | Sequence[int] | None) -> Any:
    return axes if axes is None or isinstance(axes, int) else list(axes)
