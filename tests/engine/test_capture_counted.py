"""What replays do not compare one by one, but count: no change of it goes unseen."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, no_grad, optim
from tetragrad.tensor.base import redirect


class Scaled(nn.Module):
    """A layer with a parameter, a buffer and a module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(Tensor([2.0]))
        self.register_buffer("shift", Tensor([1.0]))
        self.inner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x * self.scale + self.shift)
        return result


def _assign_parameter(layer: Scaled) -> None:
    layer.scale = nn.Parameter(Tensor([3.0]))


def _assign_past_the_module(layer: Scaled) -> None:
    layer._parameters["scale"] = nn.Parameter(Tensor([3.0]))


def _assign_buffer(layer: Scaled) -> None:
    layer.shift = Tensor([5.0])


def _assign_module(layer: Scaled) -> None:
    layer.inner = nn.ReLU()  # type: ignore[assignment]


def _assign_all_modules(layer: Scaled) -> None:
    layer._modules = {"inner": nn.ReLU()}


def _add_hook(layer: Scaled) -> None:
    layer.inner.register_forward_hook(lambda module, args, output: output * 10)


def _load(layer: Scaled) -> None:
    layer.load_state_dict({"scale": Tensor([-3.0]), "shift": Tensor([4.0])})


def _convert(layer: Scaled) -> None:
    layer.to(tetragrad.float64)


def _show_something_else(layer: Scaled) -> None:
    other = Tensor([7.0])
    redirect(layer.shift, other.storage, other.steps)


@pytest.mark.parametrize(
    "change",
    [
        _assign_parameter,
        _assign_past_the_module,
        _assign_buffer,
        _assign_module,
        _assign_all_modules,
        _add_hook,
        _load,
        _convert,
        _show_something_else,
    ],
)
def test_a_changed_module_is_seen(change: object) -> None:
    assert callable(change)
    layer = Scaled()
    captured = tetragrad.jit(layer)
    x = Tensor([-1.0])
    with no_grad():
        for _ in range(3):
            assert captured(x).tolist() == layer(x).tolist() == [-1.0]
        change(layer)
        for _ in range(3):
            assert captured(x).tolist() == layer(x).tolist()


def test_removed_hooks_are_seen() -> None:
    layer = Scaled()
    captured = tetragrad.jit(layer)
    x = Tensor([1.0])
    handle = layer.register_forward_hook(lambda module, args, output: output * 10)
    assert [captured(x).item() for _ in range(3)] == [30.0] * 3
    handle.remove()
    assert [captured(x).item() for _ in range(3)] == [3.0] * 3


def test_a_tensor_that_begins_to_collect_gradients_is_seen() -> None:
    weight = Tensor([2.0])

    @tetragrad.jit
    def loss(x: Tensor) -> Tensor:
        value = (x * weight).sum()
        if weight.requires_grad:
            value.backward()
        return value

    x = Tensor([3.0])
    assert [loss(x).item() for _ in range(3)] == [6.0] * 3
    weight.requires_grad_()
    assert [loss(x).item() for _ in range(3)] == [6.0] * 3
    assert weight.grad is not None
    assert weight.grad.tolist() == [9.0]
    weight.requires_grad_(False)
    loss(x)
    assert weight.grad.tolist() == [9.0]


def test_a_replaced_state_of_an_optimiser_is_seen() -> None:
    def trained(replay: bool) -> list[float]:
        parameter = nn.Parameter(Tensor([1.0, -2.0]))
        optimiser = optim.AdamW([parameter], lr=0.1)

        def step() -> None:
            loss = (parameter * parameter).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        run = tetragrad.jit(step) if replay else step
        for number in range(9):
            if number == 5:
                optimiser.state[parameter]["exp_avg"] = Tensor([0.5, 0.5])
            if number == 7:
                optimiser.load_state_dict(optimiser.state_dict())
            run()
        return parameter.tolist()

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-6)


def test_other_captures_of_one_shape_are_found_again() -> None:
    @tetragrad.jit
    def pair(x: Tensor, y: Tensor, *, offset: int) -> Tensor:
        return x * 2 + y + offset

    x, y = Tensor([1.0, 2.0]), Tensor([10.0, 20.0])
    for _ in range(3):
        assert pair(x, y, offset=1).tolist() == [13.0, 25.0]
        assert pair(x, x, offset=1).tolist() == [4.0, 7.0]
        assert pair(x[:1], y[:1], offset=1).tolist() == [13.0]
        assert pair(x, y=y, offset=1).tolist() == [13.0, 25.0]
        assert pair(x, y, offset=100).tolist() == [112.0, 124.0]
        assert pair(x, y.double(), offset=1).dtype is tetragrad.float64
