"""Normalisation by statistics of a batch, a layer, a group or a neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.onnx.graph import Node
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host, cast_tensor, element_type
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where


def by_channel(x: Tensor, ndim: int) -> Tensor:
    """One number a channel, beside a tensor of so many dimensions."""
    return x.reshape(1, -1, *(1,) * (ndim - 2))


@operator("BatchNormalization")
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    is_test: int = 1,
    spatial: int = 1,
    node: Node,
) -> Any:
    """By running statistics; in training by the batch's, which the others follow."""
    if training_mode:
        return _in_training(x, scale, bias, mean, var, epsilon, momentum)
    factor = scale * (var + epsilon).rsqrt()
    shift = bias - mean * factor
    result = x * by_channel(factor, x.ndim) + by_channel(shift, x.ndim)
    result = result.to(x.dtype)
    # Older operator sets list the statistics as outputs too.
    return (result, mean, var, mean, var)[: len(node.outputs)]


def _in_training(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float,
    momentum: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dims = tuple(dim for dim in range(x.ndim) if dim != 1)
    batch_mean = x.mean(dims)
    batch_var = x.var(dims, correction=0)
    normal = x - by_channel(batch_mean, x.ndim)
    normal = normal * by_channel((batch_var + epsilon).rsqrt(), x.ndim)
    result = normal * by_channel(scale, x.ndim) + by_channel(bias, x.ndim)
    new_mean = mean * momentum + batch_mean.to(mean.dtype) * (1 - momentum)
    new_var = var * momentum + batch_var.to(var.dtype) * (1 - momentum)
    return result.to(x.dtype), new_mean, new_var


@operator("InstanceNormalization")
def instance_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    normal = _standardised(x, tuple(range(2, x.ndim)), epsilon)[0]
    return normal * by_channel(scale, x.ndim) + by_channel(bias, x.ndim)


def _standardised(
    x: Tensor, dims: tuple[int, ...], epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Without mean and with variance 1; and the mean and 1 / deviation."""
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    inverse = (centred.square().mean(dims, keepdim=True) + epsilon).rsqrt()
    return centred * inverse, mean, inverse


@operator("LayerNormalization")
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics are computed in the type that ``stash_type`` names."""
    wide = cast_tensor(x, element_type(stash_type))
    normal, mean, inverse = _standardised(wide, _from_axis(x, axis), epsilon)
    result = normal.to(x.dtype) * scale
    return (result if bias is None else result + bias), mean, inverse


@operator("RMSNormalization")
def rms_normalization(
    x: Tensor,
    scale: Tensor,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    wide = cast_tensor(x, element_type(stash_type))
    square = wide.square().mean(_from_axis(x, axis), keepdim=True)
    return (wide * (square + epsilon).rsqrt()).to(x.dtype) * scale


def _from_axis(x: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(range(axis % x.ndim, x.ndim))


@operator("GroupNormalization", since=21)
def group_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    normal = _by_group(x, num_groups, epsilon, stash_type)
    return normal * by_channel(scale, x.ndim) + by_channel(bias, x.ndim)


@operator("GroupNormalization", since=18)
def group_normalization_18(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
) -> Tensor:
    """Scale and bias have a number a group."""
    repeats = x.shape[1] // num_groups
    return group_normalization(
        x,
        scale.repeat_interleave(repeats),
        bias.repeat_interleave(repeats),
        num_groups=num_groups,
        epsilon=epsilon,
    )


def _by_group(x: Tensor, groups: int, epsilon: float, stash_type: int) -> Tensor:
    wide = cast_tensor(x, element_type(stash_type))
    apart = wide.reshape(x.shape[0], groups, -1)
    return _standardised(apart, (2,), epsilon)[0].reshape(x.shape).to(x.dtype)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(
    x: Tensor, *, axes: Sequence[int] = (0, 2, 3)
) -> Tensor:
    dims = tuple(axes)
    centred = x - x.mean(dims, keepdim=True)
    deviation = centred.square().mean(dims, keepdim=True).sqrt()
    return centred / (deviation + 1e-9)


@operator("LRN")
def local_response_normalization(
    x: Tensor,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 1.0,
    size: int,
) -> Tensor:
    """Divided by a power of the mean square of ``size`` neighbouring channels."""
    edges = [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2]
    squares = x.square().pad(edges).unfold(1, size, 1).sum(-1)
    return x / (squares * (alpha / size) + bias).pow(beta)


@operator("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Divided by its norm; zeros stay zeros."""
    powers = x.abs() if p == 1 else x.square()
    norm = powers.sum(axis, keepdim=True)
    norm = norm if p == 1 else norm.sqrt()
    return where(norm.eq(0), x.zeros_like(), x / norm)


@operator("Dropout", since=7)
def dropout(
    x: Tensor,
    ratio: Host | None = None,
    training_mode: Host | None = None,
    *,
    seed: int | None = None,
    is_test: int = 1,
    node: Node,
) -> Any:
    """In training, drop elements and enlarge the others; otherwise nothing.

    A seed gives the elements that the standard's reference drops.
    """
    keep = Tensor.ones(x.shape, dtype=dtypes.bool_)
    is_training = training_mode is not None and bool(training_mode.item())
    chance = 0.5 if ratio is None else float(ratio.item())
    result = x
    if is_training and chance > 0:
        keep = uniform(x.shape, seed) >= chance
        result = (x * keep.to(x.dtype)) * (1 / (1 - chance) if chance < 1 else 0.0)
    return (result, keep)[: len(node.outputs)]


def uniform(shape: Sequence[int], seed: int | float | None) -> Tensor:
    """Random numbers from 0 to 1: other ones at each call, unless there is a seed."""
    if seed is None:
        return Tensor.rand(tuple(shape))
    return Tensor(np.random.RandomState(int(seed)).uniform(0.0, 1.0, tuple(shape)))


@operator("Dropout", since=1)
def dropout_1(x: Tensor, *, ratio: float = 0.5, is_test: int = 0, node: Node) -> Any:
    """Before operator set 7 the mask has the type of the input."""
    mask = x.ones_like()
    return (x, mask)[: len(node.outputs)]
