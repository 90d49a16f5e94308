"""Elementary functions against float64 libraries, and the cases C99 lists."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.tile.numpy_arithmetic import NumpyArithmetic
from tetragrad.core.errors import DTypeError
from tetragrad.tile import functions

inf, nan = math.inf, math.nan

# What is asked for, in units of the last place, as (float32, float64). The float64
# bounds include one unit for the library that is compared with.
LIMITS = {
    "exp": (1, 3),
    "exp2": (1, 3),
    "log": (1, 3),
    "log2": (1, 3),
    "sin": (1, 3),
    "cos": (1, 3),
    "tanh": (4, 5),
    "erf": (4, 5),
}
REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    name: getattr(np, name, None) or np.vectorize(getattr(math, name), otypes=[float])
    for name in LIMITS
}

# How many basic operations each may take in float32: they run in inner loops.
OPERATIONS = {
    "exp": 20,
    "exp2": 19,
    "log": 29,
    "log2": 31,
    "tanh": 21,
    "erf": 29,
}


def evaluate(name: str, *arguments: np.ndarray, **options: bool) -> np.ndarray:
    with np.errstate(all="ignore"):
        return getattr(functions, name)(NumpyArithmetic(), *arguments, **options)


def max_error(result: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of the exact value."""
    information = np.finfo(result.dtype)
    smallest_exponent = np.log2(float(information.tiny))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.abs(exact)))
        exponent = np.maximum(np.nan_to_num(exponent, neginf=-2000), smallest_exponent)
        unit = np.exp2(exponent - information.nmant)
        error = np.abs(result.astype(np.float64) - exact) / unit
        agree = (result == exact.astype(result.dtype)) | (
            np.isnan(result) & np.isnan(exact)
        )
    return float(np.max(np.where(agree, 0.0, np.nan_to_num(error, nan=inf))))


def every_exponent(dtype: type, count: int = 100_000) -> np.ndarray:
    """Random bits: both signs, all exponents, subnormals, infinities and NaN."""
    generator = np.random.default_rng(7)
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    bits = generator.integers(0, np.iinfo(unsigned).max, count, unsigned, True)
    return bits.view(dtype)


def ordinary(dtype: type, low: float, high: float, count: int = 100_000) -> np.ndarray:
    return np.random.default_rng(8).uniform(low, high, count).astype(dtype)


@pytest.mark.parametrize("name", LIMITS)
def test_float32_is_accurate_for_every_exponent(name: str) -> None:
    x = every_exponent(np.float32)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
    assert max_error(evaluate(name, x), exact) <= LIMITS[name][0]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("size", [2.0, 10.0, 110.0, 5000.0])
def test_float32_is_accurate_on_ordinary_arguments(name: str, size: float) -> None:
    x = ordinary(np.float32, 0.0 if name.startswith("log") else -size, size, 50_000)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
    assert max_error(evaluate(name, x), exact) <= LIMITS[name][0]


@pytest.mark.parametrize("name", LIMITS)
def test_float64_is_accurate(name: str) -> None:
    low = 0.0 if name.startswith("log") else -30.0
    x = np.concatenate([ordinary(np.float64, low, 30.0), every_exponent(np.float64)])
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x)
    assert max_error(evaluate(name, x), exact) <= LIMITS[name][1]


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_next_to_multiples_of_a_quarter_turn(name: str) -> None:
    multiples = (np.arange(1, 50_000) * (math.pi / 2)).astype(np.float32)
    below = np.nextafter(multiples, np.float32(0))
    x = np.concatenate([multiples, below, multiples * np.float32(1 << 20)])
    exact = REFERENCES[name](x.astype(np.float64))
    assert max_error(evaluate(name, x), exact) <= 1


@pytest.mark.parametrize(
    ("argument", "sine"),
    [
        # Computed with 1,300 bits. The last is the double closest to a multiple of
        # pi/2 (Muller et al., Handbook of Floating-Point Arithmetic).
        (1e22, -0.8522008497671888),
        (2.0**1023, 0.5631277798508840),
        (5.319372648326541e255, 1.0),
        (6381956970095103.0 * 2.0**797, 1.0),
    ],
)
def test_sine_of_huge_doubles(argument: float, sine: float) -> None:
    result = evaluate("sin", np.array([argument, -argument]))
    np.testing.assert_allclose(result, [sine, -sine], rtol=3e-16)


