"""Optimisers that divide by a history of squared gradients, without Adam's mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from tetragrad.core import dtypes
from tetragrad.optim.checked import (
    AT_LEAST_ONE,
    SHARE,
    CheckedOptimizer,
    check_bounds,
    nonnegative,
)
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import State
from tetragrad.optim.sgd import norm
from tetragrad.tensor import Tensor


class Adagrad(CheckedOptimizer):
    """p ← p - lrₜ·g / (√s + eps) with s ← s + g², lrₜ = lr / (1 + (t - 1)·lr_decay).

    Source: Duchi et al., "Adaptive subgradient methods for online learning and
    stochastic optimization", 2011.

    >>> optimizer = optim.Adagrad(nn.Linear(2, 1).parameters())
    """

    bounds: ClassVar = nonnegative(
        "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"
    )

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps,
            maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"sum": value.full_like(group["initial_accumulator_value"])}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        gradient = gradient + group.scalar("weight_decay") * value
        steps = state["step"].to(dtypes.float64)
        rate = group.scalar("lr") / (1 + (steps - 1) * group.scalar("lr_decay"))
        state["sum"] = state["sum"] + gradient * gradient
        return value - rate * gradient / (state["sum"].sqrt() + group.scalar("eps"))


class Adadelta(CheckedOptimizer):
    """Steps whose size follows earlier steps instead of a learning rate::

        s ← ρ·s + (1 - ρ)·g²
        Δ = g·√(a + eps) / √(s + eps)
        a ← ρ·a + (1 - ρ)·Δ²
        p ← p - lr·Δ

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> optimizer = optim.Adadelta(nn.Linear(2, 1).parameters())
    """

    bounds: ClassVar = nonnegative("lr", "eps", "weight_decay") | {"rho": SHARE}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"square_avg": value.zeros_like(), "acc_delta": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        gradient = gradient + group.scalar("weight_decay") * value
        rho, eps = group.scalar("rho"), group.scalar("eps")
        square = rho * state["square_avg"] + (1 - rho) * gradient * gradient
        earlier = state["acc_delta"]
        delta = (earlier + eps).sqrt() / (square + eps).sqrt() * gradient
        state["square_avg"] = square
        state["acc_delta"] = rho * earlier + (1 - rho) * delta * delta
        return value - group.scalar("lr") * delta


class RMSprop(CheckedOptimizer):
    """p ← p - lr·g / (√s + eps) with s ← α·s + (1 - α)·g².

    ``centered`` subtracts the squared mean of g from s; ``momentum`` μ steps along
    b ← μ·b + g / (√s + eps) instead.

    Source: Hinton, "Neural networks for machine learning", lecture 6, 2012; Graves,
    "Generating sequences with recurrent neural networks", 2013, for ``centered``.

    >>> optimizer = optim.RMSprop(nn.Linear(2, 1).parameters(), momentum=0.9)
    """

    bounds: ClassVar = nonnegative("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
            momentum=momentum, centered=centered, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        state = {"square_avg": value.zeros_like()}
        if group["momentum"]:
            state["momentum_buffer"] = value.zeros_like()
        if group["centered"]:
            state["grad_avg"] = value.zeros_like()
        return state

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        gradient = gradient + group.scalar("weight_decay") * value
        alpha = group.scalar("alpha")
        square = alpha * state["square_avg"] + (1 - alpha) * gradient * gradient
        state["square_avg"] = square
        if group["centered"]:
            mean = alpha * state["grad_avg"] + (1 - alpha) * gradient
            state["grad_avg"] = mean
            square = square - mean * mean
        direction = gradient / (square.sqrt() + group.scalar("eps"))
        if group["momentum"]:
            momentum = group.scalar("momentum")
            direction = momentum * state["momentum_buffer"] + direction
            state["momentum_buffer"] = direction
        return value - group.scalar("lr") * direction


class Rprop(CheckedOptimizer):
    """Steps whose sizes depend on signs only: longer while the sign stays.

    Each element's step size is multiplied by ``etas[1]`` where the gradient keeps
    its sign and by ``etas[0]`` where it changes (and then not stepped), within
    ``step_sizes``.

    Source: Riedmiller and Braun, "A direct adaptive method for faster
    backpropagation learning: the RPROP algorithm", 1993.

    >>> optimizer = optim.Rprop(nn.Linear(2, 1).parameters())
    """

    bounds: ClassVar = nonnegative("lr")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        check_bounds("etas[0]", etas[0], SHARE)
        check_bounds("etas[1]", etas[1], AT_LEAST_ONE)
        super().__init__(
            params, hints, lr=lr, etas=etas, step_sizes=step_sizes, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        sizes = value.zeros_like() + group.scalar("lr")
        return {"prev": value.zeros_like(), "step_size": sizes}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        agreement = (gradient * state["prev"]).sign()
        factor = agreement.zeros_like() + 1
        factor = factor.where(agreement <= 0, factor * group.scalar("etas", 1))
        factor = factor.where(agreement >= 0, factor * group.scalar("etas", 0))
        size = state["step_size"] * factor
        size = size.maximum(group.scalar("step_sizes", 0))
        size = size.minimum(group.scalar("step_sizes", 1))
        kept = gradient.where(agreement >= 0, gradient.zeros_like())
        state.update(prev=kept, step_size=size)
        return value - kept.sign() * size


class Adafactor(CheckedOptimizer):
    """Adam's v for matrices kept as one vector of rows and one of columns.

    With rows r and columns c of the running mean of g², weighted by
    β₂ = 1 - t^beta2_decay::

        v = r cᵀ / mean(r)
        u = g / √v,  divided by max(1, rms(u) / d)
        p ← p·(1 - lr·λ) - max(eps₂, rms(p))·min(lr, 1/√t)·u

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear
    memory cost", 2018.

    >>> optimizer = optim.Adafactor(nn.Linear(2, 1).parameters())
    """

    bounds: ClassVar = nonnegative("lr", "weight_decay") | {"d": AT_LEAST_ONE}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        if beta2_decay > 0:
            raise ValueError(f"beta2_decay must not be positive, got {beta2_decay}")
        super().__init__(
            params, hints, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d,
            weight_decay=weight_decay, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        if value.ndim < 2:
            return {"variance": value.zeros_like()}
        rows = value.narrow(-1, 0, 1)
        columns = value.narrow(-2, 0, 1)
        return {"row_var": rows.zeros_like(), "col_var": columns.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        smallest, smallest_scale = group["eps"]
        if smallest is None:
            smallest = float(np.finfo(value.dtype.numpy).eps)
        steps = state["step"].to(dtypes.float64)
        rate = group.scalar("lr").minimum(1 / steps.sqrt())
        scale = (norm(value) / value.numel() ** 0.5).clamp(min=smallest_scale)
        share = steps ** group.scalar("beta2_decay")
        variance = _factored_variance(gradient, state, share, smallest)
        update = gradient / variance.clamp(min=smallest * smallest).sqrt()
        excess = norm(update) / (value.numel() ** 0.5 * group["d"])
        value = value * (1 - group.scalar("lr") * group.scalar("weight_decay"))
        return value - rate * scale / excess.clamp(min=1.0) * update


def _factored_variance(
    gradient: Tensor, state: State, share: Tensor, smallest: float
) -> Tensor:
    """Move the running means of g² by ``share`` and put v together from them."""
    square = gradient * gradient
    if "variance" in state:
        state["variance"] = state["variance"] + share * (square - state["variance"])
        return state["variance"]
    for name, dim in (("row_var", -1), ("col_var", -2)):
        mean = square.mean(dim=dim, keepdim=True)
        state[name] = state[name] + share * (mean - state[name])
    rows, columns = state["row_var"], state["col_var"]
    return rows * columns / rows.mean(dim=-2, keepdim=True).clamp(min=smallest)
