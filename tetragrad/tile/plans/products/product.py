"""Build a contraction in the shape that its plan asks for."""

from __future__ import annotations

from tetragrad.tile.ir import Statement
from tetragrad.tile.plans.products.build_winograd import build_winograd
from tetragrad.tile.plans.products.contraction import ContractionPlan
from tetragrad.tile.plans.products.direct import build_direct
from tetragrad.tile.plans.products.panels import build_panels
from tetragrad.tile.plans.products.squares import build_square
from tetragrad.tile.plans.products.windows import DirectPlan
from tetragrad.tile.plans.products.winograd import WinogradPlan
from tetragrad.tile.plans.products.winograd_sums import (
    WinogradSumsPlan,
    build_winograd_sums,
)
from tetragrad.tile.plans.scope import Builder


def build_contraction(builder: Builder, plan: ContractionPlan) -> list[Statement]:
    """The grid of a contraction."""
    if isinstance(plan, WinogradSumsPlan):
        return build_winograd_sums(builder, plan)
    if isinstance(plan, WinogradPlan):
        return build_winograd(builder, plan)
    if isinstance(plan, DirectPlan):
        return build_direct(builder, plan)
    return (build_square if plan.at_once else build_panels)(builder, plan)
