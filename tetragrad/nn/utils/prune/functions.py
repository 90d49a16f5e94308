"""Prune a parameter of a module, or make its zeros permanent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tetragrad.nn.module import Module
from tetragrad.nn.utils.prune.method import (
    BasePruningMethod,
    methods_of,
    restricted,
    weight_of,
)
from tetragrad.nn.utils.prune.methods import (
    CustomFromMask,
    Identity,
    L1Unstructured,
    LnStructured,
    RandomStructured,
    RandomUnstructured,
)
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat
from tetragrad.tensor.modes import no_grad


def identity(module: Any, name: str) -> Any:
    """Give a parameter a mask of ones; returns the module.

    >>> prune = nn.utils.prune
    >>> layer = prune.identity(nn.Linear(2, 1), "weight")
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight_orig']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: float) -> Any:
    """Prune elements at random: a share (float) or a number (int) of those left.

    >>> layer = nn.utils.prune.random_unstructured(nn.Linear(4, 2), "weight", 0.25)
    >>> int((layer.weight == 0).sum().item())
    2
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Any, name: str, amount: float, importance_scores: Tensor | None = None
) -> Any:
    """Prune the smallest elements: a share (float) or a number (int) of those left.

    Args:
        importance_scores: what to rank by, of the parameter's shape, in its place.

    >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(4, 2), "weight", 3)
    >>> int((layer.weight == 0).sum().item())
    3
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: float, dim: int) -> Any:
    """Prune slices along ``dim`` at random: a share (float) or a number (int).

    >>> layer = nn.utils.prune.random_structured(nn.Linear(4, 2), "weight", 1, dim=1)
    >>> int((layer.weight == 0).sum().item())
    2
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Any,
    name: str,
    amount: float,
    n: float | str,
    dim: int,
    importance_scores: Tensor | None = None,
) -> Any:
    """Prune the slices along ``dim`` whose n-norms are smallest.

    >>> layer = nn.utils.prune.ln_structured(nn.Linear(4, 2), "weight", 0.5, n=2, dim=0)
    >>> int((layer.weight == 0).sum().item())
    4
    """
    LnStructured.apply(
        module, name, amount, n, dim, importance_scores=importance_scores
    )
    return module


def custom_from_mask(module: Any, name: str, mask: Tensor) -> Any:
    """Prune where a mask of the parameter's shape is zero; returns the module.

    >>> mask = Tensor([[1.0, 0.0]])
    >>> layer = nn.utils.prune.custom_from_mask(nn.Linear(2, 1), "weight", mask)
    >>> layer.weight[0, 1].item() == 0
    True
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one.

    Args:
        parameters: pairs of a module and the name of its parameter.
        pruning_method: an unstructured method's class, and ``kwargs`` its arguments.
        importance_scores: what to rank by in place of a parameter.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> prune = nn.utils.prune
    >>> pairs = [(model[0], "weight"), (model[1], "weight")]
    >>> prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.5)
    >>> sum(int((layer.weight == 0).sum().item()) for layer in model)
    4
    """
    pairs = list(parameters)
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f"{pruning_method.__name__} is {method.PRUNING_TYPE}, and several "
            "parameters have no common dimension\n"
            "hint: use L1Unstructured or RandomUnstructured"
        )
    given = importance_scores or {}
    weights = [weight_of(module, name).detach() for module, name in pairs]
    scores = [
        given.get(pair, weight).detach()
        for pair, weight in zip(pairs, weights, strict=True)
    ]
    masks = [
        getattr(module, f"{name}_mask", weight.ones_like())
        for (module, name), weight in zip(pairs, weights, strict=True)
    ]
    with no_grad():
        joined_scores, joined_masks = (
            cat([entry.reshape(-1) for entry in entries]) for entries in (scores, masks)
        )
        found = restricted(method, joined_scores, joined_masks)
    start = 0
    for (module, name), weight in zip(pairs, weights, strict=True):
        part = found[start : start + weight.numel()]
        custom_from_mask(module, name, part.reshape(weight.shape))
        start += weight.numel()


def remove(module: Any, name: str) -> Any:
    """Make a pruned parameter an ordinary one that keeps its zeros.

    >>> prune = nn.utils.prune
    >>> layer = prune.remove(prune.identity(nn.Linear(2, 1), "weight"), "weight")
    >>> sorted(name for name, _ in layer.named_parameters())
    ['bias', 'weight']
    """
    method = methods_of(module).get(name)
    if method is None:
        raise ValueError(f"{name!r} of {type(module).__name__} is not pruned")
    method.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of a module, or of one below it, is pruned.

    >>> nn.utils.prune.is_pruned(nn.Linear(2, 1))
    False
    """
    return any(methods_of(child) for child in module.modules())
