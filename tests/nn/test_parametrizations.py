"""Parametrised weights beside PyTorch's: values, gradients, names, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn, no_grad
from tetragrad.core.errors import DTypeError, ShapeError, UnsupportedError

torch = pytest.importorskip("torch")

CASES: dict[str, Callable[[Any, Any], Any]] = {
    "weight": lambda of, n: of.weight_norm(n.Linear(3, 4)),
    "weight_dim": lambda of, n: of.weight_norm(n.Conv1d(3, 4, 3), dim=1),
    "weight_all": lambda of, n: of.weight_norm(n.Linear(3, 4), dim=-1),
    "spectral": lambda of, n: of.spectral_norm(n.Conv2d(3, 4, 3)),
    "spectral_vector": lambda of, n: of.spectral_norm(n.LayerNorm(5)),
    "spectral_transposed": lambda of, n: of.spectral_norm(n.ConvTranspose2d(3, 4, 3)),
    "orthogonal": lambda of, n: of.orthogonal(n.Linear(4, 4)),
    "orthogonal_tall": lambda of, n: of.orthogonal(n.Linear(3, 4)),
    "orthogonal_wide": lambda of, n: of.orthogonal(n.Linear(4, 3), "weight", "cayley"),
    "orthogonal_free": lambda of, n: of.orthogonal(
        n.Linear(4, 3), orthogonal_map="householder", use_trivialization=False
    ),
    "orthogonal_many": lambda of, n: of.orthogonal(
        n.Conv1d(4, 2, 3), orthogonal_map="matrix_exp"
    ),
}
INPUTS = {
    "weight": (2, 3),
    "weight_dim": (2, 3, 8),
    "weight_all": (2, 3),
    "spectral": (1, 3, 8, 8),
    "spectral_vector": (2, 5),
    "spectral_transposed": (1, 3, 8, 8),
    "orthogonal": (2, 4),
    "orthogonal_tall": (2, 3),
    "orthogonal_wide": (2, 4),
    "orthogonal_free": (2, 4),
    "orthogonal_many": (2, 4, 5),
}


@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name: str) -> None:
    wanted = CASES[name](torch.nn.utils.parametrizations, torch.nn)
    module = CASES[name](nn.utils.parametrizations, nn)
    state = {key: value.numpy() for key, value in wanted.state_dict().items()}
    assert list(module.state_dict()) == list(state)
    module.load_state_dict(state)
    inputs = np.random.default_rng(0).standard_normal(INPUTS[name], np.float32)
    for _ in range(2):
        expected = wanted(torch.tensor(inputs)).square().sum()
        loss = module(Tensor(inputs)).square().sum()
        expected.backward()
        loss.backward()
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-4)
    pairs = zip(module.named_parameters(), wanted.named_parameters(), strict=True)
    for (our_name, ours), (their_name, theirs) in pairs:
        assert our_name == their_name
        np.testing.assert_allclose(
            ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-3, atol=1e-3
        )


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / 2


class Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1

    def right_inverse(self, x: Tensor) -> Tensor:
        return x - 1


def test_several_on_one_tensor_assignment_and_removal() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().numpy()
    register = nn.utils.parametrize.register_parametrization
    register(register(layer, "weight", Doubled()), "weight", Shifted())
    np.testing.assert_allclose(layer.weight.detach().numpy(), before, atol=1e-6)
    layer.weight = Tensor([[3.0, 5.0], [7.0, 9.0]])
    original = layer.parametrizations.weight.original
    np.testing.assert_allclose(original.detach().numpy(), [[1, 2], [3, 4]])
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    np.testing.assert_allclose(layer.weight.detach().numpy(), [[3, 5], [7, 9]])


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 5)])
def test_what_is_assigned_becomes_orthogonal_and_stays(kind: str, shape: Any) -> None:
    layer = nn.Module()
    layer.weight = nn.Parameter(Tensor.randn(*shape))
    nn.utils.parametrizations.orthogonal(layer, orthogonal_map=kind)
    given = layer.weight.detach().clone()
    layer.weight = given
    np.testing.assert_allclose(layer.weight.detach(), given, atol=1e-5)
    with no_grad():
        original = layer.parametrizations.weight.original
        original.copy_(original + Tensor.randn(*shape).triu(1).tril(1))
    found = layer.weight.detach().numpy().astype(np.float64)
    tall = found if shape[-2] >= shape[-1] else np.swapaxes(found, -1, -2)
    products = np.swapaxes(tall, -1, -2) @ tall
    np.testing.assert_allclose(
        products, np.broadcast_to(np.eye(tall.shape[-1]), products.shape), atol=1e-5
    )


def test_reflections_are_found_again() -> None:
    layer = nn.Linear(5, 3)
    nn.utils.parametrizations.orthogonal(layer, use_trivialization=False)
    given = layer.weight.detach().clone()
    layer.weight = given
    np.testing.assert_allclose(layer.weight.detach(), given, atol=1e-5)


def test_mistakes_with_orthogonal_weights() -> None:
    orthogonal = nn.utils.parametrizations.orthogonal
    with pytest.raises(ShapeError, match=r"an orthogonal 'bias' of shape \(2,\)"):
        orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(ValueError, match="not 'exp'"):
        orthogonal(nn.Linear(2, 2), orthogonal_map="exp")
    with pytest.raises(UnsupportedError, match="use_trivialization=True"):
        orthogonal(nn.Linear(2, 2), use_trivialization=False)
    with pytest.raises(DTypeError, match="householder"):
        layer = nn.Linear(3, 2, dtype="complex64")
        orthogonal(layer, orthogonal_map="householder")


def test_a_buffer_stays_a_buffer() -> None:
    norm = nn.BatchNorm1d(3)
    nn.utils.parametrize.register_parametrization(norm, "running_mean", Shifted())
    names = [name for name, _ in norm.named_buffers()]
    assert "parametrizations.running_mean.original" in names
    np.testing.assert_allclose(norm.running_mean.numpy(), np.zeros(3))


def test_cached_values_are_computed_once() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with nn.utils.parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight


def test_copies_are_apart_and_pickles_are_refused() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    copied = copy.deepcopy(layer)
    copied.weight = Tensor.ones(2, 2)
    assert not np.allclose(layer.weight.detach().numpy(), 1)
    with pytest.raises(TypeError, match="state_dict"):
        pickle.dumps(layer)


def test_mistakes() -> None:
    register = nn.utils.parametrize.register_parametrization
    with pytest.raises(ValueError, match="no parameter or buffer 'wieght'"):
        register(nn.Linear(2, 2), "wieght", Doubled())
    with pytest.raises(ShapeError, match="Flatten makes"):
        register(nn.Conv1d(2, 2, 1), "weight", nn.Flatten())
    with pytest.raises(ValueError, match="is ordinary"):
        nn.utils.parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")
    with pytest.raises(ValueError, match="n_power_iterations is 0"):
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
