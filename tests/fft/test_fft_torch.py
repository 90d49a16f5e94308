"""Fourier transforms beside PyTorch and NumPy: values, dtypes, shapes, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tests.tensor.comparison import Case, check
from tetragrad import Tensor
from tetragrad.tensor.fourier.transform import DENSE, factors_of

torch = pytest.importorskip("torch")


def _pairs(library: Any, x: Any) -> Any:
    return library.view_as_complex(x)


def _parts(library: Any, z: Any) -> Any:
    return library.view_as_real(z.resolve_conj())


def _complex(name: str, *args: Any, **options: Any) -> Any:
    """A transform of complex numbers, seen as real ones from both sides."""

    def program(t: Any, x: Any) -> Any:
        result = getattr(t.fft, name)(_pairs(t, x), *args, **options)
        return _parts(t, result) if result.is_complex() else result

    return program


def _real(name: str, *args: Any, **options: Any) -> Any:
    def program(t: Any, x: Any) -> Any:
        result = getattr(t.fft, name)(x, *args, **options)
        return _parts(t, result) if result.is_complex() else result

    return program


CASES = [
    *[
        Case(f"{name} of complex {options}", _complex(name, **options), ((3, 6, 2),))
        for name in ("fft", "ifft", "irfft", "hfft")
        for options in ({"norm": "ortho"}, {"n": 9, "dim": 0})
    ],
    *[
        Case(f"{name} of real {options}", _real(name, **options), ((3, 7),))
        for name in ("fft", "ifft", "rfft", "ihfft", "irfft", "hfft")
        for options in ({"norm": "forward"}, {"n": 4})
    ],
    *[
        Case(f"{name} of complex", _complex(name), ((2, 3, 4, 2),), scale=4)
        for name in ("ifftn", "irfftn", "hfftn")
    ],
    *[
        Case(f"{name} of real", _real(name), ((2, 3, 4),), scale=4)
        for name in ("fftn", "rfftn", "ihfftn", "rfft2")
    ],
    Case("fftn s dim", _complex("fftn", s=(5, -1), dim=(0, 2)), ((2, 3, 4, 2),)),
    Case("irfftn s", _complex("irfftn", s=(4, 5)), ((2, 3, 4, 2),)),
    Case("hfft2 s", _complex("hfft2", s=(3, 7)), ((2, 3, 4, 2),)),
    Case("fftshift", _real("fftshift"), ((3, 4),)),
    Case("ifftshift", _real("ifftshift", dim=1), ((3, 5),)),
    Case("several steps", _complex("fft"), ((2, 60, 2),), scale=20),
    Case("several steps, real", _real("rfft"), ((2, 100),), scale=20),
    Case("several steps, back", _complex("irfft", n=98), ((50, 2),), scale=20),
    Case("Bluestein", _complex("fft"), ((211, 2),), scale=40),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_in_torch(case: Case) -> None:
    check(case, "float64")


@pytest.mark.parametrize("size", [1, 2, 49, 97, 193, 997, 1024])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_every_kind_of_length(size: int, dtype: str) -> None:
    generator = np.random.default_rng(size)
    values = generator.normal(size=(2, 2, size))
    signal = (values[0] + 1j * values[1]).astype(dtype)
    exact = np.fft.fft(signal.astype(np.complex128))
    found = tetragrad.fft.fft(Tensor(signal)).numpy()
    assert found.dtype == dtype
    tolerance = 2e-6 if dtype == "complex64" else 1e-13
    assert np.abs(found - exact).max() <= tolerance * np.abs(exact).max()
    real = tetragrad.fft.rfft(Tensor(signal.real)).numpy()
    assert np.abs(real - np.fft.rfft(signal.real)).max() <= tolerance * size


@pytest.mark.parametrize("size", [1, 48, 49, 1000, 1024, 4096, 97 * 6, 2 * 3 * 5 * 7])
def test_factors_multiply_to_the_length(size: int) -> None:
    factors = factors_of(size)
    assert np.prod(factors) == size
    assert all(factor <= DENSE or factor == 97 for factor in factors)


def test_frequencies() -> None:
    for size in (1, 4, 7):
        for name in ("fftfreq", "rfftfreq"):
            mine = getattr(tetragrad.fft, name)(size, 0.5).numpy()
            theirs = getattr(np.fft, name)(size, 0.5)
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_integers_become_floats() -> None:
    assert tetragrad.fft.fft(Tensor([1, 2])).dtype is tetragrad.complex64


def test_a_constant_has_no_noise_in_its_spectrum() -> None:
    assert tetragrad.fft.rfft(Tensor.ones(4)).abs().tolist() == [4, 0, 0]


def test_captured() -> None:
    @tetragrad.jit
    def spectrum(signal: Tensor) -> Tensor:
        return tetragrad.view_as_real(tetragrad.fft.rfft(signal))

    for seed in range(4):
        signal = np.random.default_rng(seed).normal(size=100)
        found = spectrum(Tensor(signal)).numpy()
        exact = np.fft.rfft(signal)
        np.testing.assert_allclose(found[..., 0], exact.real, atol=1e-12)
        np.testing.assert_allclose(found[..., 1], exact.imag, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.fft(Tensor(1.0)), "number"),
        (lambda f: f.fft(Tensor([1.0]), n=0), "0 values"),
        (lambda f: f.irfft(Tensor([1.0])), "0 elements"),
        (lambda f: f.rfft(Tensor([1j])), "real numbers"),
        (lambda f: f.fft(Tensor([1.0]).half()), "float16"),
        (lambda f: f.fft(Tensor([1.0]), norm="none"), "'ortho'"),
        (lambda f: f.fftn(Tensor([1.0]), dim=(0, 0)), "twice"),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(tetragrad.TetragradError, match=message):
        call(tetragrad.fft)
