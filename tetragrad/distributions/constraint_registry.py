"""Which transform leads from all real numbers to what a constraint allows.

``biject_to`` gives one that can be undone, ``transform_to`` a simpler one where there
is none needed: for parameters that an optimiser moves freely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core.errors import UnsupportedError
from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
    Transform,
    identity_transform,
)
from tetragrad.distributions.vector_transforms import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)

Factory = Callable[[Constraint], Transform]


class ConstraintRegistry:
    """Transforms by constraint; called with one, it gives the transform.

    >>> from tetragrad.distributions import constraints, transform_to
    >>> transform_to(constraints.positive)
    ExpTransform()
    """

    def __init__(self) -> None:
        self._factories: dict[int, tuple[Constraint, Factory]] = {}

    def register(self, constraint: Constraint, factory: Factory | None = None) -> Any:
        """Make a transform known for a constraint; also a decorator."""
        if factory is None:
            return lambda decorated: self.register(constraint, decorated)
        self._factories[id(constraint)] = constraint, factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        """The transform onto a constraint's values.

        Raises:
            UnsupportedError: none is known.
        """
        known = self._factories.get(id(constraint))
        if known is not None:
            return known[1](constraint)
        if constraint.bounds is not None:
            return _onto_interval(*constraint.bounds)
        raise UnsupportedError(
            f"no transform is known onto values that are {constraint}",
            hint="make one known: registry.register(constraint, factory)",
        )


def _onto_interval(low: Any, high: Any) -> Transform:
    """From the real numbers to those between two limits, or beyond one."""
    if low is None:
        return ComposeTransform([ExpTransform(), AffineTransform(high, -1)])
    if high is None:
        return ComposeTransform([ExpTransform(), AffineTransform(low, 1)])
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()

for _registry in (biject_to, transform_to):
    _registry.register(constraints.real, lambda _: identity_transform)
    _registry.register(constraints.positive, lambda _: ExpTransform())
    _registry.register(constraints.nonnegative, lambda _: ExpTransform())
    _registry.register(constraints.unit_interval, lambda _: SigmoidTransform())
    _registry.register(constraints.lower_cholesky, lambda _: LowerCholeskyTransform())
    _registry.register(constraints.corr_cholesky, lambda _: CorrCholeskyTransform())
    _registry.register(
        constraints.positive_definite, lambda _: PositiveDefiniteTransform()
    )
biject_to.register(constraints.simplex, lambda _: StickBreakingTransform())
transform_to.register(constraints.simplex, lambda _: SoftmaxTransform())
