"""Gradients of normalisation layers beside PyTorch's, of both orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tetragrad

SHAPE = (4, 6, 5, 3)

LAYERS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "batch": lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    "batch alone": lambda F, x, w, b: F.batch_norm(x, None, None, training=True),
    "group": lambda F, x, w, b: F.group_norm(x, 3, w, b),
    "instance": lambda F, x, w, b: F.instance_norm(x, None, None, w, b),
    "layer": lambda F, x, w, b: F.layer_norm(x, (5, 3)) * w[0] + b[0],
}


def gradients(library: Any, tensor: Callable[..., Any], layer: str) -> list[np.ndarray]:
    """The result, its gradients, and the gradient of their square."""
    rng = np.random.default_rng(3)
    shapes = (SHAPE, (6,), (6,))
    x, w, b = (tensor(1 + 2 * rng.standard_normal(shape)) for shape in shapes)
    upstream = rng.standard_normal(SHAPE).tolist()
    result = LAYERS[layer](library.nn.functional, x, w, b)
    loss = (result**3 * library.tensor(upstream, dtype=library.float64)).sum()
    used = [x] if "alone" in layer else [x, w, b]
    first = library.autograd.grad(loss, used, create_graph=True)
    square = sum((entry * entry).sum() for entry in first)
    second = library.autograd.grad(square, used)
    values = [result, *first, *second]
    return [np.array(value.detach().tolist()) for value in values]


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients(layer: str) -> None:
    found = gradients(
        tetragrad, lambda a: tetragrad.Tensor(a, requires_grad=True), layer
    )
    wanted = gradients(torch, lambda a: torch.tensor(a, requires_grad=True), layer)
    for ours, theirs in zip(found, wanted, strict=True):
        scale = np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= 1e-11 * scale


def test_half_width_is_rounded_once() -> None:
    rng = np.random.default_rng(4)
    x = torch.tensor(rng.standard_normal(SHAPE), dtype=torch.bfloat16)
    weight, bias = torch.tensor(rng.standard_normal((2, 6)), dtype=torch.float32)
    wanted = torch.nn.functional.batch_norm(
        x.double(), None, None, weight.double(), bias.double(), training=True
    )
    ours = [tetragrad.Tensor(entry.double().numpy()) for entry in (x, weight, bias)]
    found = (
        ours[0]
        .bfloat16()
        .batch_norm(None, None, ours[1].float(), ours[2].float(), training=True)
    )
    assert found.dtype is tetragrad.bfloat16
    error = np.abs(np.array(found.double().tolist()) - wanted.numpy())
    assert (error <= 2.0**-8 * np.abs(wanted.numpy()) + 1e-6).all()
