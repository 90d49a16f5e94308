"""Plans measured by another process: what it answers, and what if it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import override, settings
from tetragrad.engine import realize, watched_tuning
from tetragrad.engine.pipeline import kernels_of
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.candidates import MODEL, candidates, plan_named


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    watched_tuning.end()


def softmax_kernel() -> Kernel:
    node = Tensor(np.ones((16, 300), np.float32)).realize().softmax(-1).node
    _, (lowered,) = kernels_of([node], realize.device("cpu").target, settings())
    return lowered.kernel


def product_kernel(rows: int, columns: int, depth: int) -> Kernel:
    a, b = (
        Tensor(np.ones(shape, np.float32)).bfloat16().realize()
        for shape in ((rows, depth), (depth, columns))
    )
    nodes = realize.without_markers([(a @ b).node])
    _, (lowered,) = kernels_of(nodes, SM_90A, settings())
    return lowered.kernel


def test_every_plan_is_answered_kernel_after_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A busy machine may take its time.
    monkeypatch.setattr(watched_tuning, "PATIENCE_TO_BEGIN_SECONDS", 200.0)
    monkeypatch.setattr(watched_tuning, "PATIENCE_SECONDS", 100.0)
    on, kernel = realize.device("cpu"), softmax_kernel()
    plans = candidates(kernel, on.target, settings())
    for _ in range(2):
        with override(tune_milliseconds=100_000):
            entry = watched_tuning.watched(kernel, on, settings())
        assert entry is not None and set(entry.seconds) == set(plans)
        assert all(took > 0 for took in entry.seconds.values())


def test_who_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    on, kernel = realize.device("cpu"), softmax_kernel()
    monkeypatch.setattr(watched_tuning, "PATIENCE_TO_BEGIN_SECONDS", 0.0)
    assert watched_tuning.watched(kernel, on, settings()) is None
    assert watched_tuning._worker is None


@pytest.mark.parametrize("sizes", [(512, 512, 512), (16, 1024, 4096), (300, 200, 104)])
def test_products_have_other_plans_that_their_names_find(
    sizes: tuple[int, int, int],
) -> None:
    kernel = product_kernel(*sizes)
    found = candidates(kernel, SM_90A, settings())
    assert next(iter(found)) == MODEL and 4 < len(found) <= 8
    assert len(set(found.values())) == len(found)
    for name, plan in found.items():
        assert plan_named(name, kernel, SM_90A, settings()) == plan
        assert build(kernel, plan, SM_90A).slots
