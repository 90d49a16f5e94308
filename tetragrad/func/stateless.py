"""Modules as functions of their parameters, for ``grad`` and ``vmap``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import stack


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in place of its parameters and buffers.

    Args:
        module: stays as it is; what it changes in place changes the tensors given.
        parameter_and_buffer_dicts: tensors by dotted name, in one mapping or several.
        args: the positional arguments; one that is no tuple is passed alone.
        kwargs: the keyword arguments.
        tie_weights: a tensor given under one name of a shared parameter is used for
            the other names too.
        strict: raise if a name of the module is not given.

    Raises:
        KeyError: a name that the module does not have, or, if strict, that is missing.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> other = {"weight": Tensor([[3.0]])}
    >>> tetragrad.func.functional_call(layer, other, Tensor([2.0]))
    tensor([6.])
    """
    mappings = parameter_and_buffer_dicts
    if isinstance(mappings, Mapping):
        mappings = [mappings]
    given = {name: value for mapping in mappings for name, value in mapping.items()}
    places = _places(module)
    _check_names(module, set(places), set(given), strict)
    if tie_weights:
        given |= _tied(module, given)
    arguments = args if isinstance(args, tuple) else () if args is None else (args,)
    with _replaced([(places[name], value) for name, value in given.items()]):
        return module(*arguments, **(kwargs or {}))


#: A registry of a module, and the name in it.
Place = tuple[dict[str, Any], str]


def _places(module: Module) -> dict[str, Place]:
    """Where each parameter and buffer is kept, by dotted name."""
    found: dict[str, Place] = {}
    for prefix, part in module.named_modules(memo=None):
        for registry in (part._parameters, part._buffers):
            for name in registry:
                found[f"{prefix}.{name}" if prefix else name] = registry, name
    return found


def _check_names(
    module: Module, known: set[str], given: set[str], strict: bool
) -> None:
    kind = type(module).__name__
    unknown = sorted(given - known)
    if unknown:
        raise KeyError(f"{kind} has no parameter or buffer {unknown[0]!r}")
    absent = sorted(known - given)
    if strict and absent:
        raise KeyError(
            f"functional_call(strict=True): {kind}'s {absent[0]!r} is missing"
        )


def _tied(module: Module, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors for the other names of shared parameters."""
    names: dict[int, list[str]] = {}
    both = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for name, value in both:
        names.setdefault(id(value), []).append(name)
    tied: dict[str, Tensor] = {}
    for shared in names.values():
        values = [given[name] for name in shared if name in given]
        if values:
            tied.update((name, values[0]) for name in shared if name not in given)
    return tied


@contextmanager
def _replaced(entries: Sequence[tuple[Place, Any]]) -> Iterator[None]:
    """Other values in registries, until the block ends."""
    before = [registry[name] for (registry, name), _ in entries]
    try:
        for (registry, name), value in entries:
            registry[name] = value
        yield
    finally:
        for ((registry, name), _), value in zip(entries, before, strict=True):
            registry[name] = value


def stack_module_state(
    models: Sequence[Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of equal models, stacked, for an ensemble.

    >>> models = [nn.Linear(2, 3) for _ in range(4)]
    >>> params, buffers = tetragrad.func.stack_module_state(models)
    >>> params["weight"].shape
    (4, 3, 2)
    """
    if not models:
        raise ShapeError(
            "stack_module_state() of no models", hint="pass at least one model"
        )
    params = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return _stacked(params, leaf=True), _stacked(buffers, leaf=False)


def _stacked(states: list[dict[str, Any]], *, leaf: bool) -> dict[str, Tensor]:
    first = states[0]
    if any(state.keys() != first.keys() for state in states):
        raise ShapeError(
            "stack_module_state() of models with different parameters",
            hint="models of an ensemble have one architecture",
        )
    stacked = {
        name: stack([state[name].detach() for state in states]) for name in first
    }
    if leaf:
        for name, value in stacked.items():
            value.requires_grad_(first[name].requires_grad)
    return stacked
