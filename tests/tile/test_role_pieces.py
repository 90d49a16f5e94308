"""How many columns of a product's results are staged at once."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import settings
from tetragrad.engine import realize
from tetragrad.engine.pipeline import kernels_of
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.roles.role_plan import RolePlan


@pytest.mark.parametrize(("columns", "widest"), [(1029, 128), (1024, 256)])
def test_rows_that_begin_anywhere_are_written_lane_by_lane(
    columns: int, widest: int
) -> None:
    a, b = (
        Tensor(np.ones(shape, np.float32)).bfloat16().realize()
        for shape in ((4096, 56), (56, columns))
    )
    nodes = realize.without_markers([(a @ b).node])
    _, (lowered,) = kernels_of(nodes, SM_90A, settings())
    stages = choose_plan(lowered.kernel, SM_90A, settings()).stages
    (plan,) = [g for grids in stages for g in grids if isinstance(g, RolePlan)]
    assert plan.columns > 128 and plan.piece <= widest
