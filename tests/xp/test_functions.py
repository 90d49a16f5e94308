"""Functions of the namespace against NumPy, which follows the standard too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tetragrad import xp
from tetragrad.core.settings import override

RANDOM = np.random.default_rng(3)
REAL = RANDOM.normal(size=(3, 4)).astype(np.float32)
WHOLE = RANDOM.integers(-5, 6, size=(3, 4))
COMPLEX = (REAL + 1j * RANDOM.normal(size=(3, 4))).astype(np.complex64)
SQUARE = REAL[:, :3] + 3 * np.eye(3, dtype=np.float32)

Program = Callable[[Any, Any], Any]

#: A program for either namespace, and what it is given.
PROGRAMS: tuple[tuple[Program, np.ndarray], ...] = (
    (lambda m, x: m.sum(x, axis=0), WHOLE.astype(np.uint8)),
    (lambda m, x: m.sum(x, axis=(0, 1), keepdims=True), COMPLEX),
    (lambda m, x: m.prod(x, axis=1), WHOLE.astype(np.int16)),
    (lambda m, x: m.var(x, axis=-1, correction=1), REAL),
    (lambda m, x: m.cumulative_sum(x, axis=1, include_initial=True), WHOLE),
    (lambda m, x: m.cumulative_prod(x, axis=0), COMPLEX),
    (lambda m, x: m.sort(x, axis=0, stable=True), REAL),
    (lambda m, x: m.argsort(x, axis=1, stable=True), WHOLE),
    (lambda m, x: m.unique_all(x).inverse_indices, WHOLE),
    (lambda m, x: m.nonzero(x)[1], WHOLE),
    (lambda m, x: m.searchsorted(m.sort(x[0, :]), x[1, :], side="right"), REAL),
    (lambda m, x: m.isin(x, m.asarray([1, 2])), WHOLE),
    (lambda m, x: m.take(x, m.asarray([2, 0]), axis=1), COMPLEX),
    (lambda m, x: m.take_along_axis(x, m.argsort(x, axis=1), axis=1), REAL),
    (lambda m, x: m.roll(x, (1, -1), axis=(0, 1)), WHOLE),
    (lambda m, x: m.repeat(x, m.asarray([1, 0, 2]), axis=0), WHOLE),
    (lambda m, x: m.tile(x, (2, 1, 1)), WHOLE),
    (lambda m, x: m.moveaxis(x, 0, -1), WHOLE),
    (lambda m, x: m.flip(x), COMPLEX),
    (lambda m, x: m.concat([x, x], axis=None), WHOLE),
    (lambda m, x: m.diff(x, n=2, prepend=x[:, :1]), WHOLE),
    (lambda m, x: m.where(x > 0, x, m.asarray(0.0, dtype=m.float32)), REAL),
    (lambda m, x: x[m.asarray([0, 2]), m.asarray([1, 3])], WHOLE),
    (lambda m, x: x[x > 0], WHOLE),
    (lambda m, x: x[None, ..., ::-2], WHOLE),
    (lambda m, x: m.clip(x, -1, 2), WHOLE),
    (lambda m, x: m.nextafter(x, m.asarray(0.0, dtype=m.float32)), REAL),
    (lambda m, x: m.tensordot(x, x, axes=((0,), (0,))), COMPLEX),
    (lambda m, x: m.vecdot(x, x, axis=-1), COMPLEX),
    (lambda m, x: m.linspace(0, 5, 7, endpoint=False, dtype=m.float64), REAL),
    (lambda m, x: m.eye(3, 4, k=-1, dtype=m.int8), REAL),
    (lambda m, x: m.meshgrid(x[0, :], x[:, 0])[1], REAL),
    (lambda m, x: m.linalg.inv(x), SQUARE),
    (lambda m, x: m.linalg.det(x), SQUARE),
    (lambda m, x: m.linalg.solve(x, x[:, :2]), SQUARE),
    (lambda m, x: m.linalg.eigh(x + x.mT).eigenvalues, SQUARE),
    (lambda m, x: m.linalg.svdvals(x), COMPLEX),
    (lambda m, x: m.linalg.matrix_norm(x, ord="nuc"), REAL),
    (lambda m, x: m.linalg.vector_norm(x, axis=0, ord=1), COMPLEX),
    (lambda m, x: m.linalg.cross(x[:, :3], x[0, :3]), REAL),
    (lambda m, x: m.fft.fft(x, n=5), COMPLEX),
    (lambda m, x: m.fft.irfft(m.fft.rfft(x)), REAL),
    (lambda m, x: m.fft.fftn(x, axes=(0, 1), norm="ortho"), COMPLEX),
)


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    """Compiling is for the compiler's tests: here the reference computes."""
    with override(device="reference"):
        yield


@pytest.mark.parametrize(("program", "array"), PROGRAMS)
def test_as_numpy(program: Program, array: np.ndarray) -> None:
    found = np.asarray(program(xp, xp.asarray(array)))
    with np.errstate(all="ignore"):
        expected = np.asarray(program(np, array))
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, 2e-4, 1e-5)


def test_every_name_has_a_docstring_with_an_example() -> None:
    for module in (xp, xp.linalg, xp.fft):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and not isinstance(value, type):
                assert "xp." in (value.__doc__ or "").partition(">>> ")[2], name
