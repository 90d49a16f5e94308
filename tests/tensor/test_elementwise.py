"""Elementwise methods against PyTorch: values, dtypes, shapes, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tetragrad
from tests.tensor.comparison import (
    TOLERANCE,
    Case,
    as_numpy,
    assert_same,
    check,
    ours,
    theirs,
    torch,
)


def unary(name: str, low: float = -2.0, high: float = 2.0, scale: float = 1.0) -> Case:
    return Case(
        name, lambda _, x: getattr(x, name)(), ((3, 4),), low, high, True, scale
    )


UNARY = [
    *map(unary, ["abs", "sign", "square", "exp", "exp2", "expm1", "sigmoid", "sin"]),
    *map(unary, ["cos", "atan", "sinh", "cosh", "tanh", "asinh", "erf", "erfc"]),
    *map(unary, ["floor", "ceil", "trunc", "frac", "round", "neg", "deg2rad"]),
    *map(unary, ["rad2deg", "sinc", "isnan", "isinf", "isfinite", "signbit"]),
    unary("tan", -1.2, 1.2),
    unary("asin", -0.9, 0.9),
    unary("acos", -0.9, 0.9),
    unary("atanh", -0.9, 0.9),
    unary("erfinv", -0.9, 0.9, 4.0),
    unary("logit", 0.1, 0.9),
    unary("acosh", 1.1, 4.0),
    unary("sqrt", 0.1, 4.0),
    unary("rsqrt", 0.1, 4.0),
    unary("log", 0.1, 4.0),
    unary("log2", 0.1, 4.0),
    unary("log10", 0.1, 4.0),
    unary("log1p", -0.9, 4.0),
    unary("reciprocal", 0.5, 4.0),
    unary("nan_to_num"),
    unary("isposinf"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("case", UNARY, ids=str)
def test_unary(case: Case, dtype: str) -> None:
    check(case, dtype)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("case", UNARY, ids=str)
def test_unary_of_integers(case: Case, dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 1]])
    try:
        expected = case.program(torch, theirs(array, dtype))
    except RuntimeError:
        return  # PyTorch has no such function of this dtype.
    assert_same(case.program(tetragrad, ours(array, dtype)), expected, 2)


SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 1e-30, 0.5])


#: An angle of 1e30 needs more digits of π than these functions promise.
ANGLES = ("tan", "sin", "cos", "sinc")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in UNARY if c.name not in ANGLES], ids=str)
def test_unary_of_special_values(case: Case, dtype: str) -> None:
    mine = case.program(tetragrad, ours(SPECIAL, dtype))
    expected = case.program(torch, theirs(SPECIAL, dtype))
    assert_same(mine, expected, 4)
    if mine.dtype.is_floating_point:
        zero = as_numpy(expected) == 0
        np.testing.assert_array_equal(
            np.signbit(as_numpy(mine)[zero]), np.signbit(as_numpy(expected)[zero])
        )


def binary(name: str, low: float = -2.0, high: float = 2.0) -> Case:
    return Case(name, lambda _, x, y: getattr(x, name)(y), ((3, 4), (4,)), low, high)


BINARY = [
    *map(binary, ["add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin"]),
    *map(binary, ["eq", "ne", "lt", "le", "gt", "ge", "logaddexp", "atan2", "hypot"]),
    *map(binary, ["copysign", "remainder", "fmod", "logical_and"]),
    *map(binary, ["logical_or", "logical_xor", "logaddexp2", "true_divide"]),
    Case("floor_divide", lambda _, x, y: x // y, ((3, 4),) * 2, gradient=False),
    binary("pow", 0.1, 3.0),
    binary("xlogy", 0.1, 3.0),
    Case(
        "div_trunc", lambda _, x, y: x.div(y, rounding_mode="trunc"), ((3, 4), (3, 1))
    ),
    Case(
        "div_floor", lambda _, x, y: x.div(y, rounding_mode="floor"), ((3, 4), (3, 1))
    ),
    Case("add_alpha", lambda _, x, y: x.add(y, alpha=2), ((3, 1), (1, 4))),
    Case("radd", lambda _, x: 2 + x),
    Case("rsub", lambda _, x: 2 - x),
    Case("rmul", lambda _, x: 2 * x),
    Case("rdiv", lambda _, x: 2 / x, low=0.5),
    Case("rpow", lambda _, x: 2**x),
    *[
        Case(f"pow{p}", lambda _, x, p=p: x**p, low=0.1)
        for p in (0, 1, 2, 3, 4, 0.5, -1, -0.5, -2, 2.5)
    ],
    Case("negative_pow3", lambda _, x: x**3),
    Case("lerp", lambda _, x, y: x.lerp(y, 0.3), ((3, 4), (3, 4))),
    Case("lerp_tensor", lambda _, x, y, w: x.lerp(y, w), ((3, 4), (3, 4), (3, 4))),
    Case("addcmul", lambda _, x, y, z: x.addcmul(y, z, value=2), ((2, 3),) * 3),
    Case("addcdiv", lambda _, x, y, z: x.addcdiv(y, z, value=2), ((2, 3),) * 3),
    Case("clamp", lambda _, x: x.clamp(-1, 1)),
    Case("clamp_min", lambda _, x: x.clamp(min=0.5)),
    Case("clamp_tensor", lambda _, x, y: x.clamp(max=y), ((3, 4), (4,))),
    Case("where", lambda T, x, y: T.where(x > 0, x, y), ((3, 4), (4,))),
    Case("where_number", lambda T, x: T.where(x > 0, x, 1.5)),
    Case("masked_fill", lambda _, x: x.masked_fill(x > 0, 7)),
    Case("round_decimals", lambda _, x: x.round(decimals=1), gradient=False),
    Case("scalar_chain", lambda _, x: (x * 2 + 1) / 3 - 0.5),
    Case("nan_to_num_values", lambda _, x: (x / 0).nan_to_num(1.0, 2.0, -2.0)),
]


#: A quotient that is rounded differently may be off by one whole step.
STEPS = ("remainder", "fmod", "div_trunc", "div_floor", "floor_divide")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("case", BINARY, ids=str)
def test_binary(case: Case, dtype: str) -> None:
    is_exact = dtype in ("float32", "float64")
    if is_exact or case.name not in STEPS:
        check(case, dtype)


DTYPES = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "uint8",
    "bool",
]


@pytest.mark.parametrize("rhs", DTYPES)
@pytest.mark.parametrize("lhs", DTYPES)
@pytest.mark.parametrize("shape", [(3,), ()], ids=["dims", "scalar"])
def test_promotion(lhs: str, rhs: str, shape: tuple[int, ...]) -> None:
    left, right = np.array([1, 2, 3]), np.full(shape, 2)
    operations = {
        "add": lambda x, y: x + y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "lt": lambda x, y: x < y,
    }
    for operation in operations.values():
        expected = operation(theirs(left, lhs), theirs(right, rhs))
        assert_same(operation(ours(left, lhs), ours(right, rhs)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 2, 2.5], ids=str)
def test_promotion_with_numbers(dtype: str, number: float) -> None:
    for shape in [(3,), ()]:
        array = np.ones(shape)
        expected = theirs(array, dtype) + number
        assert_same(ours(array, dtype) + number, expected)
        assert_same(number * ours(array, dtype), number * theirs(array, dtype))


INTEGER_PAIRS = np.array([(a, b) for a in (-7, -2, 0, 3, 7) for b in (-3, -1, 1, 2, 5)])


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8"])
def test_integer_arithmetic(dtype: str) -> None:
    left, right = INTEGER_PAIRS[:, 0], INTEGER_PAIRS[:, 1]
    for name in ["floor_divide", "remainder", "fmod", "bitwise_and", "bitwise_or"]:
        expected = getattr(theirs(left, dtype), name)(theirs(right, dtype))
        assert_same(getattr(ours(left, dtype), name)(ours(right, dtype)), expected)
    x, y = ours(left, dtype), theirs(left, dtype)
    assert_same(~x, ~y)
    assert_same(x ^ 3, y ^ 3)
    assert_same(x << 2, y << 2)
    assert_same(x >> 1, y >> 1)
    assert_same(x**3, y**3)
    mine = x.div(ours(right, dtype), rounding_mode="trunc")
    assert_same(mine, y.div(theirs(right, dtype), rounding_mode="trunc"))


def test_integer_power_of_tensor() -> None:
    base, exponent = np.array([2, 3, -2, 1, 0]), np.array([10, 5, 3, 60, 0])
    expected = theirs(base, "int64") ** theirs(exponent, "int64")
    assert_same(ours(base, "int64") ** ours(exponent, "int64"), expected)


ACTIVATIONS = [
    *[
        Case(name, lambda T, x, name=name: getattr(T.nn.functional, name)(x))
        for name in (
            "relu relu6 hardtanh leaky_relu elu celu selu gelu silu mish softplus "
            "logsigmoid hardsigmoid hardswish softsign tanhshrink hardshrink softshrink"
        ).split()
    ],
    Case("gelu_tanh", lambda T, x: T.nn.functional.gelu(x, approximate="tanh")),
    Case("glu", lambda T, x: T.nn.functional.glu(x, -1)),
    Case("threshold", lambda T, x: T.nn.functional.threshold(x, 0.1, 20.0)),
    Case("softmax", lambda _, x: x.softmax(-1)),
    Case("softmax0", lambda _, x: x.softmax(0)),
    Case("log_softmax", lambda _, x: x.log_softmax(1)),
    Case("softmin", lambda T, x: T.nn.functional.softmin(x, dim=1)),
    Case("prelu", lambda T, x, w: T.nn.functional.prelu(x, w), ((2, 3, 4), (3,))),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_activation(case: Case, dtype: str) -> None:
    # PyTorch's hardsigmoid has a gradient of float32's 1/6 in float64 too.
    check(case, "float32" if case.name == "hardsigmoid" else dtype)


@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_activation_of_large_values(case: Case) -> None:
    arrays = [np.array([[-100.0, -30.0, 0.0, 30.0, 100.0, 1000.0]])]
    if case.name == "prelu":
        arrays.append(np.array([0.25]))
    mine = [ours(array, "float32", True) for array in arrays]
    other = [theirs(array, "float32", True) for array in arrays]
    got, want = case.program(tetragrad, *mine), case.program(torch, *other)
    assert_same(got, want, 4)
    got.sum().backward()
    want.sum().backward()
    assert_same(mine[0].grad, other[0].grad, 4)


def test_tolerances_cover_all_float_dtypes() -> None:
    assert set(TOLERANCE) == {d for d in (*DTYPES,) if "float" in d}


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signs_of_zeros_and_special_values_in_whole_division(
    name: str, dtype: str
) -> None:
    values = np.array([0.0, -0.0, 3, -3, 6, 0.5, -0.5, np.inf, -np.inf, np.nan], dtype)
    left, right = (grid.ravel().copy() for grid in np.meshgrid(values, values))
    wanted = getattr(torch, name)(torch.from_numpy(left), torch.from_numpy(right))
    found = getattr(tetragrad, name)(*map(tetragrad.Tensor, (left, right))).numpy()
    expected = wanted.numpy()
    np.testing.assert_array_equal(found, expected)
    is_number = ~np.isnan(expected)
    np.testing.assert_array_equal(
        np.signbit(found[is_number]), np.signbit(expected[is_number])
    )
