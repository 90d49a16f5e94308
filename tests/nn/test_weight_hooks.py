"""Weights computed by hooks, and pruned ones, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.core.errors import ShapeError
from tetragrad.nn.utils import prune

torch = pytest.importorskip("torch")
their_prune = pytest.importorskip("torch.nn.utils.prune")


def loaded(ours: Any, theirs: Any) -> None:
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert sorted(ours.state_dict()) == sorted(state)
    ours.load_state_dict(state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
def test_spectral_norm(kind: str) -> None:
    ours, theirs = (getattr(of, kind)(3, 4, 3) for of in (nn, torch.nn))
    nn.utils.spectral_norm(ours, n_power_iterations=2)
    torch.nn.utils.spectral_norm(theirs, n_power_iterations=2)
    loaded(ours, theirs)
    inputs = np.random.default_rng(0).standard_normal((2, 3, 6, 6), np.float32)
    for _ in range(2):
        wanted, found = theirs(torch.tensor(inputs)), ours(Tensor(inputs))
        np.testing.assert_allclose(
            found.detach().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-4
        )
        wanted.square().sum().backward()
        found.square().sum().backward()
    np.testing.assert_allclose(
        ours.weight_orig.grad.numpy(), theirs.weight_orig.grad.numpy(), rtol=1e-3
    )
    ours.eval()
    before = ours(Tensor(inputs)).detach().numpy()
    nn.utils.remove_spectral_norm(ours)
    assert sorted(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(
        ours(Tensor(inputs)).detach().numpy(), before, rtol=1e-4, atol=1e-4
    )


def test_mistakes_with_hooks() -> None:
    with pytest.raises(ValueError, match="has no spectral norm of 'weight'"):
        nn.utils.remove_spectral_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="has no weight norm of 'weight'"):
        nn.utils.remove_weight_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="n_power_iterations is 0"):
        nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)


# --- pruning --------------------------------------------------------------------------


def pair() -> tuple[Any, Any]:
    theirs = torch.nn.Conv1d(4, 6, 3)
    ours = nn.Conv1d(4, 6, 3)
    loaded(ours, theirs)
    return ours, theirs


def check_alike(ours: Any, theirs: Any) -> None:
    mine, wanted = ours.state_dict(), theirs.state_dict()
    assert sorted(mine) == sorted(wanted)
    for key in wanted:
        np.testing.assert_allclose(mine[key].numpy(), wanted[key].numpy(), rtol=1e-6)
    np.testing.assert_allclose(
        ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-6
    )


def test_chosen_methods_one_after_another() -> None:
    ours, theirs = pair()
    for layer, of in ((ours, prune), (theirs, their_prune)):
        of.l1_unstructured(layer, "weight", 0.2)
        of.ln_structured(layer, "weight", 2, n=2, dim=0)
        of.ln_structured(layer, "weight", 1, n=float("inf"), dim=1)
        of.l1_unstructured(layer, "weight", 3)
    check_alike(ours, theirs)
    inputs = np.random.default_rng(0).standard_normal((2, 4, 8), np.float32)
    ours(Tensor(inputs)).sum().backward()
    theirs(torch.tensor(inputs)).sum().backward()
    np.testing.assert_allclose(
        ours.weight_orig.grad.numpy(), theirs.weight_orig.grad.numpy(), rtol=1e-4
    )
    assert prune.is_pruned(nn.Sequential(ours))
    prune.remove(ours, "weight")
    their_prune.remove(theirs, "weight")
    check_alike(ours, theirs)
    assert not prune.is_pruned(ours)


def test_several_parameters_as_one() -> None:
    ours, theirs = pair()
    for layer, of in ((ours, prune), (theirs, their_prune)):
        of.l1_unstructured(layer, "bias", 1)
        pairs = [(layer, "weight"), (layer, "bias")]
        of.global_unstructured(pairs, of.L1Unstructured, amount=0.5)
    check_alike(ours, theirs)


def test_scores_in_place_of_the_weight() -> None:
    layer = nn.Linear(4, 1)
    scores = Tensor([[4.0, 3.0, 2.0, 1.0]])
    prune.l1_unstructured(layer, "weight", 2, importance_scores=scores)
    assert layer.weight_mask.tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("amount", [0, 0.0, 0.3, 7, 1.0])
def test_random_elements(amount: float) -> None:
    layer = prune.random_unstructured(nn.Linear(5, 4), "weight", amount)
    share = isinstance(amount, float)
    gone = round(20 * amount) if share else amount
    assert int((layer.weight_mask == 0).sum().item()) == gone


def test_a_pruned_layer_trains_and_what_was_pruned_stays_zero() -> None:
    layer = prune.random_structured(nn.Linear(4, 3), "weight", 1, dim=1)
    optimizer = tetragrad.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        layer(Tensor.ones(2, 4)).square().sum().backward()
        optimizer.step()
    layer(Tensor.ones(2, 4))
    assert int((layer.weight == 0).all(0).sum().item()) == 1


def test_mistakes_with_pruning() -> None:
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="no parameter 'wieght' to prune; it has: w"):
        prune.identity(layer, "wieght")
    with pytest.raises(ValueError, match=r"amount 1\.5 is neither"):
        prune.l1_unstructured(layer, "weight", 1.5)
    with pytest.raises(TypeError, match="amount is a number, not 'half'"):
        prune.l1_unstructured(layer, "weight", "half")
    with pytest.raises(ValueError, match="amount 7 is more than the 6"):
        prune.random_unstructured(layer, "weight", 7)
    with pytest.raises(ShapeError, match=r"slices along dim 0 of .* shape \(2,\)"):
        prune.ln_structured(layer, "bias", 1, n=1, dim=0)
    with pytest.raises(ShapeError, match="a mask of shape"):
        prune.custom_from_mask(layer, "weight", Tensor.ones(2))
    with pytest.raises(ShapeError, match="importance_scores of shape"):
        prune.l1_unstructured(layer, "weight", 1, importance_scores=Tensor.ones(2))
    with pytest.raises(ValueError, match="'weight' of Linear is not pruned"):
        prune.remove(layer, "weight")
    with pytest.raises(TypeError, match="LnStructured is structured"):
        prune.global_unstructured(
            [(layer, "weight")], prune.LnStructured, amount=1, n=2
        )
    assert sorted(layer.state_dict()) == ["bias", "weight"]
