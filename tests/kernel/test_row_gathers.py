"""One element of each row, chosen where the row's statistics are computed."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.expression import Reduction, walk
from tetragrad.kernel.lowering import Lowered
from tetragrad.nn import functional

TARGET = Target("cpu", "none", units=2)


def scores(rows: int, classes: int) -> Tensor:
    numbers = np.random.default_rng(rows).standard_normal((rows, classes))
    return Tensor(numbers.astype(np.float32)).realize()


def classes_of(rows: int, classes: int) -> Tensor:
    numbers = np.random.default_rng(classes).integers(0, classes, rows)
    return Tensor(numbers).realize()


def kernels(tensor: Tensor) -> list[Lowered]:
    _, found = kernels_of(without_markers([tensor.node]), TARGET, settings())
    return found


def test_the_loss_of_a_class_reads_its_row_once() -> None:
    loss = functional.cross_entropy(scores(64, 1000), classes_of(64, 1000))
    rows, mean = kernels(loss)
    (output,) = rows.kernel.outputs
    reductions = [entry for entry in walk(output.value) if isinstance(entry, Reduction)]
    assert [entry.op.__name__ for entry in reductions] == ["Max", "Sum"]
    assert output.axes == (0,)
    assert rows.kernel.slots[output.slot].numel == 64
    assert mean.kernel.slots[-1].numel == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_are_those_of_numpy(dtype: str) -> None:
    x, target = scores(50, 37), classes_of(50, 37)
    narrow = x.to(getattr(tetragrad, dtype))
    found = functional.cross_entropy(narrow, target, reduction="none").float().numpy()
    wide = narrow.float().numpy().astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    want = -logs[np.arange(50), target.numpy()]
    np.testing.assert_allclose(found, want, 1e-5 if dtype == "float32" else 1e-2)


def test_classes_that_are_ignored_count_as_nothing() -> None:
    x = scores(6, 5)
    target = Tensor(np.array([0, -100, 4, 2, -100, 1])).realize()
    found = functional.cross_entropy(x, target, reduction="none").numpy()
    assert found[1] == found[4] == 0
    assert (found[[0, 2, 3, 5]] > 0).all()