def test_cosine_of_the_double_closest_to_a_multiple_of_half_pi() -> None:
    result = evaluate("cos", np.array([6381956970095103.0 * 2.0**797]))
    np.testing.assert_allclose(result, [-4.687165924254628e-19], rtol=3e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_moderate_angles_give_the_same_bits(name: str, dtype: type) -> None:
    x = ordinary(dtype, -4095.0, 4095.0, 10_000)
    short = evaluate(name, x, moderate=True)
    np.testing.assert_array_equal(short, evaluate(name, x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_is_accurate(dtype: type) -> None:
    base = np.exp(ordinary(np.float64, -80.0, 80.0)).astype(dtype)
    exponent = ordinary(dtype, -3.0, 3.0)[::-1].copy()
    near_one = ordinary(dtype, 0.9, 1.1)
    large = ordinary(dtype, -900.0, 900.0)[::-1].copy()
    for x, y in ((base, exponent), (near_one, large)):
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(np.float64), y.astype(np.float64))
        assert max_error(evaluate("pow", x, y), exact) <= 4


SPECIAL_CASES = {
    "exp": [(-inf, 0.0), (inf, inf), (-0.0, 1.0), (nan, nan), (1e30, inf)],
    "exp2": [(-inf, 0.0), (inf, inf), (-0.0, 1.0), (nan, nan), (-3.0, 0.125)],
    "log": [(0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf), (-1.0, nan), (nan, nan)],
    "log2": [(0.0, -inf), (-0.0, -inf), (8.0, 3.0), (inf, inf), (-inf, nan)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan), (nan, nan)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan), (nan, nan)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (nan, nan)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (nan, nan)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECIAL_CASES)
def test_special_cases(name: str, dtype: type) -> None:
    arguments, expected = np.array(SPECIAL_CASES[name], dtype).T.copy()
    assert_identical(evaluate(name, arguments), expected)


POWER_CASES = [
    (2.0, 0.0, 1.0), (nan, 0.0, 1.0), (inf, -0.0, 1.0), (1.0, nan, 1.0),
    (1.0, inf, 1.0), (-1.0, inf, 1.0), (-1.0, -inf, 1.0), (nan, 1.0, nan),
    (2.0, nan, nan), (-2.0, 3.0, -8.0), (-2.0, 2.0, 4.0), (-2.0, 0.5, nan),
    (-2.0, -3.0, -0.125), (0.0, -1.0, inf), (-0.0, -1.0, -inf), (-0.0, -2.0, inf),
    (-0.0, -0.5, inf), (0.0, -inf, inf), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0),
    (-0.0, 0.5, 0.0), (0.5, -inf, inf), (2.0, -inf, 0.0), (0.5, inf, 0.0),
    (2.0, inf, inf), (-2.0, inf, inf), (-inf, -3.0, -0.0), (-inf, -2.0, 0.0),
    (-inf, -0.5, 0.0), (-inf, 3.0, -inf), (-inf, 2.0, inf), (-inf, 0.5, inf),
    (inf, -1.0, 0.0), (inf, 1.0, inf), (inf, inf, inf), (inf, -inf, 0.0),
    (0.0, inf, 0.0), (3.0, 2.0, 9.0), (1e30, 30.0, inf), (-1e30, 31.0, -inf),
    (1e-30, 30.0, 0.0), (-1e-30, 31.0, -0.0), (-2.0, 1e30, inf),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_cases_of_power(dtype: type) -> None:
    base, exponent, expected = np.array(POWER_CASES, dtype).T.copy()
    # These two products are ordinary numbers in float64.
    is_small = np.abs(base) < 1
    is_tiny = is_small & (base != 0) & (np.abs(exponent) >= 30)
    keep = (dtype is np.float32) | ~is_tiny | np.isinf(exponent)
    result = evaluate("pow", base, exponent)
    assert_identical(result[keep], expected[keep])


def assert_identical(result: np.ndarray, expected: np.ndarray) -> None:
    """Equal, with equal signs of zeros; NaN equals NaN."""
    np.testing.assert_array_equal(result, expected)
    zeros = expected == 0
    np.testing.assert_array_equal(
        np.signbit(result[zeros]), np.signbit(expected[zeros])
    )


def test_tanh_and_erf_stay_within_one() -> None:
    x = ordinary(np.float32, -12.0, 12.0)
    assert np.abs(evaluate("tanh", x)).max() == 1.0
    assert np.abs(evaluate("erf", x)).max() == 1.0


def test_exp_underflows_gradually() -> None:
    x = ordinary(np.float32, -104.0, -87.0, 20_000)
    result = evaluate("exp", x)
    exact = np.exp(x.astype(np.float64)).astype(np.float32)
    difference = np.abs(result.view(np.int32) - exact.view(np.int32))
    assert difference.max() <= 1
    assert (
        np.count_nonzero((result > 0) & (result < np.finfo(np.float32).tiny)) > 10_000
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_number_of_operations(name: str) -> None:
    ops = NumpyArithmetic()
    getattr(functions, name)(ops, np.ones(1, np.float32))
    assert sum(ops.counts.values()) <= OPERATIONS[name]


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_other_dtypes_are_refused(dtype: type) -> None:
    with pytest.raises(DTypeError, match="cast the argument to float32"):
        evaluate("exp", np.ones(1, dtype))
