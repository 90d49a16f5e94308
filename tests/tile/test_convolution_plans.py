"""Plans for convolutions: what they read, for sizes that fit no block."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check
from tests.tile.test_contraction import convolution
from tetragrad.tile import simulator

ALL_TARGETS = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@pytest.fixture
def strict_products(monkeypatch):
    """Products refuse elements that nothing has written."""
    read_region = simulator.Simulator.region

    def region(*args):
        elements = read_region(*args)
        assert np.isfinite(elements).all()
        return elements

    monkeypatch.setattr(simulator.Simulator, "region", region)


@ALL_TARGETS
@pytest.mark.parametrize("size", [7, 9, 14])
def test_products_read_what_was_written(target, size, strict_products):
    """Memory may hold subnormal numbers, which take a hundred times as long."""
    kernel = convolution(2, 3, 10, size, pad=1, stride=1)
    check(kernel, target, tolerance=1e-4)
