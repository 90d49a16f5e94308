"""Which values are stored, though they could be made again where they are read."""

from __future__ import annotations

import numpy as np

from tetragrad import Tensor
from tetragrad.nn import functional


def test_a_convolution_is_not_made_again_by_a_pooling_layer() -> None:
    """Overlapping windows would make most of its results twice, by a slow plan."""
    image = Tensor(np.ones((1, 3, 160, 160), np.float32))
    weight = Tensor(np.ones((24, 3, 3, 3), np.float32))
    hidden = functional.conv2d(image, weight, stride=2, padding=1).relu()
    pooled = functional.max_pool2d(hidden, 3, 2, 1)
    assert "recomputed" not in str(pooled.explain())
