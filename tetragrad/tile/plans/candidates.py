"""Other plans for a kernel: what the model chooses for a target that differs a little.

The model turns facts about the target into loops. Where it is wrong, it is wrong about
what a fact means for this kernel: how much of a cache is free, how many registers are,
how small a piece of work may be. So each candidate is the model's own plan for a target
with one fact changed, and a candidate's name says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan
from tetragrad.tile.plans.choose import choose_plan

#: The plan that is taken if nothing was measured.
MODEL: Final = "model"

#: Eight plans at most, the first as the model has it.
CHANGES: Final[dict[str, Callable[[Target], Target]]] = {
    MODEL: lambda target: target,
    "half the cache": lambda target: replace(
        target, cache_bytes=target.cache_bytes // 2
    ),
    "twice the cache": lambda target: replace(
        target, cache_bytes=target.cache_bytes * 2
    ),
    "half the registers": lambda target: replace(
        target, registers=target.registers // 2
    ),
    "half a vector": lambda target: replace(
        target, vector_bytes=target.vector_bytes // 2
    ),
    "twice the pieces": lambda target: replace(target, pieces=target.pieces * 2),
    "short iterations": lambda target: replace(
        target, iteration_elements=target.iteration_elements // 4
    ),
    "long iterations": lambda target: replace(
        target, iteration_elements=target.iteration_elements * 4
    ),
}


def plan_named(name: str, kernel: Kernel, target: Target, settings: Settings) -> Plan:
    """The candidate of a name; the model's own if there is none of that name."""
    change = CHANGES.get(name, CHANGES[MODEL])
    return choose_plan(kernel, change(target), settings)


def candidates(kernel: Kernel, target: Target, settings: Settings) -> dict[str, Plan]:
    """All plans that differ, by name; the model's own comes first."""
    found: dict[str, Plan] = {}
    for name in CHANGES:
        plan = plan_named(name, kernel, target, settings)
        if plan not in found.values():
            found[name] = plan
    return found
