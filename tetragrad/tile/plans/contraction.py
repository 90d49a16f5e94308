"""Matrix products and convolutions: packed blocks and a register micro-kernel."""

from __future__ import annotations

from dataclasses import dataclass

from tetragrad.tile.ir import Statement
from tetragrad.tile.plans.scope import Builder


@dataclass(frozen=True)
class ContractionPlan:
    """Block sizes of a contraction."""

    output: int


def build_contraction(builder: Builder, plan: ContractionPlan) -> list[Statement]:
    """The grid of a contraction."""
    raise NotImplementedError
