"""A process that has bound a symbol runs everything else as if it had not."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Symbol, Tensor
from tetragrad.engine import realize as engine
from tetragrad.graph.extents import has_symbols

ROWS = Symbol("rows", maximum=16)


@pytest.fixture
def sized() -> Tensor:
    """A tensor of a symbolic size that lives as long as the test."""
    return Tensor.arange(16).float()[: ROWS.bind(5)] * 2


def test_only_what_is_made_of_sizes_has_them(sized):
    plain = Tensor.ones(5) + 1
    assert has_symbols([sized.node])
    assert has_symbols([(sized + plain).node])
    assert not has_symbols([plain.node])


def test_a_graph_is_recognised(sized, compiled, monkeypatch):
    engine.forget_schedules()
    new: list[int] = []
    original = engine._run_new
    monkeypatch.setattr(
        engine, "_run_new", lambda *rest: new.append(1) or original(*rest)
    )
    for step in range(4):
        x = tetragrad.tensor(np.full((3, 4), step, np.float32))
        np.testing.assert_array_equal(
            (x * 3 - 1).numpy(), np.full((3, 4), step * 3 - 1)
        )
    assert len(compiled) == len(new) == 1
    np.testing.assert_array_equal(sized.numpy(), np.arange(5) * 2)


def test_equal_sizes_are_told_apart_beside_each_other():
    data = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
    x = tetragrad.tensor(data)
    for rows in (4, 7, 4):
        symbolic = x[: ROWS.bind(rows)].exp()
        np.testing.assert_allclose(symbolic.numpy(), np.exp(data[:rows]), 1e-6)
        np.testing.assert_allclose(x[:rows].exp().numpy(), np.exp(data[:rows]), 1e-6)
