"""Special functions against mpmath, in units of the last place of float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, special

mpmath = pytest.importorskip("mpmath")

CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], list[float]]] = {
    "lgamma": (
        special.gammaln,
        lambda x: mpmath.log(abs(mpmath.gamma(x))),
        [-3.7, -0.4, 1e-5, 0.7, 1.0, 2.5, 33.0, 1e4],
    ),
    "digamma": (special.digamma, mpmath.digamma, [-2.3, 1e-3, 0.4, 1.7, 9.0, 300.0]),
    "trigamma": (
        lambda x: special.polygamma(1, x),
        lambda x: mpmath.polygamma(1, x),
        [-4.6, -0.2, 0.3, 2.0, 50.0],
    ),
    "polygamma(3)": (
        lambda x: special.polygamma(3, x),
        lambda x: mpmath.polygamma(3, x),
        [-1.4, 0.3, 2.0, 50.0],
    ),
    "i0": (special.i0, lambda x: mpmath.besseli(0, x), [-30.0, 0.0, 0.1, 8.0, 60.0]),
    "i1e": (
        special.i1e,
        lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)),
        [-30.0, 1e-7, 0.1, 8.0, 24.9, 25.1],
    ),
    "bessel_j0": (
        special.bessel_j0,
        lambda x: mpmath.besselj(0, x),
        [-3.0, 0.0, 2.4, 24.9, 25.1, 80.0],
    ),
    "bessel_j1": (
        special.bessel_j1,
        lambda x: mpmath.besselj(1, x),
        [-3.0, 1e-6, 2.4, 24.9, 25.1, 80.0],
    ),
    "bessel_y0": (
        special.bessel_y0,
        lambda x: mpmath.bessely(0, x),
        [1e-6, 0.5, 7.0, 24.9, 25.1],
    ),
    "bessel_y1": (
        special.bessel_y1,
        lambda x: mpmath.bessely(1, x),
        [1e-6, 0.5, 7.0, 24.9, 25.1],
    ),
    "modified_bessel_k0": (
        special.modified_bessel_k0,
        lambda x: mpmath.besselk(0, x),
        [1e-6, 1.9, 2.1, 40.0],
    ),
    "modified_bessel_k1": (
        special.modified_bessel_k1,
        lambda x: mpmath.besselk(1, x),
        [1e-6, 1.9, 2.1, 40.0],
    ),
    "airy_ai": (
        special.airy_ai,
        mpmath.airyai,
        [-30.0, -6.9, -7.1, 0.0, 1.4, 1.6, 9.0],
    ),
    "erfcx": (
        special.erfcx,
        lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
        [-4.0, 0.0, 7.9, 8.1, 1e4],
    ),
    "ndtr": (special.ndtr, mpmath.ncdf, [-12.0, -1.0, 0.0, 4.0]),
    "log_ndtr": (
        special.log_ndtr,
        lambda x: mpmath.log(mpmath.ncdf(x)),
        [-100.0, -1.1, -0.9, 5.0],
    ),
    "ndtri": (
        special.ndtri,
        lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1),
        [1e-30, 1e-3, 0.3, 0.7, 0.999],
    ),
    "zeta": (
        lambda x: special.zeta(x, Tensor(np.float32(0.75))),
        lambda x: mpmath.zeta(x, 0.75),
        [1.25, 2.0, 3.5, 20.0],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_function_is_exact_to_half_a_unit_of_float32(name: str) -> None:
    ours, exact, points = CASES[name]
    array = np.array(points, np.float32)
    found = ours(Tensor(array)).numpy()
    with mpmath.workdps(40):
        for point, value in zip(array, found, strict=True):
            wanted = float(exact(mpmath.mpf(float(point))))
            unit = float(np.spacing(np.float32(abs(wanted))))
            assert abs(float(value) - wanted) <= 0.51 * unit, (float(point), value)


def test_incomplete_gamma_functions_add_up_to_one() -> None:
    shape = Tensor([0.1, 1.0, 5.0, 150.0, 900.0], dtype="float64")
    point = Tensor([0.05, 2.0, 4.0, 160.0, 880.0], dtype="float64")
    lower, upper = special.gammainc(shape, point), special.gammaincc(shape, point)
    np.testing.assert_allclose((lower + upper).numpy(), 1.0, rtol=1e-14)
    for a, x, value in zip(shape.numpy(), point.numpy(), lower.numpy(), strict=True):
        exact = float(mpmath.gammainc(float(a), 0, float(x), regularized=True))
        assert value == pytest.approx(exact, rel=1e-11)


def test_limits_and_poles() -> None:
    edge = Tensor([0.0, -1.0, math.inf])
    np.testing.assert_array_equal(edge.lgamma().numpy(), [math.inf] * 3)
    np.testing.assert_array_equal(
        special.bessel_y0(Tensor([0.0, -1.0])).numpy(), [-math.inf, math.nan]
    )
    np.testing.assert_array_equal(
        special.ndtri(Tensor([0.0, 1.0, 2.0])).numpy(), [-math.inf, math.inf, math.nan]
    )
    np.testing.assert_array_equal(
        special.zeta(Tensor([1.0, 0.5]), Tensor([1.0, 1.0])).numpy(),
        [math.inf, math.nan],
    )


def test_gradient_of_a_norm_at_zero_is_zero() -> None:
    for degree in (1.5, 3.0):
        x = Tensor([0.0, 0.0], requires_grad=True)
        x.norm(degree).backward()
        np.testing.assert_array_equal(x.grad.numpy(), [0.0, 0.0])  # type: ignore
