"""Random four-op graphs give the same values however they are run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.random_graphs import GraphBuilder
from tetragrad.backends.reference.graph import evaluate
from tetragrad.core.settings import override
from tetragrad.engine.realize import read_buffer, realize

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
def test_pipeline_agrees_with_the_graph(seed: int, fuse: bool) -> None:
    outputs = GraphBuilder(seed, "reference").grow(14)
    wanted = evaluate(outputs, read_buffer)
    with override(device="reference", fuse=fuse):
        found = [read_buffer(buffer) for buffer in realize(outputs)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
