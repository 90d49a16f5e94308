"""Hooks on modules: around calls, gradients and states."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.core.errors import GradientError, UnsupportedError


class TwoToTwo(nn.Module):
    """A module with two inputs and two outputs."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * y, x + 3 * y


def _inputs() -> tuple[Tensor, Tensor]:
    return (
        Tensor([1.0, 2.0], requires_grad=True),
        Tensor([5.0, 7.0], requires_grad=True),
    )


def test_full_backward_hooks_see_all_gradients_at_once() -> None:
    seen: list[Any] = []
    module = TwoToTwo()
    handle = module.register_full_backward_hook(lambda *given: seen.append(given))
    x, y = _inputs()
    product, total = module(x, y)
    (product + 2 * total).sum().backward()
    ((of, grad_input, grad_output),) = seen
    assert of is module
    assert [entry.tolist() for entry in grad_output] == [[1, 1], [2, 2]]
    assert [entry.tolist() for entry in grad_input] == [[7, 9], [7, 8]]
    assert x.grad is not None and x.grad.tolist() == [7, 9]
    handle.remove()
    module(x, y)[0].sum().backward()
    assert len(seen) == 1


def test_backward_hooks_replace_gradients_like_torch() -> None:
    torch = pytest.importorskip("torch")
    results = []
    for library, tensor in ((tetragrad, Tensor), (torch, torch.tensor)):
        first, second = library.nn.Linear(2, 3), library.nn.Linear(3, 1)
        model = library.nn.Sequential(first, library.nn.Tanh(), second)
        for number, parameter in enumerate(model.parameters()):
            library.nn.init.constant_(parameter, 0.1 + number / 7)
        model[1].register_full_backward_pre_hook(
            lambda module, grad_output: (grad_output[0] * 3,)
        )
        model[1].register_full_backward_hook(
            lambda module, grad_input, grad_output: (grad_input[0] + grad_output[0],)
        )
        model(tensor([[0.3, -0.4]])).sum().backward()
        results.append([entry.grad.tolist() for entry in model.parameters()])
    ours, theirs = results
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-6)


def test_backward_hooks_without_gradients_of_inputs() -> None:
    seen: list[Any] = []
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(
        lambda module, grad_input, grad_output: seen.append((grad_input, grad_output))
    )
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    ((grad_input, (grad_output,)),) = seen
    assert grad_input == (None,)
    assert grad_output.tolist() == [[1.0]]
    assert layer.weight.grad is not None


def test_a_backward_hook_with_the_wrong_number_of_gradients() -> None:
    module = TwoToTwo()
    module.register_full_backward_hook(lambda *given: (given[1][0],))
    with pytest.raises(GradientError, match="returned 1 gradients; it was given 2"):
        module(*_inputs())[0].sum().backward()


def test_always_called_hooks_see_failures() -> None:
    seen: list[Any] = []
    layer = nn.Linear(2, 1)
    layer.register_forward_hook(lambda *given: seen.append("plain"))
    layer.register_forward_hook(lambda *given: seen.append(given[2]), always_call=True)
    with pytest.raises(tetragrad.ShapeError):
        layer(Tensor([[1.0]]))
    assert seen == [None]


def test_hooks_on_states() -> None:
    layer = nn.Linear(1, 1)
    layer.register_state_dict_pre_hook(lambda module, prefix, keep: module.eval())
    layer.register_state_dict_post_hook(
        lambda module, state, prefix, metadata: state.update({prefix + "note": 1})
    )
    state = nn.Sequential(layer).state_dict()
    assert list(state) == ["0.weight", "0.bias", "0.note"]
    assert not layer.training


def test_a_hook_renames_what_is_loaded() -> None:
    layer = nn.Linear(1, 1)

    def rename(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state[prefix + "weight"] = state.pop(prefix + "kernel")

    layer.register_load_state_dict_pre_hook(rename)
    state = {"kernel": np.full((1, 1), 3.0), "bias": np.zeros(1)}
    layer.load_state_dict(state)
    assert layer.weight.item() == 3.0
    assert "kernel" in state, "the caller's dictionary stays as it is"


def test_a_hook_forgives_a_missing_name() -> None:
    layer = nn.Linear(1, 1)
    state = {"weight": np.full((1, 1), 3.0)}
    handle = layer.register_load_state_dict_post_hook(
        lambda module, keys: keys.missing_keys.clear()
    )
    layer.load_state_dict(state)
    assert layer.weight.item() == 3.0
    handle.remove()
    with pytest.raises(nn.StateDictError, match='Missing key\\(s\\): "bias"'):
        layer.load_state_dict(state)


class Counting(nn.Module):
    """A module with state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def get_extra_state(self) -> Any:
        return {"calls": self.calls}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


def test_extra_state() -> None:
    source, target = nn.Sequential(Counting()), nn.Sequential(Counting())
    source[0].calls = 4
    state = source.state_dict()
    assert state == {"0._extra_state": {"calls": 4}}
    target.load_state_dict(state)
    assert target[0].calls == 4
    with pytest.raises(nn.StateDictError, match="_extra_state"):
        target.load_state_dict({})
    with pytest.raises(UnsupportedError, match="Linear has no extra state"):
        nn.Linear(1, 1).get_extra_state()


def test_states_with_gradients_and_destinations() -> None:
    layer = nn.Linear(1, 1)
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    shared: dict[str, Any] = {}
    layer.state_dict(destination=shared, prefix="a.")
    layer.state_dict(destination=shared, prefix="b.")
    assert list(shared) == ["a.weight", "a.bias", "b.weight", "b.bias"]


def test_conversions_of_everything() -> None:
    norm = nn.BatchNorm1d(2)
    assert norm.type(tetragrad.float64).num_batches_tracked.dtype is tetragrad.float64
    assert nn.Linear(2, 2).to("complex64").weight.dtype is tetragrad.complex64
    layer = nn.Linear(2, 2).to_empty(device="cpu")
    assert layer.weight.tolist() == [[0, 0], [0, 0]]
    assert layer.weight.requires_grad
    assert layer.to("cpu", tetragrad.float64, non_blocking=True).bias.dtype.bits == 64


def test_hooked_modules_are_copied_and_old_pickles_read() -> None:
    layer = nn.Linear(1, 1)
    layer.register_forward_hook(print)
    assert copy.deepcopy(layer)._forward_hooks.entries
    del layer._forward_hooks, layer._backward_hooks
    assert pickle.loads(pickle.dumps(layer))(Tensor([[1.0]])).shape == (1, 1)


def test_submodules_are_replaced_by_name() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    model.set_submodule("0.0", nn.ReLU())
    assert isinstance(model[0][0], nn.ReLU)
    with pytest.raises(AttributeError, match="no submodule '1'"):
        model.set_submodule("0.1", nn.ReLU(), strict=True)
