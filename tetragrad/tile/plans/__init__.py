"""Plans: which tiles a kernel is computed in, chosen by a model and then built.

plan = choose_plan(kernel, target, settings)     small typed data
program = build(kernel, plan, target)            a pure function of it
"""

from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.choose import choose_plan

__all__ = ["Plan", "build", "choose_plan"]
