"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.onnx.operators.formats import cast_array
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import (
    STORED_ONLY,
    STRING,
    Host,
    Value,
    cast_tensor,
    dtype_of,
    element_type,
    is_on_host,
    to_host,
    to_tensor,
)
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where as choose


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return a / b if a.dtype.is_floating_point else a.div(b, rounding_mode="trunc")


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """The result has the dtype of the base, whatever the exponent's."""
    return base.pow(exponent).to(base.dtype)


_BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "Add": Tensor.add,
    "Sub": Tensor.sub,
    "Mul": Tensor.mul,
    "Div": _divide,
    "Pow": _power,
    "And": Tensor.logical_and,
    "Or": Tensor.logical_or,
    "Xor": Tensor.logical_xor,
    "Greater": Tensor.gt,
    "Less": Tensor.lt,
    "GreaterOrEqual": Tensor.ge,
    "LessOrEqual": Tensor.le,
}


def _register_binary(name: str, function: Callable[[Any, Any], Tensor]) -> None:
    @operator(name, since=7)
    def compute(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)

    @operator(name, since=1)
    def compute_aligned(
        a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
    ) -> Tensor:
        return function(a, _aligned(b, a.ndim, axis))


def _aligned(b: Tensor, ndim: int, axis: int | None) -> Tensor:
    """Before operator set 7, ``axis`` says where the dimensions of ``b`` begin."""
    if axis is None or b.ndim == 0:
        return b
    first = axis % ndim
    return b.reshape(*b.shape, *(1,) * (ndim - first - b.ndim))


for _name, _function in _BINARY.items():
    _register_binary(_name, _function)


_UNARY: dict[str, Callable[[Any], Tensor]] = {
    "Abs": Tensor.abs,
    "Acos": Tensor.acos,
    "Acosh": Tensor.acosh,
    "Asin": Tensor.asin,
    "Asinh": Tensor.asinh,
    "Atan": Tensor.atan,
    "Atanh": Tensor.atanh,
    "BitwiseNot": Tensor.bitwise_not,
    "Ceil": Tensor.ceil,
    "Cos": Tensor.cos,
    "Cosh": Tensor.cosh,
    "Erf": Tensor.erf,
    "Exp": Tensor.exp,
    "Floor": Tensor.floor,
    "IsNaN": Tensor.isnan,
    "Log": Tensor.log,
    "Neg": Tensor.neg,
    "Not": Tensor.logical_not,
    "Reciprocal": Tensor.reciprocal,
    "Round": Tensor.round,
    "Sign": Tensor.sign,
    "Sin": Tensor.sin,
    "Sinh": Tensor.sinh,
    "Sqrt": Tensor.sqrt,
    "Tan": Tensor.tan,
}


def _register_unary(name: str, function: Callable[[Any], Tensor]) -> None:
    @operator(name)
    def compute(x: Tensor) -> Tensor:
        return function(x)


for _name, _unary in _UNARY.items():
    _register_unary(_name, _unary)


@operator("Identity")
def identity(x: Value) -> Value:
    return x


@operator("Equal", since=7)
def equal(a: Value, b: Value) -> Value:
    """Strings are compared too."""
    if STRING in (dtype_of(a), dtype_of(b)):
        return np.asarray(to_host(a) == to_host(b))
    return to_tensor(a).eq(to_tensor(b))


@operator("Equal", since=1)
def equal_1(
    a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    return a.eq(_aligned(b, a.ndim, axis))


@operator("Mod")
def modulo(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """The remainder has the divisor's sign; with ``fmod`` it has the dividend's."""
    return a.fmod(b) if fmod else a.remainder(b)


@operator("BitShift")
def bit_shift(a: Tensor, b: Tensor, *, direction: str) -> Tensor:
    is_left = direction == "LEFT"
    return a.bitwise_left_shift(b) if is_left else a.bitwise_right_shift(b)


@operator("BitwiseAnd")
def bitwise_and(a: Tensor, b: Tensor) -> Tensor:
    return a.bitwise_and(b)


@operator("BitwiseOr")
def bitwise_or(a: Tensor, b: Tensor) -> Tensor:
    return a.bitwise_or(b)


@operator("BitwiseXor")
def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    return a.bitwise_xor(b)


@operator("IsInf")
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    if detect_negative and detect_positive:
        return x.isinf()
    if detect_negative or detect_positive:
        return x.isneginf() if detect_negative else x.isposinf()
    return x.isinf().zeros_like()


def _folded(function: Callable[[Any, Any], Tensor], values: tuple[Tensor, ...]) -> Any:
    return functools.reduce(function, values)


@operator("Max")
def maximum(*values: Tensor) -> Tensor:
    return _folded(Tensor.maximum, values)


@operator("Min")
def minimum(*values: Tensor) -> Tensor:
    return _folded(Tensor.minimum, values)


@operator("Sum")
def total(*values: Tensor) -> Tensor:
    return _folded(Tensor.add, values)


@operator("Mean")
def mean(*values: Tensor) -> Tensor:
    return _folded(Tensor.add, values) / len(values)


@operator("Clip")
def clip(x: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """The lower bound first: where they cross, the upper one wins."""
    if min is not None:
        x = x.maximum(min.to(x.dtype))
    return x if max is None else x.minimum(max.to(x.dtype))


@operator("Where")
def where(condition: Tensor, x: Value, y: Value) -> Value:
    """Strings are chosen on the host."""
    if isinstance(x, np.ndarray) and x.dtype == STRING:
        return np.where(condition.read(), x, to_host(y))
    return choose(condition, to_tensor(x), to_tensor(y))


@operator("BitCast")
def bit_cast(x: Value, *, to: int) -> Value:
    """The same bits as another type of the same width."""
    dtype = element_type(to)
    if is_on_host(x) or dtype not in {entry.numpy for entry in dtypes.ARITHMETIC}:
        return to_host(x).view(dtype)
    return to_tensor(x).bitcast(dtypes.from_numpy(dtype))


@operator("CumSum")
def cumulative_sum(
    x: Tensor, axis: Host, *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    return _running(x, int(axis.item()), Tensor.cumsum, 0, exclusive, reverse)


@operator("CumProd")
def cumulative_product(
    x: Tensor, axis: Host, *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    return _running(x, int(axis.item()), Tensor.cumprod, 1, exclusive, reverse)


def _running(
    x: Tensor,
    dim: int,
    function: Callable[..., Tensor],
    neutral: int,
    exclusive: int,
    reverse: int,
) -> Tensor:
    """A running total; an exclusive one leaves out the element itself."""
    dim %= max(x.ndim, 1)
    x = x.flip(dim) if reverse else x
    result = function(x, dim).to(x.dtype)
    if exclusive:
        edges = [0, 0] * (x.ndim - 1 - dim) + [1, -1]
        result = result.pad(edges, value=neutral)
    return result.flip(dim) if reverse else result


@operator("Cast")
def cast(x: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    return converted(x, element_type(to), saturate, round_mode)


@operator("CastLike")
def cast_like(
    x: Value, like: Value, *, saturate: int = 1, round_mode: str = "up"
) -> Value:
    return converted(x, dtype_of(like), saturate, round_mode)


def converted(
    x: Value, dtype: np.dtype, saturate: int = 1, round_mode: str = "up"
) -> Value:
    """The value in another type: on the device if that has the type."""
    if isinstance(x, Tensor) and dtype not in STORED_ONLY:
        return cast_tensor(x, dtype)
    return cast_array(to_host(x), dtype, bool(saturate), round_mode)
