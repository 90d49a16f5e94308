"""Factorisations by what defines them: products, errors, empty and complex matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.linalg import LinAlgError

linalg = tetragrad.linalg


def _random(*shape: int, dtype: str = "float64") -> np.ndarray:
    generator = np.random.default_rng(sum(shape))
    values = generator.normal(size=(2, *shape))
    return (values[0] + 1j * values[1] if "complex" in dtype else values[0]).astype(
        dtype
    )


def _definite(*shape: int, dtype: str = "float64") -> np.ndarray:
    values = _random(*shape, dtype=dtype)
    turned = np.swapaxes(values.conj(), -1, -2)
    return values @ turned + np.eye(shape[-1])


# --- products -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 5, 3), (2, 3, 5)])
def test_factors_multiply_to_the_matrix(dtype: str, shape: tuple[int, ...]) -> None:
    values = _random(*shape, dtype=dtype)
    matrix = Tensor(values)
    Q, R = (entry.numpy() for entry in linalg.qr(matrix))
    np.testing.assert_allclose(Q @ R, values, atol=1e-13)
    U, S, Vh = (entry.numpy() for entry in linalg.svd(matrix, full_matrices=False))
    np.testing.assert_allclose((U * S[..., None, :]) @ Vh, values, atol=1e-13)
    P, L, upper = (entry.numpy() for entry in linalg.lu(matrix))
    np.testing.assert_allclose(P @ L @ upper, values, atol=1e-13)


def test_large_lu_is_eliminated_in_blocks() -> None:
    values = _random(130, 130)
    P, L, U = (entry.numpy() for entry in linalg.lu(Tensor(values)))
    np.testing.assert_allclose(P @ L @ U, values, atol=1e-12)
    plain = linalg.lu(Tensor(_definite(70, 70)), pivot=False)
    assert np.array_equal(plain.P.numpy(), np.eye(70))
    product = plain.L.numpy() @ plain.U.numpy()
    np.testing.assert_allclose(product, _definite(70, 70), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_symmetric_indefinite_systems(dtype: str) -> None:
    values = _random(2, 7, 7, dtype=dtype)
    values = values + np.swapaxes(values, -1, -2)
    values[:, 0, 0] = values[:, 1, 1] = 0
    right = _random(2, 7, 3, dtype=dtype)
    found = linalg.ldl_solve(*linalg.ldl_factor(Tensor(values)), Tensor(right))
    np.testing.assert_allclose(values @ found.numpy(), right, atol=1e-11)
    hermitian = values + np.swapaxes(values.conj(), -1, -2)
    factors = linalg.ldl_factor(Tensor(hermitian), hermitian=True)
    found = linalg.ldl_solve(*factors, Tensor(right), hermitian=True)
    np.testing.assert_allclose(hermitian @ found.numpy(), right, atol=1e-11)


def test_reflectors_multiply_to_q() -> None:
    values = _random(5, 3)
    packed, factors = tetragrad.geqrf(Tensor(values))
    Q = linalg.householder_product(packed, factors).numpy()
    np.testing.assert_allclose(Q @ np.triu(packed.numpy()[:3]), values, atol=1e-13)


def test_eigenvectors() -> None:
    values = _random(4, 4)
    eigenvalues, vectors = (entry.numpy() for entry in linalg.eig(Tensor(values)))
    np.testing.assert_allclose(values @ vectors, vectors * eigenvalues, atol=1e-12)
    assert linalg.eigvals(Tensor(values).float()).dtype is tetragrad.complex64


@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single(size: int) -> None:
    matrix = Tensor(np.full((2, size, size), 4.0))
    shape = (2, size, size)
    assert linalg.cholesky(matrix).shape == shape
    assert linalg.inv(matrix).shape == shape
    assert linalg.solve(matrix, matrix).shape == shape
    assert linalg.eigh(matrix).eigenvalues.shape == (2, size)
    assert linalg.eig(matrix).eigenvectors.shape == shape
    assert linalg.svd(matrix).S.shape == (2, size)
    assert linalg.qr(matrix).Q.shape == shape
    assert linalg.lu(matrix).P.shape == shape
    assert linalg.pinv(matrix).shape == shape
    assert linalg.det(matrix).tolist() == [4.0**size] * 2
    assert linalg.matrix_rank(matrix).tolist() == [size] * 2
    assert linalg.matrix_exp(matrix).shape == shape


def test_wide_and_empty() -> None:
    matrix = Tensor.zeros(0, 3)
    assert linalg.svd(matrix).Vh.shape == (3, 3)
    assert linalg.qr(matrix, "complete").R.shape == (0, 3)
    assert linalg.lstsq(Tensor.zeros(3, 0), Tensor.ones(3, 2)).solution.shape == (0, 2)


# --- what does not exist --------------------------------------------------------------

SINGULAR = Tensor([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.cholesky(Tensor([[1.0, 0.0], [0.0, -1.0]])), "order 2"),
        (lambda: linalg.cholesky(Tensor([[[4.0]], [[-4.0]]])), "batch element 1"),
        (lambda: linalg.inv(SINGULAR), "element 2 of U is zero"),
        (lambda: linalg.solve(SINGULAR, Tensor([1.0, 1.0])), "singular"),
        (lambda: linalg.lu_factor(SINGULAR), r"U\[2,2\] is zero"),
        (lambda: linalg.ldl_factor(Tensor.zeros(2, 2)), r"D\[1,1\] is zero"),
        (lambda: linalg.svd(Tensor([[float("nan")]])), "did not converge"),
    ],
)
def test_matrices_without_what_was_asked(call: Any, message: str) -> None:
    with pytest.raises(LinAlgError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linalg.inv(Tensor.ones(2, 3)), "ShapeError", "2 rows and 3 columns"),
        (lambda: linalg.svd(Tensor([1.0])), "ShapeError", "a matrix, or a batch"),
        (lambda: linalg.det(Tensor([[1]])), "DTypeError", "x.float()"),
        (
            lambda: linalg.solve(Tensor.eye(2), Tensor.ones(3, 1)),
            "ShapeError",
            "as many rows",
        ),
        (
            lambda: linalg.solve(Tensor.eye(2), Tensor.ones(2, 1).double()),
            "DTypeError",
            "B.to",
        ),
        (lambda: linalg.matrix_norm(Tensor.eye(2), 3), "ShapeError", "'nuc'"),
        (lambda: linalg.multi_dot([Tensor.eye(2)]), "ShapeError", "takes two"),
    ],
)
def test_mistakes_are_named(call: Any, error: str, message: str) -> None:
    with pytest.raises(getattr(tetragrad, error), match=message):
        call()


def test_info_instead_of_an_error() -> None:
    batch = Tensor(np.stack([np.eye(2), np.zeros((2, 2))]))
    inverse, info = linalg.inv_ex(batch)
    assert info.tolist() == [0, 1]
    assert inverse[0].tolist() == [[1, 0], [0, 1]]
    assert linalg.cholesky_ex(batch).info.tolist() == [0, 1]


def test_determinants_of_singular_matrices_have_gradients() -> None:
    matrix = Tensor(SINGULAR, requires_grad=True)
    linalg.det(matrix).backward()
    np.testing.assert_allclose(matrix.grad, [[4, -2], [-2, 1]], atol=1e-5)


def test_second_derivatives() -> None:
    # d²/dx² of log det(x A) is -n / x².
    scale = Tensor(2.0, requires_grad=True, dtype="float64")
    definite = Tensor(_definite(3, 3))
    factor = linalg.cholesky(definite * scale)
    logarithm = factor.diagonal().log().sum() * 2
    (first,) = tetragrad.grad(logarithm, scale, create_graph=True)
    (second,) = tetragrad.grad(first, scale)
    assert float(first) == pytest.approx(3 / 2)
    assert float(second) == pytest.approx(-3 / 4)


def test_no_gradient_is_an_error() -> None:
    matrix = Tensor(_definite(2, 2), requires_grad=True)
    packed = linalg.ldl_factor(matrix).LD
    with pytest.raises(
        tetragrad.GradientError, match=r"linalg.ldl\(\) has no gradient"
    ):
        packed.sum().backward()


def test_ranks_and_tolerances() -> None:
    matrix = Tensor(np.diag([1.0, 1e-3, 1e-20]))
    assert linalg.matrix_rank(matrix).item() == 2
    assert linalg.matrix_rank(matrix, atol=1e-2).item() == 1
    assert linalg.matrix_rank(matrix, rtol=0.5).item() == 1
    assert linalg.matrix_rank(matrix, hermitian=True).item() == 2
    assert linalg.pinv(matrix, rtol=0.5).diagonal().tolist() == [1, 0, 0]
    assert linalg.cond(SINGULAR, 1).item() == float("inf")


def test_products_with_the_reflectors() -> None:
    values, other = _random(5, 3), _random(5, 2)
    packed, factors = tetragrad.geqrf(Tensor(values))
    whole = np.linalg.qr(values, mode="complete").Q
    found = packed.ormqr(factors, Tensor(other))
    np.testing.assert_allclose(found.numpy(), whole @ other, atol=1e-13)
    found = packed.ormqr(factors, Tensor(other.T), left=False, transpose=True)
    np.testing.assert_allclose(found.numpy(), other.T @ whole.T, atol=1e-13)


def test_low_rank_matrices_are_recovered() -> None:
    tetragrad.manual_seed(0)
    values = _random(8, 2) @ _random(2, 9)
    U, S, V = (entry.numpy() for entry in tetragrad.svd_lowrank(Tensor(values), q=4))
    np.testing.assert_allclose((U * S) @ V.T, values, atol=1e-12)
    _, S, _ = tetragrad.pca_lowrank(Tensor(values), q=3)
    centred = values - values.mean(0)
    exact = np.linalg.svd(centred, compute_uv=False)[:3]
    np.testing.assert_allclose(S.numpy(), exact, atol=1e-7)
