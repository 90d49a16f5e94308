"""The short-time transform, its inverse and windows beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tests.tensor.comparison import Case, check
from tetragrad import Tensor

torch = pytest.importorskip("torch")

OPTIONS: list[dict[str, Any]] = [
    {"n_fft": 16, "win_length": 16, "window": "hamming_window"},
    {"n_fft": 16, "hop_length": 5, "win_length": 10, "window": "hann_window"},
    {
        "n_fft": 20,
        "center": False,
        "normalized": True,
        "win_length": 20,
        "window": "hamming_window",
    },
    {"n_fft": 16, "onesided": False, "win_length": 16, "window": "hamming_window"},
]


def _options(library: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the window that the library makes."""
    window = getattr(library, options["window"])
    return options | {"window": window(options["win_length"], dtype=library.float64)}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_there_and_back(options: dict[str, Any]) -> None:
    def spectrum(library: Any, signal: Any) -> Any:
        given = _options(library, options)
        return library.view_as_real(library.stft(signal, **given, return_complex=True))

    def signal(library: Any, signal: Any) -> Any:
        given = _options(library, options)
        frames = library.stft(signal, **given, return_complex=True)
        return library.istft(frames, **given, length=97)

    check(Case("stft", spectrum, ((2, 100),), scale=20), "float64")
    check(Case("istft", signal, ((2, 100),), gradient=False), "float64")


def test_complex_signals() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=50) + 1j * generator.normal(size=50)
    found = tetragrad.stft(Tensor(values), 16)
    ones = torch.ones(16, dtype=torch.float64)
    expected = torch.stft(torch.tensor(values), 16, window=ones, return_complex=True)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-13)
    back = tetragrad.istft(found, 16, return_complex=True, length=50)
    np.testing.assert_allclose(back.numpy(), values, atol=1e-13)


@pytest.mark.parametrize("name", "hann hamming blackman bartlett kaiser".split())
def test_windows(name: str) -> None:
    for size, periodic in ((1, True), (2, False), (7, True), (8, False)):
        found = getattr(tetragrad, f"{name}_window")(size, periodic).numpy()
        expected = getattr(torch, f"{name}_window")(size, periodic).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tetragrad.stft(Tensor.ones(4), 8, center=False), "4 values"),
        (lambda: tetragrad.stft(Tensor.ones(1, 1, 9), 4), "a signal or a batch"),
        (lambda: Tensor.ones(9).stft(4, window=Tensor.ones(3)), "it needs 4 values"),
        (lambda: Tensor.ones(9).stft(4, 0), "hop_length=0"),
        (lambda: tetragrad.istft(Tensor.ones(3, 4), 4), "view_as_complex"),
        (
            lambda: Tensor.ones(9).stft(4, 4).istft(4, 4, window=Tensor.zeros(4)),
            "sum to zero",
        ),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(tetragrad.TetragradError, match=message):
        call()
