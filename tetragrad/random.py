"""Random numbers: seeds, generators and their states.

>>> _ = tetragrad.random.manual_seed(0)
>>> state = tetragrad.random.get_state()
>>> first = tetragrad.rand(2)
>>> tetragrad.random.set_state(state)
>>> tetragrad.rand(2).equal(first)
True
"""

from __future__ import annotations

from tetragrad.tensor.randomness import (
    Generator,
    default_generator,
    get_state,
    manual_seed,
    set_state,
)

__all__ = [
    "Generator",
    "default_generator",
    "get_state",
    "manual_seed",
    "set_state",
]
