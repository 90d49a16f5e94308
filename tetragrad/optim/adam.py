"""Adam and its relatives: steps divided by a running size of the gradient.

All keep m, a running mean of the gradient g, and v, a running mean of g²::

    m ← β₁·m + (1 - β₁)·g
    v ← β₂·v + (1 - β₂)·g²

which start at zero; m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) correct for that at
step t.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tetragrad.core import dtypes
from tetragrad.optim.checked import (
    SHARE,
    CheckedOptimizer,
    nonnegative,
)
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import State
from tetragrad.optim.sgd import norm, one_if_zero
from tetragrad.tensor import Tensor


class MomentOptimizer(CheckedOptimizer):
    """What the family shares: options, and the two running means."""

    bounds: ClassVar = nonnegative("lr", "eps", "weight_decay") | {"betas": SHARE}

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"exp_avg": value.zeros_like(), "exp_avg_sq": value.zeros_like()}

    def move_averages(
        self, gradient: Tensor, state: State, group: ParameterGroup
    ) -> tuple[Tensor, Tensor]:
        """Take a gradient into m and v."""
        beta1, beta2 = group.scalar("betas", 0), group.scalar("betas", 1)
        state["exp_avg"] = beta1 * state["exp_avg"] + (1 - beta1) * gradient
        state["exp_avg_sq"] = (
            beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient * gradient
        )
        return state["exp_avg"], state["exp_avg_sq"]


def correction(state: State, group: ParameterGroup, index: int) -> Tensor:
    """1 - βᵗ, in float64: for β = 0.999 and t = 1 float32 keeps only four digits."""
    steps = state["step"].to(dtypes.float64)
    return 1 - group.scalar("betas", index) ** steps


def _decayed(value: Tensor, group: ParameterGroup) -> Tensor:
    """p·(1 - lr·λ): weight decay apart from the gradient (Loshchilov 2017)."""
    return value * (1 - group.scalar("lr") * group.scalar("weight_decay"))


def _with_decay(
    value: Tensor, gradient: Tensor, group: ParameterGroup
) -> tuple[Tensor, Tensor]:
    """Weight decay of the value itself if it is decoupled, else by the gradient."""
    if group["decoupled_weight_decay"]:
        return _decayed(value, group), gradient
    return value, gradient + group.scalar("weight_decay") * value


class Adam(MomentOptimizer):
    """p ← p - lr·m̂ / (√v̂ + eps), with weight decay λ added to g as λ·p.

    ``amsgrad`` divides by the largest v so far (Reddi et al. 2018);
    ``decoupled_weight_decay`` makes it :class:`AdamW`.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2014.

    >>> optimizer = optim.Adam(nn.Linear(2, 1).parameters(), lr=1e-3)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            amsgrad=amsgrad, maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        state = super().initial_state(value, group)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = value.zeros_like()
        return state

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        value, gradient = _with_decay(value, gradient, group)
        mean, square = self.move_averages(gradient, state, group)
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"].maximum(square)
            state["max_exp_avg_sq"] = square
        size = (square / correction(state, group, 1)).sqrt() + group.scalar("eps")
        rate = group.scalar("lr") / correction(state, group, 0)
        return value - rate * mean / size


class AdamW(Adam):
    """p ← p·(1 - lr·λ) - lr·m̂ / (√v̂ + eps).

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2017.

    >>> optimizer = optim.AdamW(nn.Linear(2, 1).parameters(), weight_decay=0.1)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize,
            decoupled_weight_decay=True, **hints,
        )  # fmt: skip


class Adamax(MomentOptimizer):
    """p ← p - lr·m̂ / u, with u ← max(β₂·u, |g| + eps) in place of v.

    Source: Kingma and Ba, 2014, section 7.1.

    >>> optimizer = optim.Adamax(nn.Linear(2, 1).parameters())
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"exp_avg": value.zeros_like(), "exp_inf": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        gradient = gradient + group.scalar("weight_decay") * value
        beta1, beta2 = group.scalar("betas", 0), group.scalar("betas", 1)
        mean = beta1 * state["exp_avg"] + (1 - beta1) * gradient
        largest = beta2 * state["exp_inf"]
        largest = largest.maximum(gradient.abs() + group.scalar("eps"))
        state.update(exp_avg=mean, exp_inf=largest)
        rate = group.scalar("lr") / correction(state, group, 0)
        return value - rate * mean / largest


