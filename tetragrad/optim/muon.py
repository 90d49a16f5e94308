"""Muon: momentum whose matrices are made orthogonal before each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.optim.checked import CheckedOptimizer, nonnegative
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import State
from tetragrad.tensor import Tensor


class Muon(CheckedOptimizer):
    """Momentum, orthogonalised; for the matrices of hidden layers only.

    With momentum μ and weight decay λ, for a matrix p of shape (a, b)::

        m ← μ·m + (1 - μ)·g
        u = orthogonal(m)                (Nesterov: of μ·m + (1 - μ)·g)
        p ← p·(1 - lr·λ) - lr·scale·u

    where orthogonal(U S Vᵀ) ≈ U Vᵀ; see :func:`orthogonalize`. ``adjust_lr_fn`` sets
    scale: 'original' √max(1, a/b), 'match_rms_adamw' 0.2·√max(a, b), which lets
    learning rates of AdamW be kept.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks",
    2024, https://kellerjordan.github.io/posts/muon.

    >>> model = nn.Linear(2, 2)
    >>> matrices = optim.Muon([model.weight], lr=0.02)
    >>> others = optim.AdamW([model.bias])
    """

    bounds: ClassVar = nonnegative("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"adjust_lr_fn is 'original' or 'match_rms_adamw', not {adjust_lr_fn!r}"
            )
        super().__init__(
            params, hints, lr=lr, weight_decay=weight_decay, momentum=momentum,
            nesterov=nesterov, ns_coefficients=tuple(ns_coefficients), eps=eps,
            ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        if value.ndim != 2:
            raise ShapeError(
                f"Muon trains matrices, not a parameter of shape {value.shape}",
                hint="give other parameters to an AdamW of their own",
            )
        return {"momentum_buffer": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        momentum = group.scalar("momentum")
        mean = momentum * state["momentum_buffer"] + (1 - momentum) * gradient
        state["momentum_buffer"] = mean
        if group["nesterov"]:
            mean = momentum * mean + (1 - momentum) * gradient
        update = orthogonalize(
            mean, group["ns_steps"], group["ns_coefficients"], group["eps"]
        )
        rate = group.scalar("lr")
        value = value * (1 - rate * group.scalar("weight_decay"))
        return value - rate * _scale(value.shape, group["adjust_lr_fn"]) * update


def _scale(shape: tuple[int, ...], rule: str | None) -> float:
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


def orthogonalize(
    matrix: Tensor,
    steps: int = 5,
    coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
) -> Tensor:
    """Move all singular values near 1: X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X, repeated.

    A Newton–Schulz iteration: on singular values it is the polynomial
    a·s + b·s³ + c·s⁵, which takes (0, 1] to about [0.7, 1.2] in five steps. The
    matrix is first divided by its Frobenius norm, so that no singular value is
    above 1, and transposed if it is tall, so that XXᵀ is the smaller product.
    """
    linear, cubic, quintic = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.transpose(0, 1) if is_tall else matrix
    x = x / (x * x).sum().sqrt().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.transpose(0, 1)
        x = linear * x + (cubic * gram + quintic * (gram @ gram)) @ x
    return x.transpose(0, 1) if is_tall else x
