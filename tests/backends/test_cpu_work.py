"""Which grids the CPU's threads may share."""

from __future__ import annotations

import numpy as np

from tetragrad import Tensor
from tetragrad.backends.cpu.emit.work import may_run_in_parallel, stores_below
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import Grid
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan


def scatters_of(result: Tensor) -> list[Grid]:
    """The grids of the tensor's kernels that add to what is in memory."""
    cpu = device("cpu")
    _, kernels = kernels_of([result.node], cpu.target, settings())
    found = []
    for lowered in kernels:
        plan = choose_plan(lowered.kernel, cpu.target, settings())
        for grid in build(lowered.kernel, plan, cpu.target).body:
            assert isinstance(grid, Grid)
            modes = {store.mode for store, _ in stores_below(grid.body)}
            if modes - {Mode.STORE}:
                found.append(grid)
    return found


def test_scatters_into_rows_of_their_own_are_shared() -> None:
    random = np.random.default_rng(0)
    index = Tensor(random.integers(0, 50, (8, 300))).realize()
    source = Tensor(random.standard_normal((8, 300))).realize()
    rows = Tensor.zeros(8, 50, dtype=source.dtype).scatter_add(1, index, source)
    (grid,) = scatters_of(rows)
    assert may_run_in_parallel(grid)
    wide = Tensor(random.standard_normal((1024, 1024))).realize()
    places = Tensor(random.integers(0, 1024, (1024, 1024))).realize()
    (grid,) = scatters_of(wide.zeros_like().scatter_add(1, places, wide))
    assert may_run_in_parallel(grid)
    one = Tensor.zeros(50, dtype=source.dtype).scatter_add(0, index[0], source[0])
    (grid,) = scatters_of(one)
    assert all(extent == 1 for _, extent in grid.axes)


def test_rows_sorted_by_several_threads() -> None:
    array = np.random.default_rng(0).integers(0, 99, (40, 2000))
    found = Tensor(array).sort(-1).indices.numpy()
    np.testing.assert_array_equal(found, np.argsort(array, -1, kind="stable"))
