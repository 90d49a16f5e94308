"""Gradient descent that also keeps the mean of the weights it has been at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tetragrad.core import dtypes
from tetragrad.optim.checked import CheckedOptimizer, nonnegative
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import State
from tetragrad.tensor import Tensor


class ASGD(CheckedOptimizer):
    """Averaged stochastic gradient descent, whose step size decays::

        p ← p·(1 - λ·η) - η·g
        a ← a + μ·(p - a)
        η = lr / (1 + λ·lr·t)^α,  μ = 1 / max(1, t - t0)

    The mean a is in ``state[parameter]["ax"]``; it follows the weights exactly until
    step ``t0``.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992.

    >>> optimizer = optim.ASGD(nn.Linear(2, 1).parameters(), lr=0.01)
    """

    bounds: ClassVar = nonnegative("lr", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(
            params, hints, lr=lr, lambd=lambd, alpha=alpha, t0=t0,
            weight_decay=weight_decay, maximize=maximize,
        )  # fmt: skip

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        share = Tensor(1.0, dtype=dtypes.float64, device=value.device)
        rate = group.scalar("lr").to(dtypes.float64).to(value.device)
        return {"eta": rate.clone(), "mu": share, "ax": value.zeros_like()}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        gradient = gradient + group.scalar("weight_decay") * value
        decay, first_rate = group.scalar("lambd"), group.scalar("lr")
        rate, share = state["eta"], state["mu"]
        moved = value * (1 - decay * rate) - rate * gradient
        state["ax"] = moved.where(
            share == 1, state["ax"] + share * (moved - state["ax"])
        )
        steps = state["step"].to(dtypes.float64)
        slower = (1 + decay * first_rate * steps) ** group.scalar("alpha")
        state["eta"] = (first_rate / slower).to(dtypes.float64)
        state["mu"] = 1 / (steps - group.scalar("t0")).clamp(min=1)
        return moved