class NAdam(MomentOptimizer):
    """Adam with Nesterov momentum.

    With μₜ = β₁·(1 - 0.96^(t·ψ) / 2) and Πₜ the product of μ up to t::

        p ← p - lr·((1 - μₜ)·g / (1 - Πₜ) + μₜ₊₁·m / (1 - Πₜ₊₁)) / (√v̂ + eps)

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    >>> optimizer = optim.NAdam(nn.Linear(2, 1).parameters())
    """

    bounds: ClassVar = MomentOptimizer.bounds | nonnegative("momentum_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        product = Tensor(1.0, dtype=dtypes.float64, device=value.device)
        return {"mu_product": product} | super().initial_state(value, group)

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        value, gradient = _with_decay(value, gradient, group)
        mean, square = self.move_averages(gradient, state, group)
        steps = state["step"].to(dtypes.float64)
        momentum = _nesterov_momentum(steps, group)
        next_momentum = _nesterov_momentum(steps + 1, group)
        product = state["mu_product"] * momentum
        state["mu_product"] = product
        size = (square / correction(state, group, 1)).sqrt() + group.scalar("eps")
        from_gradient = (1 - momentum) / (1 - product) * gradient
        from_mean = next_momentum / (1 - product * next_momentum) * mean
        return value - group.scalar("lr") * (from_gradient + from_mean) / size


def _nesterov_momentum(steps: Tensor, group: ParameterGroup) -> Tensor:
    decay = steps.full_like(0.96)
    fading = decay ** (steps * group.scalar("momentum_decay"))
    return group.scalar("betas", 0) * (1 - 0.5 * fading)


class RAdam(MomentOptimizer):
    """Adam that waits for a reliable v: momentum only at first, then rectified.

    With ρ∞ = 2/(1 - β₂) - 1 and ρ = ρ∞ - 2t·β₂ᵗ/(1 - β₂ᵗ), where ρ > 5::

        r = √((ρ - 4)(ρ - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ))
        p ← p - lr·r·m̂·√(1 - β₂ᵗ) / (√v + eps)

    and otherwise p ← p - lr·m̂.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond",
    2019.

    >>> optimizer = optim.RAdam(nn.Linear(2, 1).parameters())
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            maximize=maximize, decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        value, gradient = _with_decay(value, gradient, group)
        mean, square = self.move_averages(gradient, state, group)
        is_reliable, rectifier = _rectifier(state, group)
        adaptive = rectifier * correction(state, group, 1).sqrt()
        adaptive = adaptive / (square.sqrt() + group.scalar("eps"))
        factor = adaptive.where(is_reliable, adaptive.ones_like())
        rate = group.scalar("lr") / correction(state, group, 0)
        return value - rate * mean * factor


def _rectifier(state: State, group: ParameterGroup) -> tuple[Tensor, Tensor]:
    """Whether v is reliable, and the factor r, which is 0 where it is not."""
    beta2 = group.scalar("betas", 1)
    steps = state["step"].to(dtypes.float64)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * steps * beta2**steps / correction(state, group, 1)
    ratio = (length - 4) * (length - 2) * longest
    ratio = ratio / ((longest - 4) * (longest - 2) * length)
    is_reliable = length > 5
    return is_reliable, ratio.where(is_reliable, ratio.zeros_like()).sqrt()


class LAMB(MomentOptimizer):
    """Adam with a step as long as the parameter is large, for very large batches::

        u = m̂ / (√v̂ + eps) + λ·p
        p ← p - lr·(‖p‖ / ‖u‖)·u         (the ratio is 1 if a norm is 0)

    Source: You et al., "Large batch optimization for deep learning: training BERT
    in 76 minutes", 2019.

    >>> optimizer = optim.LAMB(nn.Linear(2, 1).parameters(), weight_decay=0.01)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        adapt: bool = True,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            adapt=adapt, maximize=maximize,
        )  # fmt: skip

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        mean, square = self.move_averages(gradient, state, group)
        size = (square / correction(state, group, 1)).sqrt() + group.scalar("eps")
        update = mean / correction(state, group, 0) / size
        update = update + group.scalar("weight_decay") * value
        rate = group.scalar("lr")
        if group["adapt"]:
            length, step = norm(value), norm(update)
            rate = rate * one_if_zero(length / step, length, step)
        return value - rate * update


class Lion(MomentOptimizer):
    """Steps of equal size in every element: the sign of an interpolated momentum::

        p ← p·(1 - lr·λ) - lr·sign(β₁·m + (1 - β₁)·g)
        m ← β₂·m + (1 - β₂)·g

    Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.

    >>> optimizer = optim.Lion(nn.Linear(2, 1).parameters(), lr=1e-4)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, betas=betas, eps=0.0, weight_decay=weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        return {"exp_avg": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        beta1, beta2 = group.scalar("betas", 0), group.scalar("betas", 1)
        mean = state["exp_avg"]
        direction = (beta1 * mean + (1 - beta1) * gradient).sign()
        state["exp_avg"] = beta2 * mean + (1 - beta2) * gradient
        return _decayed(value, group) - group.scalar("lr") * direction
