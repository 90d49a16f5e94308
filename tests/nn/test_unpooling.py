"""Unpooling, random windows and sampling at the places of a grid."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.nn import functional as F


def test_unpooling_puts_the_maxima_back() -> None:
    image = Tensor(np.random.default_rng(0).permutation(16.0 * np.arange(16)))
    image = image.reshape(1, 1, 4, 4)
    pooled, places = nn.MaxPool2d(2, return_indices=True)(image)
    restored = nn.MaxUnpool2d(2)(pooled, places)
    kept = restored != 0
    assert int(kept.sum()) == 4
    np.testing.assert_array_equal(restored[kept].numpy(), image[kept].numpy())


def test_identity_grid_gives_the_image_back() -> None:
    image = Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32"))
    identity = Tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
    for aligned in (False, True):
        grid = F.affine_grid(identity, image.shape, align_corners=aligned)
        same = F.grid_sample(image, grid, align_corners=aligned)
        np.testing.assert_allclose(same.numpy(), image.numpy(), atol=1e-5)


def test_random_windows_give_maxima_of_the_image() -> None:
    image = Tensor.arange(36).float().reshape(1, 1, 6, 6)
    layer = nn.FractionalMaxPool2d(2, output_size=3, return_indices=True)
    values, places = layer(image)
    np.testing.assert_array_equal(values.numpy(), places.numpy())


def test_grid_of_another_batch_is_refused() -> None:
    image, grid = Tensor.ones(2, 1, 3, 3), Tensor.zeros(1, 3, 3, 2)
    with pytest.raises(tetragrad.ShapeError, match="grid_sample"):
        F.grid_sample(image, grid)
