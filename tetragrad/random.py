"""Random numbers: seeds, generators and their states.

>>> _ = tetragrad.random.manual_seed(0)
>>> state = tetragrad.random.get_state()
>>> first = tetragrad.rand(2)
>>> tetragrad.random.set_state(state)
>>> tetragrad.rand(2).equal(first)
True
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tetragrad.tensor import Tensor
from tetragrad.tensor.generator import (
    Generator,
    default_generator,
    get_state,
    manual_seed,
    set_state,
)

#: PyTorch's names of the default generator's state.
get_rng_state = get_state
set_rng_state = set_state


def seed() -> int:
    """Start the default generator from a seed that differs every time; returns it.

    >>> tetragrad.random.seed() == tetragrad.random.initial_seed()
    True
    """
    made = Generator()
    default_generator().manual_seed(made.initial_seed())
    return made.initial_seed()


def initial_seed() -> int:
    """The seed that the default generator was started from.

    >>> _ = tetragrad.random.manual_seed(5)
    >>> tetragrad.random.initial_seed()
    5
    """
    return default_generator().initial_seed()


@contextmanager
def fork_rng(enabled: bool = True) -> Iterator[None]:
    """Inside, random numbers are drawn without those outside noticing.

    >>> _ = tetragrad.random.manual_seed(0)
    >>> with tetragrad.random.fork_rng():
    ...     first = tetragrad.rand(2)
    >>> tetragrad.rand(2).equal(first)
    True
    """
    state: Tensor | None = get_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_state(state)


__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "get_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
    "set_state",
]
