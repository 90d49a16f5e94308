"""Random numbers. A seed gives the same ones at each call, as the standard has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tetragrad.core import dtypes
from tetragrad.onnx.operators.normalisation import uniform
from tetragrad.onnx.operators.shape import shape_of
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Value, cast_tensor, dtype_of, element_type
from tetragrad.tensor import Tensor


def _dtype(dtype: int | None, like: Value) -> np.dtype:
    return dtype_of(like) if dtype is None else element_type(dtype)


def _normal(shape: Sequence[int], seed: float | None) -> Tensor:
    if seed is None:
        return Tensor.randn(tuple(shape))
    return Tensor(np.random.RandomState(int(seed)).standard_normal(tuple(shape)))


@operator("RandomNormal")
def random_normal(
    *,
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    shape: Sequence[int],
) -> Tensor:
    return cast_tensor(_normal(shape, seed) * scale + mean, element_type(dtype))


@operator("RandomNormalLike")
def random_normal_like(
    x: Value,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    drawn = _normal(shape_of(x), seed) * scale + mean
    return cast_tensor(drawn, _dtype(dtype, x))


@operator("RandomUniform")
def random_uniform(
    *,
    dtype: int = 1,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
    shape: Sequence[int],
) -> Tensor:
    drawn = uniform(shape, seed) * (high - low) + low
    return cast_tensor(drawn, element_type(dtype))


@operator("RandomUniformLike")
def random_uniform_like(
    x: Value,
    *,
    dtype: int | None = None,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Tensor:
    drawn = uniform(shape_of(x), seed) * (high - low) + low
    return cast_tensor(drawn, _dtype(dtype, x))


@operator("Bernoulli")
def bernoulli(
    x: Tensor, *, dtype: int | None = None, seed: float | None = None
) -> Tensor:
    """1 with the probability that each element says."""
    drawn = uniform(x.shape, seed).to(x.dtype) < x
    return cast_tensor(drawn, _dtype(dtype, x))


@operator("Multinomial")
def multinomial(
    x: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """Classes drawn with replacement, from logarithms of their weights."""
    sums = x.softmax(-1).cumsum(-1)
    drawn = uniform((x.shape[0], sample_size), seed).to(x.dtype)
    chosen = (drawn.unsqueeze(-1) > sums.unsqueeze(1)).to(dtypes.int64).sum(-1)
    return cast_tensor(chosen.clamp(max=x.shape[1] - 1), element_type(dtype))
