"""Functions of random quantities that can be undone, with how they stretch space.

A density changes under y = f(x) by the factor 1 / |det f'(x)|; a transform knows its
logarithm. Transforms of vectors and matrices are in ``vector_transforms.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError, UnsupportedError
from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.distribution import Shape, sum_last
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import TensorBase


class Transform:
    """y = f(x), its inverse ``inv``, and log |det f'(x)|.

    ``domain`` and ``codomain`` say what x and y may be; ``bijective`` whether
    ``inv`` undoes f, and ``sign`` is that of the slope of a function of one number.

    >>> from tetragrad.distributions import ExpTransform
    >>> exp = ExpTransform()
    >>> exp.inv(exp(Tensor(2.0)))
    tensor(2.)
    """

    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    bijective: bool = True
    sign: Any = 1

    def __init__(self, cache_size: int = 0) -> None:
        # Nothing is kept: equal nodes of the graph are one node anyway.
        self.cache_size = cache_size

    def __call__(self, x: Tensor) -> Tensor:
        """f(x)."""
        raise UnsupportedError(f"{type(self).__name__} has no forward direction")

    def inverse(self, y: Tensor) -> Tensor:
        """x for y = f(x)."""
        raise UnsupportedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |det f'(x)|, of the shape that is left without an event's dimensions."""
        raise UnsupportedError(f"{type(self).__name__} has no log_abs_det_jacobian")

    @property
    def inv(self) -> Transform:
        """The transform the other way round."""
        return _Inverse(self)

    @property
    def event_dim(self) -> int:
        """How many last dimensions of x belong to one value."""
        return self.domain.event_dim

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y, from that of x."""
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of x, from that of y."""
        return shape

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The transform itself: there is nothing to keep."""
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((type(self), self._parts()))

    def _parts(self) -> tuple[Any, ...]:
        """What two equal transforms have in common; tensors by identity."""
        return tuple(
            id(value) if isinstance(value, TensorBase) else value
            for name, value in sorted(self.__dict__.items())
            if name != "cache_size"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    """Another transform the other way round."""

    def __init__(self, forward: Transform) -> None:
        super().__init__()
        self.forward = forward
        self.domain, self.codomain = forward.codomain, forward.domain
        self.bijective, self.sign = forward.bijective, forward.sign

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward.inverse(x)

    def inverse(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.forward.log_abs_det_jacobian(y, x)

    @property
    def inv(self) -> Transform:
        return self.forward

    def forward_shape(self, shape: Shape) -> Shape:
        return self.forward.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self.forward!r}.inv"


class ComposeTransform(Transform):
    """One transform after the other.

    >>> from tetragrad.distributions import AffineTransform, ComposeTransform
    >>> ComposeTransform([AffineTransform(1.0, 2.0), AffineTransform(0.0, 3.0)])(
    ...     Tensor(1.0)
    ... )
    tensor(9.)
    """

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = tuple(parts)
        self.domain, self.codomain = self._limits()
        self.bijective = all(part.bijective for part in self.parts)
        self.sign = math.prod(part.sign for part in self.parts) if self.bijective else 0

    def _limits(self) -> tuple[Constraint, Constraint]:
        """What goes in and comes out, with the dimensions that the whole needs."""
        if not self.parts:
            return constraints.real, constraints.real
        first, last = self.parts[0].domain, self.parts[-1].codomain
        needed = last.event_dim
        for part in reversed(self.parts):
            needed += part.domain.event_dim - part.codomain.event_dim
            needed = max(needed, part.domain.event_dim)
        given = first.event_dim
        for part in self.parts:
            given = max(given, part.domain.event_dim)
            given += part.codomain.event_dim - part.domain.event_dim
        return _widened(first, needed), _widened(last, max(given, last.event_dim))

    def __call__(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.parts:
            return x.zeros_like()
        event_dim = self.domain.event_dim
        terms = []
        for part in self.parts:
            after = part(x)
            term = part.log_abs_det_jacobian(x, after)
            terms.append(sum_last(term, event_dim - part.domain.event_dim))
            event_dim += part.codomain.event_dim - part.domain.event_dim
            x = after
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def forward_shape(self, shape: Shape) -> Shape:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        return f"ComposeTransform({list(self.parts)})"


def _widened(constraint: Constraint, event_dim: int) -> Constraint:
    rest = event_dim - constraint.event_dim
    return constraints.independent(constraint, rest) if rest else constraint


#: y = x.
identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose last dimensions are taken as one event.

    >>> from tetragrad.distributions import ExpTransform, IndependentTransform
    >>> exp = IndependentTransform(ExpTransform(), 1)
    >>> x = Tensor([1.0, 2.0])
    >>> exp.log_abs_det_jacobian(x, exp(x))
    tensor(3.)
    """

    def __init__(
        self,
        base_transform: Transform,
        reinterpreted_batch_ndims: int,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        count = reinterpreted_batch_ndims
        self.domain = constraints.independent(base_transform.domain, count)
        self.codomain = constraints.independent(base_transform.codomain, count)
        self.bijective, self.sign = base_transform.bijective, base_transform.sign

    def __call__(self, x: Tensor) -> Tensor:
        return self.base_transform(x)

    def inverse(self, y: Tensor) -> Tensor:
        return self.base_transform.inverse(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        inner = self.base_transform.log_abs_det_jacobian(x, y)
        return sum_last(inner, self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.base_transform.inverse_shape(shape)


# --- functions of one number ----------------------------------------------------------


class ExpTransform(Transform):
    """y = exp(x).

    >>> tetragrad.distributions.ExpTransform()(Tensor(0.0))
    tensor(1.)
    """

    codomain = constraints.positive

    def __call__(self, x: Tensor) -> Tensor:
        return x.exp()

    def inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """y = x^exponent, of positive numbers.

    >>> tetragrad.distributions.PowerTransform(2.0)(Tensor(3.0))
    tensor(9.)
    """

    domain = constraints.positive
    codomain = constraints.positive

    def __init__(self, exponent: Tensor | float, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent

    @property
    def sign(self) -> Any:
        """1 for a rising power, -1 for a falling one."""
        return _sign(self.exponent)

    def __call__(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Shape) -> Shape:
        return _with_parameters(shape, self.exponent)

    inverse_shape = forward_shape


class SigmoidTransform(Transform):
    """y = 1 / (1 + exp(-x)).

    >>> tetragrad.distributions.SigmoidTransform()(Tensor(0.0))
    tensor(0.5000)
    """

    codomain = constraints.unit_interval

    def __call__(self, x: Tensor) -> Tensor:
        return inside_unit(x.sigmoid())

    def inverse(self, y: Tensor) -> Tensor:
        y = inside_unit(y)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -(-x).softplus() - x.softplus()


class SoftplusTransform(Transform):
    """y = log(1 + exp(x)).

    >>> tetragrad.distributions.SoftplusTransform()(Tensor(0.0))
    tensor(0.6931)
    """

    codomain = constraints.positive

    def __call__(self, x: Tensor) -> Tensor:
        return x.softplus()

    def inverse(self, y: Tensor) -> Tensor:
        return (-(-y).expm1()).log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -(-x).softplus()


class TanhTransform(Transform):
    """y = tanh(x).

    >>> tetragrad.distributions.TanhTransform()(Tensor(0.0))
    tensor(0.)
    """

    codomain = constraints.interval(-1.0, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        return x.tanh()

    def inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        # 1 - tanh² would cancel.
        return 2 * (math.log(2) - x - (-2 * x).softplus())


class AbsTransform(Transform):
    """y = |x|, which cannot be undone; ``inv`` gives y itself.

    >>> tetragrad.distributions.AbsTransform()(Tensor(-2.0))
    tensor(2.)
    """

    codomain = constraints.positive
    bijective = False

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()

    def inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """y = loc + scale·x.

    >>> tetragrad.distributions.AffineTransform(1.0, 2.0)(Tensor(3.0))
    tensor(7.)
    """

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        event_dim: int = 0,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size)
        self.loc = loc
        self.scale = scale
        if event_dim:
            self.domain = constraints.independent(constraints.real, event_dim)
            self.codomain = self.domain

    @property
    def sign(self) -> Any:
        """The sign of the scale."""
        return _sign(self.scale)

    def __call__(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        stretched = x.zeros_like() + self.scale
        return sum_last(stretched.abs().log(), self.event_dim)

    def forward_shape(self, shape: Shape) -> Shape:
        return _with_parameters(shape, self.loc, self.scale)

    inverse_shape = forward_shape


class CumulativeDistributionTransform(Transform):
    """y = the probability, by a distribution of one number, of an outcome up to x.

    >>> from tetragrad.distributions import CumulativeDistributionTransform, Normal
    >>> CumulativeDistributionTransform(Normal(0.0, 1.0))(Tensor(0.0))
    tensor(0.5000)
    """

    codomain = constraints.unit_interval

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    def __call__(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)


def inside_unit(value: Tensor) -> Tensor:
    """Numbers from 0 to 1 kept away from both, so that logarithms are finite."""
    bits = {16: 10, 32: 23, 64: 52}[value.dtype.bits]
    return value.clamp(
        2.0 ** {16: -14, 32: -126, 64: -1022}[value.dtype.bits], 1 - 2.0**-bits
    )


def _sign(value: Tensor | float) -> Any:
    if isinstance(value, TensorBase):
        return value.sign()
    return math.copysign(1, value)


def _with_parameters(shape: Shape, *parameters: Any) -> Shape:
    from tetragrad.tensor.promotion import broadcast_shapes

    shapes = [entry.shape for entry in parameters if isinstance(entry, TensorBase)]
    return broadcast_shapes(shape, *shapes)


def check_transform(value: Any) -> Transform:
    """A transform, or an error that says what else was given."""
    if not isinstance(value, Transform):
        raise ShapeError(f"{value!r:.80} is not a transform", hint="pass a Transform")
    return value
