"""Gradients and optimisers as operators, of the domain ai.onnx.preview.training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tetragrad.core.errors import TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Value, to_tensor
from tetragrad.tensor import Tensor
from tetragrad.tensor.autograd import grad

_DOMAIN = "ai.onnx.preview.training"


@operator("Gradient", domain=_DOMAIN)
def gradient(
    *inputs: Value,
    xs: Sequence[str],
    y: str,
    zs: Sequence[str] = (),
    find: Callable[[str], Value],
) -> tuple[Tensor, ...]:
    """The gradients of ``y`` with respect to ``xs``, which are names in the graph."""
    result = to_tensor(find(y))
    targets = [to_tensor(find(name)) for name in xs]
    found = grad(result.sum(), targets, create_graph=True, allow_unused=True)
    return tuple(
        target.zeros_like() if entry is None else entry
        for target, entry in zip(targets, found, strict=True)
    )


def _groups(tensors: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """All X, then all G, then the states: ``count`` lists of one length."""
    if len(tensors) % count:
        raise TetragradError(f"{len(tensors)} tensors are not {count} lists")
    each = len(tensors) // count
    return [list(tensors[place * each :][:each]) for place in range(count)]


def _joined(lists: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(entry for entries in zip(*lists, strict=True) for entry in entries)


@operator("Momentum", domain=_DOMAIN)
def momentum(
    rate: Tensor,
    count: Tensor,
    *tensors: Tensor,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[Tensor, ...]:
    """Gradient descent with momentum; in the first step ``beta`` counts as 1."""
    factor = (count > 0).to(rate.dtype) * (beta - 1) + 1
    results = []
    for x, slope, before in zip(*_groups(tensors, 3), strict=True):
        regular = x * norm_coefficient + slope
        new = before * alpha + regular * factor
        change = regular + new * alpha if mode == "nesterov" else new
        results.append((x - change * rate, new))
    return _joined(results)


@operator("Adagrad", domain=_DOMAIN)
def adagrad(
    rate: Tensor,
    count: Tensor,
    *tensors: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
) -> tuple[Tensor, ...]:
    """J. Duchi et al., "Adaptive Subgradient Methods", 2011."""
    step = rate / (count.to(rate.dtype) * decay_factor + 1)
    results = []
    for x, slope, squares in zip(*_groups(tensors, 3), strict=True):
        regular = x * norm_coefficient + slope
        new = squares + regular.square()
        results.append((x - regular * step / (new.sqrt() + epsilon), new))
    return _joined(results)


@operator("Adam", domain=_DOMAIN)
def adam(
    rate: Tensor,
    count: Tensor,
    *tensors: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Tensor, ...]:
    """D. Kingma and J. Ba, "Adam", 2015."""
    steps = count.to(rate.dtype)
    shrunk_slope = 1 - _power(alpha, steps)
    shrunk_square = 1 - _power(beta, steps)
    is_first = count.eq(0).to(rate.dtype)
    corrected = shrunk_square.sqrt() / (shrunk_slope + is_first)
    step = rate * (corrected * (1 - is_first) + is_first)
    results = []
    for x, slope, mean, square in zip(*_groups(tensors, 4), strict=True):
        regular = x * norm_coefficient + slope
        new_mean = mean * alpha + regular * (1 - alpha)
        new_square = square * beta + regular.square() * (1 - beta)
        moved = x - new_mean * step / (new_square.sqrt() + epsilon)
        moved = moved * (1 - norm_coefficient_post)
        results.append((moved, new_mean, new_square))
    return _joined(results)


def _power(base: float, exponent: Tensor) -> Tensor:
    return exponent.full_like(base).pow(exponent)
