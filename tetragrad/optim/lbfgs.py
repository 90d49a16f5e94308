"""L-BFGS: steps along directions that remember how the gradient changed.

J. Nocedal and S. Wright, Numerical Optimization (2nd edition, 2006): algorithms 7.4
(two-loop recursion), 3.5 and 3.6 (a line search for the strong Wolfe conditions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tetragrad.core.errors import TetragradError
from tetragrad.optim.checked import NOT_NEGATIVE, check_bounds
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import Optimizer, State
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat
from tetragrad.tensor.modes import enable_grad, no_grad

#: The strong Wolfe conditions: sufficient decrease, and a flatter slope.
_DECREASE, _CURVATURE = 1e-4, 0.9

#: A pair of changes counts only with a curvature above this.
_LEAST_CURVATURE = 1e-10


@dataclass
class _Point:
    """A place on the line: the step to it, the loss, its gradient and its slope."""

    step: float
    loss: float
    gradient: Tensor
    slope: float


class LBFGS(Optimizer):
    """Limited-memory BFGS, for smooth losses of all data.

    Each step calls the closure several times, and the host reads the loss after each
    call. There is one group of parameters, and no capture.

    Args:
        params: the parameters.
        lr: the first step's length on a line.
        max_iter: directions tried in one call of ``step``.
        max_eval: calls of the closure in one ``step``; 5/4 of ``max_iter`` if None.
        tolerance_grad: stop when no element of the gradient is larger.
        tolerance_change: stop when neither the loss nor a parameter changes by more.
        history_size: how many changes are remembered.
        line_search_fn: None (take the step ``lr``) or 'strong_wolfe'.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> round(x.item(), 4)
    1.0
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_bounds("lr", lr, NOT_NEGATIVE)
        if line_search_fn not in (None, "strong_wolfe"):
            raise TetragradError(
                f"LBFGS with line_search_fn={line_search_fn!r}",
                hint="use None or 'strong_wolfe'",
            )
        defaults = {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise TetragradError(
                "LBFGS has one group of parameters",
                hint="make an optimiser for each group",
            )
        #: Changes of the parameters and of the gradient, oldest first.
        self._changes: list[tuple[Tensor, Tensor]] = []
        self._calls = 0

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        """Nothing for each parameter: what is remembered is of all of them."""
        return {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take up to ``max_iter`` steps; returns the loss before the first one.

        Raises:
            TetragradError: there is no closure that computes the loss again.
        """
        if closure is None:
            raise TetragradError(
                "LBFGS.step() without a closure",
                hint="pass a function that computes the loss and its gradients",
            )
        group = self.param_groups[0]
        self._calls = 0
        start = self._evaluate(closure, 0.0)
        first_loss = start.loss
        for _ in range(group["max_iter"]):
            if float(start.gradient.abs().max()) <= group["tolerance_grad"]:
                break
            before = self._values()
            found = self._advance(closure, start)
            if found is None:
                break
            change = self._values() - before
            self._remember(change, found.gradient - start.gradient)
            is_still = float(change.abs().max()) <= group["tolerance_change"]
            is_level = abs(found.loss - start.loss) < group["tolerance_change"]
            start = found
            if is_still or is_level or self._calls >= group["max_eval"]:
                break
        return Tensor(first_loss)

    def _advance(self, closure: Callable[[], Any], start: _Point) -> _Point | None:
        """Go along one direction; None if it leads nowhere."""
        group = self.param_groups[0]
        direction = self._direction(start.gradient)
        slope = float(start.gradient.dot(direction))
        if slope > -group["tolerance_change"]:
            return None
        length = float(group["lr"])
        if not self._changes:
            length *= min(1.0, 1.0 / float(start.gradient.abs().sum()))
        origin = self._values()
        begin = _Point(0.0, start.loss, start.gradient, slope)

        def at(step: float) -> _Point:
            self._place(origin + direction * step)
            point = self._evaluate(closure, step)
            point.slope = float(point.gradient.dot(direction))
            return point

        if group["line_search_fn"] is None:
            return at(length)
        found = _strong_wolfe(at, begin, length)
        self._place(origin + direction * found.step)
        return found

    def _direction(self, gradient: Tensor) -> Tensor:
        """-H g, with the inverse Hessian H of the remembered changes."""
        direction = -gradient
        shares = []
        for change, slope in reversed(self._changes):
            share = change.dot(direction) / slope.dot(change)
            direction = direction - slope * share
            shares.append(share)
        if self._changes:
            change, slope = self._changes[-1]
            direction = direction * (slope.dot(change) / slope.dot(slope))
        pairs = zip(self._changes, reversed(shares), strict=True)
        for (change, slope), share in pairs:
            back = slope.dot(direction) / slope.dot(change)
            direction = direction + change * (share - back)
        return direction.realize()

    def _remember(self, change: Tensor, slope: Tensor) -> None:
        if float(slope.dot(change)) <= _LEAST_CURVATURE:
            return
        self._changes.append((change.realize(), slope.realize()))
        del self._changes[: -int(self.param_groups[0]["history_size"])]

    # --- parameters as one vector -----------------------------------------------------

    def _parameters(self) -> list[Tensor]:
        return list(self.param_groups[0]["params"])

    def _values(self) -> Tensor:
        with no_grad():
            return cat([entry.detach().ravel() for entry in self._parameters()]).clone()

    def _place(self, values: Tensor) -> None:
        start = 0
        with no_grad():
            for entry in self._parameters():
                part = values.narrow(0, start, entry.numel())
                entry.copy_(part.reshape(entry.shape))
                start += entry.numel()

    def _evaluate(self, closure: Callable[[], Any], step: float) -> _Point:
        """The loss and the gradient where the parameters are now."""
        with enable_grad():
            loss = float(closure())
        self._calls += 1
        parts = [
            (entry.detach().zeros_like() if entry.grad is None else entry.grad).ravel()
            for entry in self._parameters()
        ]
        with no_grad():
            return _Point(step, loss, cat(parts).clone().realize(), 0.0)


# --- the line search ------------------------------------------------------------------


def _strong_wolfe(
    at: Callable[[float], _Point], begin: _Point, length: float, tries: int = 25
) -> _Point:
    """A step that decreases the loss enough and where the slope is flat enough."""
    before, point = begin, at(length)
    for number in range(tries):
        limit = begin.loss + _DECREASE * point.step * begin.slope
        is_higher = number > 0 and point.loss >= before.loss
        if point.loss > limit or is_higher or point.loss != point.loss:
            return _zoom(at, begin, before, point, tries)
        if abs(point.slope) <= -_CURVATURE * begin.slope:
            return point
        if point.slope >= 0:
            return _zoom(at, begin, point, before, tries)
        before, point = point, at(2 * point.step)
    return point


def _zoom(
    at: Callable[[float], _Point], begin: _Point, low: _Point, high: _Point, tries: int
) -> _Point:
    """Narrow an interval that holds such a step; ``low`` is its better end."""
    for _ in range(tries):
        point = at(_between(low, high))
        limit = begin.loss + _DECREASE * point.step * begin.slope
        if point.loss > limit or point.loss >= low.loss or point.loss != point.loss:
            high = point
        else:
            if abs(point.slope) <= -_CURVATURE * begin.slope:
                return point
            if point.slope * (high.step - low.step) >= 0:
                high = low
            low = point
        if abs(high.step - low.step) * abs(begin.slope) < 1e-12:
            break
    return low


def _between(low: _Point, high: _Point) -> float:
    """The lowest place of the parabola through both, kept away from the ends."""
    width = high.step - low.step
    bend = high.loss - low.loss - low.slope * width
    share = 0.5 if not bend > 0 else -low.slope * width / (2 * bend)
    return low.step + width * min(max(share, 0.1), 0.9)
