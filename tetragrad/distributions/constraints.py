"""What values a parameter or an outcome may have, each with a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor
from tetragrad.tensor.linalg.factorisations import cholesky_ex


@frozen
class Constraint:
    """A set of values: ``check`` says for each element, or event, if it is inside.

    ``bounds`` are the limits of an interval, None where there is none; ``event_dim``
    is how many last dimensions belong to one value.
    """

    name: str
    check: Callable[[Tensor], Tensor]
    event_dim: int = 0
    is_discrete: bool = False
    bounds: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        return self.name


def _is_whole(value: Tensor) -> Tensor:
    return value.floor() == value


def interval(lower_bound: Tensor | float, upper_bound: Tensor | float) -> Constraint:
    """From the one to the other, both included."""
    low, high = lower_bound, upper_bound
    return Constraint(
        f"between {low} and {high}",
        lambda value: (value >= low) & (value <= high),
        bounds=(low, high),
    )


def half_open_interval(
    lower_bound: Tensor | float, upper_bound: Tensor | float
) -> Constraint:
    """From the one, which is included, to the other, which is not."""
    low, high = lower_bound, upper_bound
    return Constraint(
        f"from {low} to below {high}",
        lambda value: (value >= low) & (value < high),
        bounds=(low, high),
    )


def greater_than_eq(lower_bound: Tensor | float) -> Constraint:
    """From a number on."""
    low = lower_bound
    return Constraint(f"at least {low}", lambda value: value >= low, bounds=(low, None))


def greater_than(lower_bound: Tensor | float) -> Constraint:
    """Above a number."""
    low = lower_bound
    return Constraint(f"above {low}", lambda value: value > low, bounds=(low, None))


def less_than(upper_bound: Tensor | float) -> Constraint:
    """Below a number."""
    high = upper_bound
    return Constraint(f"below {high}", lambda value: value < high, bounds=(None, high))


def integer_interval(
    lower_bound: Tensor | float, upper_bound: Tensor | float
) -> Constraint:
    """Whole numbers from the one to the other, both included."""
    low, high = lower_bound, upper_bound
    return Constraint(
        f"whole, between {low} and {high}",
        lambda value: _is_whole(value) & (value >= low) & (value <= high),
        is_discrete=True,
    )


def independent(
    base_constraint: Constraint, reinterpreted_batch_ndims: int
) -> Constraint:
    """A constraint that all elements of the last dimensions must hold."""
    count = reinterpreted_batch_ndims

    def check(value: Tensor) -> Tensor:
        inside = base_constraint.check(value)
        for _ in range(count):
            inside = inside.all(-1)
        return inside

    return Constraint(
        f"{base_constraint} in {count} dimensions",
        check,
        base_constraint.event_dim + count,
        base_constraint.is_discrete,
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


def _is_corr_cholesky(value: Tensor) -> Tensor:
    lengths = (value * value).sum(-1)
    return _is_lower_cholesky(value) & ((lengths - 1).abs() < 1e-4).all(-1)


def _is_positive_definite(value: Tensor) -> Tensor:
    info = cholesky_ex(value).info
    return _is_symmetric(value) & (info == 0)


real = Constraint("real", lambda value: value == value)
real_vector = Constraint("a vector of reals", lambda value: (value == value).all(-1), 1)
positive = Constraint("positive", lambda value: value > 0, bounds=(0.0, None))
nonnegative = greater_than_eq(0)
nonnegative_integer = Constraint(
    "whole and not negative",
    lambda value: _is_whole(value) & (value >= 0),
    is_discrete=True,
)
positive_integer = Constraint(
    "whole and positive",
    lambda value: _is_whole(value) & (value >= 1),
    is_discrete=True,
)
unit_interval = interval(0, 1)
boolean = Constraint(
    "0 or 1", lambda value: (value == 0) | (value == 1), is_discrete=True
)
simplex = Constraint("not negative with the sum 1", _is_simplex, 1)
one_hot = Constraint("one 1 among 0s", _is_one_hot, 1, is_discrete=True)
lower_triangular = Constraint(
    "lower triangular", lambda value: (value.tril() == value).all(-1).all(-1), 2
)
lower_cholesky = Constraint(
    "lower triangular with a positive diagonal", _is_lower_cholesky, 2
)
corr_cholesky = Constraint(
    "lower triangular with a positive diagonal and rows of length 1",
    _is_corr_cholesky,
    2,
)
symmetric = Constraint("symmetric", _is_symmetric, 2)
positive_definite = Constraint(
    "symmetric and positive definite", _is_positive_definite, 2
)
