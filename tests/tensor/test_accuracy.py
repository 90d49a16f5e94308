"""Functions of one number against 40 digits: how many units of the last place off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

mpmath = pytest.importorskip("mpmath")

#: For each function the spans its arguments are drawn from, and the units allowed.
FUNCTIONS: dict[str, tuple[list[tuple[float, float]], float]] = {
    "atan": ([(-1.1, 1.1), (-1e3, 1e3), (2, 1e20)], 2),
    "asin": ([(-1, 1), (0.4, 0.6), (0.99, 1)], 2),
    "acos": ([(-1, 1), (0.4, 0.6), (0.99, 1), (-1, -0.9)], 2),
    "erfc": ([(-3, 3), (-0.1, 0.1), (0, 9), (9, 26)], 4),
    "erfcx": ([(-3, 3), (-9, -2), (0, 30), (20, 1e6)], 4),
    "asinh": ([(-1, 1), (-1e6, 1e6), (1e8, 1e12)], 4),
    "acosh": ([(1, 1.5), (1, 1e6), (1e8, 1e12)], 4),
}


def exact(name: str) -> Callable[[Any], Any]:
    """The function in as many digits as mpmath is set to."""
    if name == "erfcx":
        return lambda x: mpmath.exp(x * x) * mpmath.erfc(x)
    return lambda x: getattr(mpmath, name)(x)


def ours(name: str, x: Tensor) -> np.ndarray:
    """The function as users call it."""
    function = getattr(tetragrad, name, None) or getattr(tetragrad.special, name)
    return function(x).numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_of_the_last_place(name: str, dtype: type) -> None:
    spans, allowed = FUNCTIONS[name]
    random = np.random.default_rng(3)
    drawn = [random.uniform(low, high, 60) for low, high in spans]
    x = np.concatenate(drawn).astype(dtype)
    found = ours(name, Tensor(x))
    with mpmath.workdps(40):
        wanted = [exact(name)(mpmath.mpf(float(entry))) for entry in x]
        nearest = np.array([float(entry) for entry in wanted])
        # Below the normal numbers the spacing says less than the digits that are left.
        counted = np.abs(nearest) >= np.finfo(dtype).tiny
        units = np.spacing(np.abs(nearest.astype(dtype)))
        errors = [
            abs(mpmath.mpf(float(value)) - true) / mpmath.mpf(float(unit))
            for value, true, unit in zip(
                found[counted],
                np.array(wanted, object)[counted],
                units[counted],
                strict=True,
            )
        ]
    assert float(max(errors)) <= allowed


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "asinh", "atan", "erfc", "lgamma"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_rounded_once(name: str, dtype: str) -> None:
    random = np.random.default_rng(4)
    x = Tensor(random.uniform(0.1, 6, 500).astype(np.float32)).to(dtype)
    once = getattr(x.float(), name)().to(dtype)
    np.testing.assert_array_equal(
        getattr(x, name)().float().numpy(), once.float().numpy()
    )


@pytest.mark.parametrize(
    ("name", "argument", "result"),
    [
        ("atan", np.inf, np.pi / 2),
        ("atan", -np.inf, -np.pi / 2),
        ("asin", 1.5, np.nan),
        ("acos", -1.0, np.pi),
        ("acos", 1.0, 0.0),
        ("acos", 1.5, np.nan),
        ("erfc", np.inf, 0.0),
        ("erfc", -np.inf, 2.0),
        ("erfc", np.nan, np.nan),
        ("erfcx", np.inf, 0.0),
        ("erfcx", -np.inf, np.inf),
        ("erfcx", np.nan, np.nan),
    ],
)
def test_limits(name: str, argument: float, result: float) -> None:
    for dtype in (np.float32, np.float64):
        found = ours(name, Tensor(np.array([argument], dtype)))
        np.testing.assert_array_equal(found, np.array([result], dtype))


def test_zeros_keep_their_sign() -> None:
    for name in ("atan", "asin", "asinh"):
        found = ours(name, Tensor([0.0, -0.0]))
        np.testing.assert_array_equal(np.signbit(found), [False, True])
