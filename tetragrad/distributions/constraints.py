"""What values a parameter or an outcome may have, each with a check."""

from __future__ import annotations

from collections.abc import Callable

from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor


@frozen
class Constraint:
    """A set of values: ``check`` says for each element, or event, if it is inside."""

    name: str
    check: Callable[[Tensor], Tensor]

    def __repr__(self) -> str:
        return self.name


def _is_whole(value: Tensor) -> Tensor:
    return value.floor() == value


def interval(low: Tensor | float, high: Tensor | float) -> Constraint:
    """From low to high, both included."""
    return Constraint(
        f"between {low} and {high}", lambda value: (value >= low) & (value <= high)
    )


def at_least(low: Tensor | float) -> Constraint:
    """From low on."""
    return Constraint(f"at least {low}", lambda value: value >= low)


def whole_interval(low: Tensor | float, high: Tensor | float) -> Constraint:
    """Whole numbers from low to high, both included."""
    return Constraint(
        f"whole, between {low} and {high}",
        lambda value: _is_whole(value) & (value >= low) & (value <= high),
    )


def _is_simplex(value: Tensor) -> Tensor:
    close = (value.sum(-1) - 1).abs() < 1e-6 * max(value.shape[-1], 1)
    return (value >= 0).all(-1) & close


def _is_one_hot(value: Tensor) -> Tensor:
    return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


def _is_lower_cholesky(value: Tensor) -> Tensor:
    is_lower = (value.tril() == value).all(-1).all(-1)
    return is_lower & (value.diagonal(0, -2, -1) > 0).all(-1)


def _is_symmetric(value: Tensor) -> Tensor:
    return ((value - value.mT).abs() < 1e-6).all(-1).all(-1)


real = Constraint("real", lambda value: value == value)
real_vector = Constraint("a vector of reals", lambda value: (value == value).all(-1))
positive = Constraint("positive", lambda value: value > 0)
nonnegative = at_least(0)
nonnegative_integer = Constraint(
    "whole and not negative", lambda value: _is_whole(value) & (value >= 0)
)
unit_interval = interval(0, 1)
boolean = Constraint("0 or 1", lambda value: (value == 0) | (value == 1))
simplex = Constraint("not negative with the sum 1", _is_simplex)
one_hot = Constraint("one 1 among 0s", _is_one_hot)
lower_cholesky = Constraint(
    "lower triangular with a positive diagonal", _is_lower_cholesky
)
positive_definite = Constraint("symmetric", _is_symmetric)
