"""What all distributions share: shapes, checks, and the names of what they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError, TetragradError, UnsupportedError
from tetragrad.distributions.constraints import Constraint
from tetragrad.engine import capture
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.modes import no_grad
from tetragrad.tensor.movement import broadcast_tensors

Shape = tuple[int, ...]


def as_tensors(*values: Any) -> list[Tensor]:
    """Parameters as tensors of one shape and dtype; numbers become float32."""
    given = [entry for entry in values if isinstance(entry, TensorBase)]
    dtype = given[0].dtype if given else None
    tensors = [
        entry if isinstance(entry, TensorBase) else Tensor(float(entry), dtype=dtype)
        for entry in values
    ]
    return list(broadcast_tensors(*tensors))


class Distribution:
    """A random quantity: ``sample`` draws it, ``log_prob`` says how likely it is.

    ``batch_shape`` counts independent distributions, ``event_shape`` is that of one
    outcome. Parameters are checked when a distribution is made, and outcomes when
    their probability is asked for, unless ``validate_args`` is False; inside of a
    captured function, which cannot look at values, nothing is checked.

    >>> from tetragrad.distributions import Distribution, Normal
    >>> isinstance(Normal(0.0, 1.0), Distribution)
    True
    """

    #: Whether ``rsample`` lets gradients through.
    has_rsample: ClassVar[bool] = False
    #: What each parameter may be.
    arg_constraints: ClassVar[Mapping[str, Constraint]] = {}

    def __init__(
        self,
        batch_shape: Shape = (),
        event_shape: Shape = (),
        validate_args: bool | None = None,
    ) -> None:
        self.batch_shape = tuple(batch_shape)
        self.event_shape = tuple(event_shape)
        self.validates = validate_args is not False
        if self.validates and capture.active() is None:
            for name, constraint in self.arg_constraints.items():
                # A parameter that is worked out from another is not looked at.
                if name in self.__dict__:
                    self._check(name, self.__dict__[name], constraint)

    def _check(self, name: str, value: Tensor, constraint: Constraint) -> None:
        with no_grad():
            holds = bool(constraint.check(value.detach()).read().all())
        if not holds:
            raise TetragradError(
                f"{type(self).__name__}: {name} must be {constraint}, and is {value}",
                hint="pass validate_args=False to skip this check",
            )

    def _check_outcome(self, value: Tensor) -> None:
        """Raise if an outcome cannot be one of this distribution."""
        if self.validates and capture.active() is None:
            self._check("the value", value, self.support)

    @property
    def support(self) -> Constraint:
        """Which values are possible."""
        raise self._unknown("support")

    def shape_of(self, sample_shape: Sequence[int] = ()) -> Shape:
        """The shape of so many samples."""
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    # --- drawing ----------------------------------------------------------------------

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Outcomes of shape ``sample_shape + batch_shape + event_shape``."""
        with no_grad():
            return self.rsample(sample_shape).detach()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The same as a function of the parameters, so that gradients flow to them."""
        raise self._unknown("rsample")

    def sample_n(self, n: int) -> Tensor:
        """``n`` samples."""
        return self.sample((n,))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        """The same distribution with its parameters repeated to a batch's shape."""
        made = object.__new__(type(self))
        old = self.batch_shape
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                rest = value.shape[len(old) :]
                value = value.expand(*batch_shape, *rest)
            elif isinstance(value, Distribution):
                inner = value.batch_shape[len(old) :]
                value = value.expand((*batch_shape, *inner))
            made.__dict__[name] = value
        made.batch_shape = tuple(batch_shape)
        return made

    # --- probabilities ----------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or of its density, of an outcome."""
        raise self._unknown("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of an outcome up to a value."""
        raise self._unknown("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The value up to which outcomes have a probability."""
        raise self._unknown("icdf")

    def entropy(self) -> Tensor:
        """The mean of −log_prob: how much an outcome tells."""
        raise self._unknown("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy): how many equally likely outcomes are as uncertain."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All possible outcomes along a new first dimension."""
        raise self._unknown("enumerate_support")

    # --- moments ----------------------------------------------------------------------

    @property
    def mean(self) -> Tensor:
        """The mean outcome."""
        raise self._unknown("mean")

    @property
    def mode(self) -> Tensor:
        """The likeliest outcome."""
        raise self._unknown("mode")

    @property
    def variance(self) -> Tensor:
        """The mean squared distance from the mean."""
        raise self._unknown("variance")

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def _unknown(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} has no {what}")

    def __repr__(self) -> str:
        names = [name for name in self.arg_constraints if name in self.__dict__]
        shown = ", ".join(
            f"{name}: {self.__dict__[name].item()}"
            if self.__dict__[name].numel() == 1
            else f"{name}: {self.__dict__[name].shape}"
            for name in names
        )
        return f"{type(self).__name__}({shown})"


def sum_last(tensor: Tensor, count: int) -> Tensor:
    """The sum over the last ``count`` dimensions."""
    return tensor.sum(tuple(range(-count, 0))) if count else tensor


def check_event(name: str, value: Tensor, size: int) -> None:
    """Raise unless the last dimension of an outcome has so many elements."""
    if not value.ndim or value.shape[-1] != size:
        raise ShapeError(
            f"{name}: a value of shape {value.shape}, where events have {size} elements"
        )
