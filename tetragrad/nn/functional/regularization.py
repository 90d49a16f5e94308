"""Dropout in its variants."""

from __future__ import annotations

import math

from tetragrad.core.errors import ShapeError
from tetragrad.nn.functional.activation import finish
from tetragrad.tensor import Tensor
from tetragrad.tensor.activations import SELU_ALPHA, SELU_SCALE
from tetragrad.tensor.chances import is_kept


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"a dropout probability lies in [0, 1], got {p}")


def _drop(
    input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]
) -> Tensor:
    """Zero with probability p; ``shape`` has 1 where elements share their draw."""
    _check_probability(p)
    if not training or p == 0:
        return input
    if p == 1:
        return finish(input, input * 0, inplace)
    scaled = input * (1 / (1 - p))
    return finish(input, scaled.where(is_kept(input, shape, p), 0.0), inplace)


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero each element with probability p; divide the others by 1 - p.

    >>> nn.functional.dropout(Tensor([1.0, 2.0]), training=False)
    tensor([1., 2.])
    """
    return _drop(input, p, training, inplace, input.shape)


def _channels(input: Tensor, spatial_dims: int, name: str) -> tuple[int, ...]:
    if input.ndim not in (spatial_dims + 1, spatial_dims + 2):
        raise ShapeError(
            f"{name} takes input of {spatial_dims + 1} or {spatial_dims + 2} "
            f"dimensions, got shape {input.shape}"
        )
    return input.shape[:-spatial_dims] + (1,) * spatial_dims


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (batch, channels, length).

    >>> nn.functional.dropout1d(Tensor.ones(1, 4, 3)).shape
    (1, 4, 3)
    """
    return _drop(input, p, training, inplace, _channels(input, 1, "dropout1d"))


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (batch, channels, height, width).

    >>> nn.functional.dropout2d(Tensor.ones(1, 4, 3, 3)).shape
    (1, 4, 3, 3)
    """
    return _drop(input, p, training, inplace, _channels(input, 2, "dropout2d"))


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (batch, channels, depth, height, width).

    >>> nn.functional.dropout3d(Tensor.ones(1, 4, 3, 3, 3)).shape
    (1, 4, 3, 3, 3)
    """
    return _drop(input, p, training, inplace, _channels(input, 3, "dropout3d"))


def _alpha_drop(
    input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]
) -> Tensor:
    """a·x + b where kept, else a·α' + b, with mean 0 and variance 1 kept."""
    _check_probability(p)
    if not training or p == 0:
        return input
    if p == 1:
        return finish(input, input * 0, inplace)
    dropped = -SELU_ALPHA * SELU_SCALE
    scale = 1 / math.sqrt((1 - p) * (1 + p * dropped**2))
    shift = -scale * p * dropped
    mixed = input.where(is_kept(input, shape, p), dropped)
    return finish(input, mixed * scale + shift, inplace)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al. 2017).

    >>> nn.functional.alpha_dropout(Tensor([1.0, 2.0]), training=False)
    tensor([1., 2.])
    """
    return _alpha_drop(input, p, training, inplace, input.shape)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """:func:`alpha_dropout` of whole channels.

    >>> nn.functional.feature_alpha_dropout(Tensor([1.0, 2.0]), training=False)
    tensor([1., 2.])
    """
    shape = input.shape[:2] + (1,) * (input.ndim - 2)
    return _alpha_drop(input, p, training, inplace, shape)
