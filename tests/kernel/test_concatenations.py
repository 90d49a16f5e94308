"""Long concatenations are cut, so that equal parts are equal kernels."""

from __future__ import annotations

import numpy as np

from tests.engine.operations import TARGET
from tetragrad import Tensor, cat, rand, stack
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.fusion.concatenations import MOST_PARTS
from tetragrad.kernel.ir import Kernel


def kernels_for(value: Tensor) -> list[Kernel]:
    _, lowered = kernels_of(without_markers([value.node]), TARGET, settings())
    return [entry.kernel for entry in lowered]


def uneven(count: int) -> list[np.ndarray]:
    return [np.full(1 + number % 7, number, np.float32) for number in range(count)]


def test_no_kernel_chooses_among_all_parts() -> None:
    parts = [Tensor(entry) * 2 for entry in uneven(100)]
    kernels = kernels_for(cat(parts))
    assert all(len(kernel.slots) <= MOST_PARTS + 1 for kernel in kernels)


def test_few_parts_are_one_kernel() -> None:
    parts = [Tensor(entry) * 2 for entry in uneven(MOST_PARTS)]
    assert len(kernels_for(cat(parts))) == 1


def test_parts_that_take_work_are_compiled_once() -> None:
    few = set(kernels_for(cat([rand(4, 4) for _ in range(40)])))
    many = set(kernels_for(cat([rand(4, 4) for _ in range(120)])))
    assert len(few) <= 24
    assert len(many) <= 24


def test_values_of_many_parts() -> None:
    parts = uneven(150)
    found = cat([Tensor(entry) * 2 for entry in parts])
    assert np.array_equal(found.numpy(), 2 * np.concatenate(parts))
    rows = [np.arange(4, dtype=np.float32) + number for number in range(70)]
    stacked = stack([Tensor(entry) for entry in rows])
    assert np.array_equal(stacked.numpy(), np.stack(rows))


def test_random_parts_are_those_drawn_alone() -> None:
    from tetragrad import manual_seed

    manual_seed(3)
    together = cat([rand(4, 4) for _ in range(40)]).numpy()
    manual_seed(3)
    alone = np.concatenate([rand(4, 4).numpy() for _ in range(40)])
    assert np.array_equal(together, alone)
