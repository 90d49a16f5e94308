"""Activation functions, and softmax with its relatives."""

from __future__ import annotations

import math

from tetragrad.onnx.registry import operator
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where


@operator("Relu")
def relu(x: Tensor) -> Tensor:
    return x.relu() if x.dtype.is_floating_point else x.clamp(min=0)


@operator("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return x.leaky_relu(alpha)


@operator("PRelu")
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Before operator set 7 a vector of slopes goes with the channels."""
    if slope.ndim == 1 and x.ndim > 2 and slope.shape[0] == x.shape[1] != x.shape[-1]:
        slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
    return where(x < 0, x * slope, x)


@operator("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x.elu(alpha)


@operator("Celu")
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x.celu(alpha)


@operator("Selu")
def selu(
    x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214
) -> Tensor:
    return where(x > 0, x, x.elu(alpha)) * gamma


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return where(x > alpha, x, x.zeros_like())


@operator("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


@operator("HardSwish")
def hard_swish(x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


@operator("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x * (x * alpha).sigmoid()


@operator("SwiGLU")
def swiglu(a: Tensor, b: Tensor, *, alpha: float = 1.0) -> Tensor:
    return swish(a, alpha=alpha) * b


@operator("Sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()


@operator("Tanh")
def tanh(x: Tensor) -> Tensor:
    return x.tanh()


@operator("Softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which never overflows."""
    return x.relu() + x.abs().neg().exp().log1p()


@operator("Softsign")
def softsign(x: Tensor) -> Tensor:
    return x.softsign()


@operator("Mish")
def mish(x: Tensor) -> Tensor:
    return x * softplus(x).tanh()


@operator("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return x.gelu(approximate)


@operator("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    inner = where(x > lambd, x - bias, x.zeros_like())
    return where(x < -lambd, x + bias, inner).to(x.dtype)


@operator("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """In 16 bits each step is rounded, as the standard's definition has it."""
    if x.dtype.bits > 16:
        return x.softmax(axis)
    powers = (x - x.amax(axis, keepdim=True)).exp()
    return powers / powers.sum(axis, keepdim=True)


@operator("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return x.log_softmax(axis)


@operator("Hardmax", since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first largest element, 0 elsewhere."""
    axis %= x.ndim
    place = x.argmax(axis, keepdim=True)
    shape = [-1 if dim == axis else 1 for dim in range(x.ndim)]
    return place.eq(Tensor.arange(x.shape[axis]).reshape(shape)).to(x.dtype)


def _as_rows(x: Tensor, axis: int) -> Tensor:
    """Before operator set 13 all dimensions from ``axis`` on are one."""
    axis = axis % x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Softmax", since=1)
def softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return _as_rows(x, axis).softmax(-1).reshape(x.shape)


@operator("LogSoftmax", since=1)
def log_softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return _as_rows(x, axis).log_softmax(-1).reshape(x.shape)


@operator("Hardmax", since=1)
def hardmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return hardmax(_as_rows(x, axis)).reshape(x.shape)
