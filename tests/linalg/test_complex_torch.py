"""Complex matrices beside PyTorch: values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

torch = pytest.importorskip("torch")


def _definite(t: Any, A: Any) -> Any:
    return A @ A.mH + t.eye(A.shape[-1], dtype=A.dtype)


def _sizes(results: Any) -> Any:
    """What does not depend on the phase that a vector may have."""
    return tuple(abs(entry) for entry in results)


CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "inv": (lambda t, A: t.linalg.inv(A), ((2, 3, 3),)),
    "solve": (lambda t, A, B: t.linalg.solve(A, B), ((2, 3, 3), (3, 2))),
    "cholesky": (lambda t, A: t.linalg.cholesky(_definite(t, A)), ((2, 3, 3),)),
    "qr": (lambda t, A: tuple(t.linalg.qr(A)), ((4, 3),)),
    "svd": (lambda t, A: _sizes(t.linalg.svd(A, False)), ((4, 3),)),
    "eigh": (lambda t, A: _sizes(t.linalg.eigh(A + A.mH)), ((3, 3),)),
    "eig": (lambda t, A: _sizes(t.linalg.eig(A)), ((3, 3),)),
    "lu": (lambda t, A: tuple(t.linalg.lu(A))[1:], ((2, 3, 3),)),
    "det": (lambda t, A: t.linalg.det(A), ((2, 3, 3),)),
    "slogdet": (lambda t, A: tuple(t.linalg.slogdet(A)), ((2, 3, 3),)),
    "pinv": (lambda t, A: t.linalg.pinv(A), ((4, 3),)),
    "matrix_exp": (lambda t, A: t.linalg.matrix_exp(A), ((3, 3),)),
}


def _random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(2, *shape))
    return values[0] + 1j * values[1]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    program, shapes = CASES[name]
    arrays = [_random(shape, seed) for seed, shape in enumerate(shapes)]
    ours = [Tensor(array, requires_grad=True) for array in arrays]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    have, want = program(tetragrad, *ours), program(torch, *theirs)
    pairs = list(zip(have, want, strict=True)) if isinstance(want, tuple) else None
    for number, (mine, other) in enumerate(pairs or [(have, want)]):
        expected = other.detach().numpy()
        np.testing.assert_allclose(mine.detach(), expected, atol=1e-10)
        upstream = _random(tuple(other.shape), 10 + number)
        upstream = upstream if other.is_complex() else upstream.real
        mine.backward(Tensor(upstream), retain_graph=True)
        other.backward(torch.tensor(upstream), retain_graph=True)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad, other.grad.resolve_conj(), atol=1e-9)
