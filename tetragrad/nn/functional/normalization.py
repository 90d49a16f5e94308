"""Normalisations: subtract a mean, divide by a deviation, scale and shift.

Statistics of float16 and bfloat16 inputs are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import effects
from tetragrad.tensor.modes import no_grad


def _wide(input: Tensor) -> Tensor:
    return input.to(dtypes.accumulation(input.dtype))


def _standardize(
    input: Tensor, dims: Sequence[int], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / √(variance + eps), with the mean and the biased variance."""
    mean = input.mean(dim=tuple(dims), keepdim=True)
    centered = input - mean
    variance = (centered * centered).mean(dim=tuple(dims), keepdim=True)
    return centered * (variance + eps).rsqrt(), mean, variance


def _affine(
    normalized: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]
) -> Tensor:
    """normalized·weight + bias, with both laid out in ``shape``."""
    if weight is not None:
        normalized = normalized * weight.reshape(*shape)
    return normalized if bias is None else normalized + bias.reshape(*shape)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, whose sizes are ``normalized_shape``."""
    shape = _check_last_dims("layer_norm", input, normalized_shape)
    dims = range(-len(shape), 0)
    normalized, _, _ = _standardize(_wide(input), dims, eps)
    return _affine(normalized, weight, bias, shape).to(input.dtype)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / √(mean(x²) + eps)·weight over the last dimensions."""
    shape = _check_last_dims("rms_norm", input, normalized_shape)
    wide = _wide(input)
    if eps is None:
        eps = float(np.finfo(wide.dtype.numpy).eps)
    dims = tuple(range(-len(shape), 0))
    square = (wide * wide).mean(dim=dims, keepdim=True)
    normalized = wide * (square + eps).rsqrt()
    return _affine(normalized, weight, None, shape).to(input.dtype)


def _check_last_dims(
    name: str, input: Tensor, normalized_shape: Sequence[int]
) -> tuple[int, ...]:
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name} over {shape} of an input of shape {input.shape}",
            hint="the last dimensions of the input must be normalized_shape",
        )
    return shape


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each of ``num_groups`` groups of channels of each sample."""
    if input.ndim < 2 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm with {num_groups} groups of an input of shape {input.shape}",
            hint="the input is (batch, channels, *), and groups must divide channels",
        )
    grouped = _wide(input).reshape(input.shape[0], num_groups, -1)
    normalized, _, _ = _standardize(grouped, [-1], eps)
    shape = (-1, *[1] * (input.ndim - 2))
    return _affine(normalized.reshape(input.shape), weight, bias, shape).to(input.dtype)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch, or with the running statistics.

    In training, running statistics move by ``momentum`` towards the batch's.
    """
    shape = (-1, *[1] * (input.ndim - 2))
    wide = _wide(input)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm outside training needs running statistics")
        deviation = (running_var.to(wide.dtype) + eps).rsqrt().reshape(*shape)
        normalized = (wide - running_mean.to(wide.dtype).reshape(*shape)) * deviation
        return _affine(normalized, weight, bias, shape).to(input.dtype)
    dims = [dim for dim in range(input.ndim) if dim != 1]
    count = input.numel() // max(input.shape[1], 1)
    if count == 1:
        raise ShapeError(
            "batch_norm in training needs more than one value a channel, got shape "
            f"{input.shape}",
            hint="use a larger batch, or eval()",
        )
    normalized, mean, variance = _standardize(wide, dims, eps)
    unbiased = variance.detach() * (count / max(count - 1, 1))
    _move_running(running_mean, mean.detach().flatten(), momentum)
    _move_running(running_var, unbiased.flatten(), momentum)
    return _affine(normalized, weight, bias, shape).to(input.dtype)


def _move_running(running: Any, new: Tensor, share: float | Tensor) -> None:
    """running ← running + share·(new - running)."""
    if running is None:
        return
    with no_grad():
        running.copy_(running + share * (new - running))
    # Nobody reads it while training; so it advances whenever anything runs, rather
    # than keeping the graphs of all batches.
    effects.add(running.storage)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample, or with the running statistics."""
    if not use_input_stats:
        return batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    count = input.numel() // max(input.shape[0] * input.shape[1], 1)
    if count == 1:
        raise ShapeError(
            "instance_norm needs more than one value a channel and sample, got shape "
            f"{input.shape}"
        )
    dims = range(2, input.ndim)
    normalized, mean, variance = _standardize(_wide(input), dims, eps)
    channels = (input.shape[0], input.shape[1])
    unbiased = variance.detach() * (count / max(count - 1, 1))
    batch_mean = mean.detach().reshape(channels).mean(dim=0)
    _move_running(running_mean, batch_mean, momentum)
    _move_running(running_var, unbiased.reshape(channels).mean(dim=0), momentum)
    shape = (-1, *[1] * (input.ndim - 2))
    return _affine(normalized, weight, bias, shape).to(input.dtype)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha·mean of x² over ``size`` neighbouring channels)^beta."""
    if input.ndim < 3:
        raise ShapeError(f"local_response_norm needs 3 dimensions, got {input.shape}")
    square = (input * input).movedim(1, -1)
    neighbours = square.pad((size // 2, (size - 1) // 2)).unfold(-1, size, 1)
    mean = neighbours.mean(dim=-1).movedim(-1, 1)
    return input / (k + alpha * mean) ** beta


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Tensor:
    """x / max(‖x‖ₚ, eps) along ``dim``."""
    return input / input.norm(p, dim=dim, keepdim=True).clamp(min=eps)
