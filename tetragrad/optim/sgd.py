"""Gradient descent with momentum, and LARS, which scales it layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tetragrad.core import dtypes
from tetragrad.optim.checked import CheckedOptimizer, nonnegative
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import State
from tetragrad.tensor import Tensor


class SGD(CheckedOptimizer):
    """Stochastic gradient descent.

    With gradient g, momentum μ, dampening τ and weight decay λ::

        g ← g + λ·p
        v ← μ·v + (1 - τ)·g          (the first step takes v = g)
        p ← p - lr·v                 (Nesterov: p - lr·(g + μ·v))

    Source: Sutskever et al., "On the importance of initialization and momentum in
    deep learning", 2013.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> optimizer = optim.SGD([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.0]
    """

    bounds: ClassVar = nonnegative("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "Nesterov momentum needs momentum above 0 and dampening 0, got "
                f"momentum={momentum}, dampening={dampening}"
            )
        super().__init__(
            params, hints, lr=lr, momentum=momentum, dampening=dampening,
            weight_decay=weight_decay, nesterov=nesterov, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"momentum_buffer": value.zeros_like()} if group["momentum"] else {}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        direction = gradient + group.scalar("weight_decay") * value
        if group["momentum"]:
            direction = _add_momentum(direction, state, group)
        return value - group.scalar("lr") * direction


def _add_momentum(direction: Tensor, state: State, group: ParameterGroup) -> Tensor:
    momentum = group.scalar("momentum")
    share = 1 - group.scalar("dampening")
    # The first step is not dampened. Asked of the step count and not of Python,
    # because a captured step runs as the first one and as all others.
    is_first = (state["step"] == 1).to(dtypes.float64)
    share = share + is_first * (1 - share)
    velocity = momentum * state["momentum_buffer"] + share * direction
    state["momentum_buffer"] = velocity
    return direction + momentum * velocity if group["nesterov"] else velocity


class LARS(CheckedOptimizer):
    """Layer-wise adaptive rate scaling, for SGD with very large batches.

    With trust coefficient η, weight decay λ and momentum μ, for each parameter::

        rate = η·‖p‖ / (‖g‖ + λ·‖p‖ + eps)     (1 if ‖p‖ or ‖g‖ is 0)
        v ← μ·v + lr·rate·(g + λ·p)
        p ← p - v

    Biases and gains of norms are usually put in a group with ``adapt=False``, where
    rate is 1.

    Source: You et al., "Large batch training of convolutional networks", 2017.

    >>> model = nn.Linear(2, 1)
    >>> weights = {"params": model.weight}
    >>> biases = {"params": model.bias, "adapt": False, "weight_decay": 0.0}
    >>> optimizer = optim.LARS([weights, biases], lr=0.1, weight_decay=1e-4)
    """

    bounds: ClassVar = nonnegative("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        *,
        adapt: bool = True,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, momentum=momentum, weight_decay=weight_decay,
            trust_coefficient=trust_coefficient, eps=eps, adapt=adapt,
            maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"momentum_buffer": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        decay = group.scalar("weight_decay")
        scaled = group.scalar("lr") * (gradient + decay * value)
        if group["adapt"]:
            size = norm(value)
            slope = norm(gradient)
            rate = group.scalar("trust_coefficient") * size
            rate = rate / (slope + decay * size + group.scalar("eps"))
            scaled = scaled * one_if_zero(rate, size, slope)
        velocity = group.scalar("momentum") * state["momentum_buffer"] + scaled
        state["momentum_buffer"] = velocity
        return value - velocity


def norm(tensor: Tensor) -> Tensor:
    """√Σx², a 0-d tensor."""
    return (tensor * tensor).sum().sqrt()


def one_if_zero(rate: Tensor, *norms: Tensor) -> Tensor:
    """The rate, or 1 where it means nothing because one of the norms is 0."""
    meaningful = norms[0] > 0
    for other in norms[1:]:
        meaningful = meaningful & (other > 0)
    return rate.where(meaningful, rate.ones_like())
