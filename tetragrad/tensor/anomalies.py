"""Gradients that are NaN, found where they arise: a mode to look for mistakes with."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Self

from tetragrad.core.errors import GradientError
from tetragrad.engine.capture import refuse_reading
from tetragrad.graph.node import Node
from tetragrad.tensor.base import wrap
from tetragrad.tensor.modes import no_grad
from tetragrad.tensor.pending import realize_tensors

_enabled: ContextVar[bool] = ContextVar("anomalies_are_errors", default=False)

#: A node, and what its gradient passes on to its sources.
Step = tuple[Node, Sequence[Node | None]]


class set_detect_anomaly:
    """Whether a gradient that is NaN is an error: from now on, or in a ``with`` block.

    ``check_nan=False`` looks for nothing: where a value was made is always known.

    >>> with tetragrad.autograd.set_detect_anomaly(False):
    ...     Tensor([0.0], requires_grad=True).sqrt().sum().backward()
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _enabled.get()
        _enabled.set(mode and check_nan)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        _enabled.set(self._before)


class detect_anomaly(set_detect_anomaly):
    """In this block a gradient that is NaN is an error that names the operation.

    All gradients on the way are computed and looked at, which takes long.

    >>> x = Tensor([0.0], requires_grad=True)
    >>> with tetragrad.autograd.detect_anomaly():
    ...     try:
    ...         (x.sqrt() * 0).sum().backward()
    ...     except tetragrad.GradientError as error:
    ...         print(str(error).splitlines()[0])
    the gradient of sqrt, of shape (1,), gives NaN for its operand of shape (1,)
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan

    def __enter__(self) -> Self:
        # Not before: one that is made and never entered changes nothing.
        super().__init__(True, self._check_nan)
        return self


def new_steps() -> list[Step] | None:
    """Where a reverse pass notes what it does, if that is to be looked at."""
    return [] if _enabled.get() else None


def check_steps(steps: Sequence[Step] | None) -> None:
    """Raise GradientError for the first step of a reverse pass that gave NaN."""
    if not steps:
        return
    refuse_reading()
    parts = [
        (node, source, part)
        for node, given in steps
        for source, part in zip(node.sources, given, strict=True)
        if part is not None and part.dtype.is_floating_point
    ]
    with no_grad():
        found = [wrap(part).isnan().any() for _, _, part in parts]
        realize_tensors(found)
    for (node, source, _), is_nan in zip(parts, found, strict=True):
        if is_nan.item():
            name = type(node).__name__.lower()
            raise GradientError(
                f"the gradient of {name}, of shape {node.shape}, gives NaN for its "
                f"operand of shape {source.shape}",
                hint="look at values where the derivative is 0/0 or infinite; "
                "where(x > 0, x, 1) in front of the operation keeps them out of it",
            )
