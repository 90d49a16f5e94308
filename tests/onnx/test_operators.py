"""Operators beyond what the backend tests ask of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper

import tetragrad
from tests.onnx.models import FLOAT, make_model
from tetragrad import Tensor
from tetragrad.onnx import load

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("length", [360, 509, 1000])
def test_long_transforms(length: int) -> None:
    signal = GENERATOR.standard_normal((2, length, 1)).astype(np.float32)
    nodes = [helper.make_node("DFT", ["x"], ["y"], onesided=1)]
    model = load(make_model(nodes, [("x", FLOAT, [2, length, 1])], ["y"]))
    expected = np.fft.rfft(signal[..., 0].astype(np.float64))
    found = model(signal).numpy()
    np.testing.assert_allclose(found[..., 0] + 1j * found[..., 1], expected, atol=1e-3)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[2, 3], [9, 11], [0, 4]])
def test_padding_wider_than_the_tensor(mode: str, pads: list[int]) -> None:
    x = np.arange(5, dtype=np.float32)
    nodes = [helper.make_node("Pad", ["x", "pads"], ["y"], mode=mode)]
    constants = {"pads": np.asarray(pads, np.int64)}
    model = load(make_model(nodes, [("x", FLOAT, [5])], ["y"], constants))
    expected = np.pad(x, tuple(pads), mode=mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(model(x).numpy(), expected)


def test_a_long_recurrent_layer_is_captured_and_trained() -> None:
    """Twelve steps, both directions, sequences of their own lengths."""
    steps, batch, size = 12, 3, 4
    constants = {
        "w": GENERATOR.standard_normal((2, 3 * size, size)).astype(np.float32) * 0.3,
        "r": GENERATOR.standard_normal((2, 3 * size, size)).astype(np.float32) * 0.3,
        "lengths": np.asarray([12, 7, 9], np.int32),
    }
    node = helper.make_node(
        "GRU",
        ["x", "w", "r", "", "lengths"],
        ["y", "last"],
        hidden_size=size,
        direction="bidirectional",
    )
    proto = make_model([node], [("x", FLOAT, None)], ["y", "last"], constants)
    model = load(proto)
    x = Tensor(GENERATOR.standard_normal((steps, batch, size)).astype(np.float32))
    step = tetragrad.jit(lambda x: model(x))
    with tetragrad.no_grad():
        once, again = step(x)[0].numpy(), step(x)[0].numpy()
    np.testing.assert_array_equal(once, again)
    # Beyond its length a sequence gives zeros, and its last state is the one before.
    assert not once[7:, :, 1].any()
    output, last = model(x)
    np.testing.assert_allclose(
        last.detach().numpy()[0, 1], output.detach().numpy()[6, 0, 1]
    )
    last.square().sum().backward()
    gradient = model.get_parameter("r").grad
    assert gradient is not None and bool(gradient.abs().sum().item() > 0)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_determinants(size: int) -> None:
    x = GENERATOR.standard_normal((5, size, size)).astype(np.float32)
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    model = load(make_model(nodes, [("x", FLOAT, None)], ["y"]))
    np.testing.assert_allclose(model(x).numpy(), np.linalg.det(x), rtol=2e-4)
