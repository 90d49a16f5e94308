"""Other plans for a kernel: what the model chooses for a target that differs a little.

The model turns facts about the target into loops. Where it is wrong, it is wrong about
what a fact means for this kernel: how much of a cache is free, how many registers are,
how small a piece of work may be. So each candidate is the model's own plan for a target
with one fact changed, and a candidate's name says which. Products by roles are priced
size by size: there the candidates are those that the model finds nearly as cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan
from tetragrad.tile.plans.choose import as_set, choose_plan
from tetragrad.tile.plans.product_candidates import product_plans

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
    change = CHANGES.get(name)
    if change is not None:
        return choose_plan(kernel, change(target), settings)
    model = choose_plan(kernel, target, settings)
    return product_plans(kernel, model, as_set(target, settings)).get(name, model)


def candidates(kernel: Kernel, target: Target, settings: Settings) -> dict[str, Plan]:
    """All plans that differ, by name; the model's own comes first."""
    found = {MODEL: choose_plan(kernel, target, settings)}
    products = product_plans(kernel, found[MODEL], as_set(target, settings))
    if products:
        return found | products
    for name, change in CHANGES.items():
        changed = change(target)
        if changed.has_free_iterations == target.has_free_iterations:
            plan = choose_plan(kernel, changed, settings)
            if plan not in found.values():
                found[name] = plan
    return found
