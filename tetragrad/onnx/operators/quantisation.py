"""Quantised numbers: to and from them, and products computed in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import ml_dtypes
import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.onnx.operators.convolution import convolved
from tetragrad.onnx.operators.formats import cast_array
from tetragrad.onnx.operators.shape import padded
from tetragrad.onnx.operators.windows import Placement, place_windows
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import (
    CARRIERS,
    STORED_ONLY,
    Value,
    cast_tensor,
    dtype_of,
    element_type,
    to_host,
    to_tensor,
)
from tetragrad.tensor import Tensor

Sizes = Sequence[int]


def _spread(scale: Tensor, shape: tuple[int, ...], axis: int, block: int) -> Tensor:
    """A scale or zero point beside a tensor: of all, of an axis, or of blocks."""
    if scale.numel() == 1 and scale.ndim <= 1:
        return scale.reshape(())
    axis %= len(shape)
    if scale.ndim == 1 and not block:
        return scale.reshape([-1 if dim == axis else 1 for dim in range(len(shape))])
    if scale.ndim != len(shape):
        raise ShapeError(f"a scale of shape {scale.shape} for a value of shape {shape}")
    times = block or -(-shape[axis] // scale.shape[axis])
    return scale.repeat_interleave(times, axis).cut(axis, 0, shape[axis])


def _numbers(value: Value) -> Tensor:
    """Values of any type as a tensor of numbers that a device has."""
    if isinstance(value, np.ndarray) and value.dtype in STORED_ONLY:
        return to_tensor(value.astype(CARRIERS.get(value.dtype, np.float32)))
    return to_tensor(value)


@operator("QuantizeLinear")
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Value:
    """saturate(round(x / scale) + zero point), rounded to even."""
    dtype = np.dtype(np.uint8)
    if output_dtype:
        dtype = element_type(output_dtype)
    if zero_point is not None:
        dtype = dtype_of(zero_point)
    wide = cast_tensor(scale, element_type(precision)) if precision else scale
    if not wide.dtype.is_floating_point:
        wide = wide.float()
    by = _spread(wide, x.shape, axis, block_size)
    ratio = x.to(wide.dtype) / by
    zero = None
    if zero_point is not None:
        zero = _spread(_numbers(zero_point), x.shape, axis, block_size)
    return quantised(ratio, zero, dtype, bool(saturate))


def quantised(
    ratio: Tensor, zero: Tensor | None, dtype: np.dtype, saturate: bool = True
) -> Value:
    """A ratio as the nearest number of a type; the zero point is added."""
    if dtype.name.startswith("float"):
        if zero is not None:
            ratio = ratio + zero.to(ratio.dtype)
        return cast_array(to_host(ratio.float()), dtype, saturate)
    limits: Any = ml_dtypes.iinfo
    info = limits(dtype)
    whole = ratio.round().float()
    if zero is not None:
        whole = whole + zero.float()
    whole = whole.clamp(int(info.min), int(info.max))
    if dtype in STORED_ONLY:
        return cast_array(to_host(whole), dtype)
    return cast_tensor(whole, dtype)


@operator("DequantizeLinear")
def dequantize_linear(
    x: Value,
    scale: Tensor,
    zero_point: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x − zero point) · scale."""
    numbers = _numbers(x)
    result = scale.dtype if not output_dtype else None
    wanted = scale.dtype.numpy if result else element_type(output_dtype)
    dtype = dtypes.from_numpy(wanted)
    work = numbers.to(dtypes.int32) if numbers.dtype.is_integer else numbers.to(dtype)
    if zero_point is not None:
        zero = _spread(_numbers(zero_point), numbers.shape, axis, block_size)
        work = work - zero.to(work.dtype)
    by = _spread(scale, numbers.shape, axis, block_size)
    return work.to(dtype) * by.to(dtype)


def _centred(x: Tensor, zero: Tensor | None, axis: int | None = None) -> Tensor:
    """Integers without their zero point, in 32 bits."""
    whole = x.to(dtypes.int32)
    if zero is None:
        return whole
    zero = zero.to(dtypes.int32)
    if zero.ndim == 1 and zero.numel() > 1 and axis is not None:
        shape = [1] * x.ndim
        shape[axis] = -1
        zero = zero.reshape(shape)
    elif zero.numel() == 1:
        zero = zero.reshape(())
    return whole - zero


@operator("MatMulInteger")
def matmul_integer(
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
) -> Tensor:
    """A product in 32-bit integers; zero points are for all, a row, or a column."""
    return _centred(a, a_zero_point, -2).matmul(_centred(b, b_zero_point, -1))


@operator("QLinearMatMul")
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
) -> Value:
    product = matmul_integer(a, b, a_zero_point, b_zero_point).float()
    left = a_scale.float()
    left = left.unsqueeze(-1) if left.ndim == 1 and left.numel() > 1 else left
    scale = left * b_scale.float() / y_scale.float()
    ratio = product * (scale.reshape(()) if scale.numel() == 1 else scale)
    return quantised(ratio, y_zero_point, y_zero_point.dtype.numpy)


@operator("ConvInteger")
def conv_integer(
    x: Tensor,
    weight: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    group: int = 1,
    kernel_shape: Sizes | None = None,
    **placement: Unpack[Placement],
) -> Tensor:
    """A convolution in 32-bit integers; what is added around it means zero."""
    place = place_windows(x.shape[2:], weight.shape[2:], **placement)
    centred = padded(_centred(x, x_zero_point), place.edges, "constant")
    inside = place_windows(
        centred.shape[2:],
        place.kernel,
        strides=place.strides,
        dilations=place.dilations,
    )
    return convolved(centred, _centred(weight, w_zero_point, 0), inside, group)


@operator("QLinearConv")
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    weight: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    bias: Tensor | None = None,
    *,
    group: int = 1,
    kernel_shape: Sizes | None = None,
    **placement: Unpack[Placement],
) -> Value:
    sums = conv_integer(x, weight, x_zero_point, w_zero_point, group=group, **placement)
    by_channel = (1, -1, *(1,) * (x.ndim - 2))
    if bias is not None:
        sums = sums + bias.reshape(by_channel)
    scale = x_scale * w_scale / y_scale
    scale = scale.reshape(()) if scale.numel() == 1 else scale.reshape(by_channel)
    return quantised(sums.float() * scale, y_zero_point, y_zero_point.dtype.numpy)
