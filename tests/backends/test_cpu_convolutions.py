"""Convolutions, their gradients and pools as compiled for this processor."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
import tetragrad.nn.functional as F
from tetragrad import Tensor

torch = pytest.importorskip("torch")
TF = torch.nn.functional

#: The image's shape, the weight's, and how the one is moved over the other.
CASES = {
    "padded": ((2, 5, 19, 23), (9, 5, 3, 3), {"padding": 1}),
    "plain": ((1, 16, 14, 17), (24, 16, 3, 5), {}),
    "steps": ((1, 3, 37, 41), (16, 3, 3, 3), {"stride": 2, "padding": 1}),
    "uneven steps": ((1, 4, 20, 50), (12, 4, 5, 5), {"stride": (1, 3), "padding": 2}),
    "wide window": ((1, 3, 30, 33), (8, 3, 7, 7), {"stride": 2, "padding": 3}),
    "long window": ((1, 8, 12, 60), (8, 8, 3, 39), {"padding": (1, 19)}),
    "dilated": ((1, 6, 21, 22), (10, 6, 3, 3), {"dilation": 2, "padding": 2}),
    "dilated steps": ((1, 6, 25, 22), (10, 6, 3, 3), {"dilation": 3, "stride": 2}),
    "groups": ((2, 8, 13, 15), (12, 2, 3, 3), {"groups": 4, "padding": 1}),
    "each channel": ((1, 12, 22, 22), (12, 1, 5, 5), {"groups": 12, "padding": 2}),
    "one output": ((1, 8, 20, 30), (1, 8, 5, 5), {"padding": 2}),
    "patches": ((1, 3, 24, 24), (16, 3, 4, 4), {"stride": 4}),
    "deep": ((1, 96, 9, 9), (32, 96, 3, 3), {"padding": 1}),
}


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def assert_near(found: Tensor, wanted) -> None:
    expected = wanted.detach().numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("name", CASES)
def test_convolution(name):
    """With what comes after it: a bias and a nonlinearity."""
    image, weight, options = CASES[name]
    x, w, b = draw(*image), draw(*weight), draw(weight[0])
    found = F.conv2d(Tensor(x), Tensor(w), Tensor(b), **options).relu()
    exact = [torch.from_numpy(array).double() for array in (x, w, b)]
    assert_near(found, TF.conv2d(*exact, **options).relu())


@pytest.mark.parametrize("name", ["padded", "steps", "dilated steps", "groups"])
def test_gradients_of_convolutions(name):
    image, weight, options = CASES[name]
    arrays = draw(*image), draw(*weight)
    exact = [torch.from_numpy(entry).double().requires_grad_() for entry in arrays]
    result = TF.conv2d(*exact, **options)
    upstream = draw(*result.shape)
    wanted = torch.autograd.grad(result, exact, torch.from_numpy(upstream).double())
    leaves = [Tensor(entry).requires_grad_() for entry in arrays]
    found = tetragrad.grad(F.conv2d(*leaves, **options), leaves, Tensor(upstream))
    for gradient, expected in zip(found, wanted, strict=True):
        assert_near(gradient, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"stride": 3, "output_padding": 1},
        {"stride": 2, "dilation": 2, "groups": 2},
        {"stride": 2, "dilation": 3, "output_padding": 2},
        {"stride": (3, 4), "dilation": (2, 6), "padding": (2, 1)},
    ],
    ids=str,
)
def test_transposed_convolution(options):
    x, w = draw(2, 8, 9, 11), draw(8, 6, 4, 3)
    found = F.conv_transpose2d(Tensor(x), Tensor(w), **options)
    exact = [torch.from_numpy(array).double() for array in (x, w)]
    assert_near(found, TF.conv_transpose2d(*exact, **options))


@pytest.mark.parametrize("length", [50, 3000])
def test_convolution_of_one_dimension(length):
    x, w = draw(1, 4, length), draw(8, 4, 9)
    found = F.conv1d(Tensor(x), Tensor(w), padding=4)
    exact = [torch.from_numpy(array).double() for array in (x, w)]
    assert_near(found, TF.conv1d(*exact, padding=4))


@pytest.mark.parametrize("size, stride, padding", [(3, 2, 1), (5, 1, 2), (3, 1, 0)])
def test_pools(size, stride, padding):
    """Where all of a window is negative, what is outside is not the largest."""
    x = -np.abs(draw(2, 3, 23, 37))
    options = {"stride": stride, "padding": padding}
    exact = torch.from_numpy(x).double()
    found = F.max_pool2d(Tensor(x), size, **options)
    assert_near(found, TF.max_pool2d(exact, size, **options))
    found = F.avg_pool2d(Tensor(x), size, **options)
    assert_near(found, TF.avg_pool2d(exact, size, **options))


def test_numbers_that_are_not_finite_stay_where_they_are():
    """Positions between rows are computed, and thrown away."""
    x, w = draw(1, 3, 12, 12), draw(8, 3, 3, 3)
    x[0, 1, 4, 5] = np.inf
    x[0, 2, 11, 11] = np.nan
    found = F.conv2d(Tensor(x), Tensor(w), padding=1).numpy()
    wanted = TF.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1).numpy()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))


def test_half_width_images():
    x, w = Tensor(draw(1, 8, 17, 19)).half(), Tensor(draw(8, 8, 3, 3)).half()
    found = F.conv2d(x, w, padding=1)
    wide = [torch.from_numpy(entry.numpy()).double() for entry in (x, w)]
    wanted = TF.conv2d(*wide, padding=1).numpy()
    np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize(
    ("size", "taps", "stride", "padding"),
    [
        ((14, 18), 3, 2, 1),
        ((13, 15), 3, 2, 1),
        ((13, 16), 5, 3, 2),
        ((12, 12), 7, 2, 3),
    ],
    ids=str,
)
def test_gradients_of_strided_convolutions_are_products(size, taps, stride, padding):
    """An element's place decides which taps and windows it was in."""
    x, w = draw(2, 12, *size), draw(9, 12, taps, taps)
    exact = torch.from_numpy(x).double().requires_grad_()
    options = {"stride": stride, "padding": padding}
    result = TF.conv2d(exact, torch.from_numpy(w).double(), **options)
    upstream = draw(*result.shape)
    (wanted,) = torch.autograd.grad(result, exact, torch.from_numpy(upstream).double())
    leaf = Tensor(x).requires_grad_()
    result = F.conv2d(leaf, Tensor(w), **options)
    (found,) = tetragrad.grad(result, [leaf], Tensor(upstream))
    text = str(found.explain())
    assert_near(found, wanted)
    assert "program contraction" in text
