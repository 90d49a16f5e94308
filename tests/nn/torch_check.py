"""Compare a layer of ours with PyTorch's: weights, output and gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tetragrad import Tensor
from tetragrad.tensor.pending import realize_tensors

SEED = 7


def random_array(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Numbers that are the same in every run and far from ties."""
    count = int(np.prod(shape))
    generator = np.random.default_rng(SEED + count)
    return generator.uniform(low, high, shape)


def check_layer(
    ours: Any,
    theirs: Any,
    *inputs: Any,
    tolerance: float = 1e-9,
    **options: Any,
) -> None:
    """Load PyTorch's weights by name, then compare outputs and all gradients."""
    import torch

    theirs = theirs.double()
    ours = ours.double()
    theirs.zero_grad()
    ours.zero_grad()
    ours.load_state_dict(theirs.state_dict())
    their_inputs = [_torch_input(entry) for entry in inputs]
    our_inputs = [_our_input(entry) for entry in inputs]
    their_output = _flatten(theirs(*their_inputs, **_torch_options(options)))
    our_output = _flatten(ours(*our_inputs, **_our_options(options)))
    pairs = {
        f"output {number}": pair
        for number, pair in enumerate(zip(our_output, their_output, strict=True))
    }
    if any(entry.requires_grad for entry in their_output):
        weights = [random_array(*entry.shape) + 3 for entry in our_output]
        _weighted_sum(our_output, map(Tensor, weights)).backward()
        _weighted_sum(their_output, map(torch.tensor, weights)).backward()
        pairs |= _gradients(ours, theirs, our_inputs, their_inputs)
    buffers = dict(theirs.named_buffers())
    pairs |= {name: (value, buffers[name]) for name, value in ours.named_buffers()}
    # All at once: each realization of its own would be compiled anew.
    realize_tensors([mine for mine, _ in pairs.values() if mine is not None])
    for what, (mine, reference) in pairs.items():
        _compare(what, mine, reference, tolerance)


def _gradients(
    ours: Any, theirs: Any, our_inputs: list[Any], their_inputs: list[Any]
) -> dict[str, tuple[Any, Any]]:
    """Pairs of gradients, by what they are gradients of."""
    inputs = enumerate(zip(our_inputs, their_inputs, strict=True))
    parameters = dict(theirs.named_parameters())
    return {
        f"input {number}": (mine.grad, reference.grad)
        for number, (mine, reference) in inputs
    } | {
        name: (parameter.grad, parameters[name].grad)
        for name, parameter in ours.named_parameters()
    }


def _weighted_sum(outputs: list[Any], weights: Iterable[Any]) -> Any:
    """One number that depends on every element of every output."""
    return sum((o * w).sum() for o, w in zip(outputs, weights, strict=True))


def _flatten(output: Any) -> list[Any]:
    if isinstance(output, tuple | list):
        return [tensor for entry in output for tensor in _flatten(entry)]
    return [] if output is None else [output]


def _torch_input(entry: Any) -> Any:
    import torch

    tensor = torch.from_numpy(np.array(entry))
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def _our_input(entry: Any) -> Tensor:
    tensor = Tensor(np.array(entry))
    return tensor.requires_grad_() if tensor.dtype.is_floating_point else tensor


def _torch_options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _torch_input(value).detach() if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


def _our_options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


def _compare(what: str, mine: Any, reference: Any, tolerance: float) -> None:
    if reference is None:
        assert mine is None or not mine.detach().numpy().any(), what
        return
    assert mine is not None, f"{what}: nothing to compare"
    assert mine.shape == tuple(reference.shape), what
    np.testing.assert_allclose(
        mine.detach().numpy(),
        reference.detach().numpy(),
        rtol=tolerance,
        atol=tolerance,
        err_msg=what,
    )
