"""Kernels that differ in their sizes only become one launch, which changes no bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, optim
from tetragrad.core.settings import settings
from tetragrad.engine import joining
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device
from tetragrad.kernel.lowering import Lowered

#: Less than a piece, whole pieces, and some more.
SIZES = ((3,), (16384,), (2, 3, 5), (16385,), (2, 16384), (123, 101), (40000,))

OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    "sgd": lambda tensors: optim.SGD(tensors, lr=0.1, momentum=0.9),
    "adamw": lambda tensors: optim.AdamW(tensors, lr=0.01),
    "adagrad": lambda tensors: optim.Adagrad(tensors, lr=0.01),
}


def arrays(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape, dtype=np.float32) for shape in SIZES]


def launches_of(tensors: Sequence[Tensor]) -> list[Lowered | joining.Joined]:
    """What the CPU would launch for these tensors."""
    cpu = device("cpu")
    nodes = [tensor.node for tensor in tensors]
    groups, kernels = kernels_of(nodes, cpu.target, settings())
    return joining.join(groups, kernels, cpu, settings())[1]


def stepped(name: str, choose: Callable[[int], Sequence[int]]) -> list[np.ndarray]:
    """Parameters after three steps; ``choose`` says which are stepped together."""
    parameters = [Tensor(array, requires_grad=True) for array in arrays(0)]
    for part in choose(len(parameters)):
        chosen = parameters if part < 0 else [parameters[part]]
        optimizer = OPTIMIZERS[name](chosen)
        gradients = arrays(1) if part < 0 else [arrays(1)[part]]
        for _ in range(3):
            for parameter, gradient in zip(chosen, gradients, strict=True):
                parameter.grad = Tensor(gradient)
            optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_over_all_parameters_is_one_over_each(name: str) -> None:
    together = stepped(name, lambda count: [-1])
    alone = stepped(name, range)
    for mine, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_equal_work_on_all_sizes_is_one_launch() -> None:
    rate = Tensor(0.5)
    results = [
        Tensor(x) * rate + Tensor(y) for x, y in zip(arrays(0), arrays(1), strict=True)
    ]
    (launch,) = launches_of(results)
    assert isinstance(launch, joining.Joined)
    assert sorted(launch.counts) == sorted(int(np.prod(shape)) for shape in SIZES)
    for result, x, y in zip(results, arrays(0), arrays(1), strict=True):
        np.testing.assert_array_equal(result.numpy(), x * np.float32(0.5) + y)


def test_constants_stay_with_their_kernel() -> None:
    """A number that is given at launch is another one for each member."""
    results = [Tensor(x) * (0.25 + number) for number, x in enumerate(arrays(0))]
    assert len(launches_of(results)) == 1
    for number, (result, x) in enumerate(zip(results, arrays(0), strict=True)):
        np.testing.assert_array_equal(result.numpy(), x * np.float32(0.25 + number))


def test_what_needs_an_earlier_one_comes_after_it() -> None:
    first = Tensor(arrays(0)[5])
    double = first * 2.5
    chain = [double, double.sum(1) * 2.5, double.sum() * 2.5]
    found = [tensor.numpy() for tensor in chain]
    wanted = arrays(0)[5] * np.float32(2.5)
    np.testing.assert_array_equal(found[0], wanted)
    np.testing.assert_allclose(found[1], wanted.sum(1) * 2.5, rtol=2e-4, atol=1e-3)
    np.testing.assert_allclose(found[2], wanted.sum() * 2.5, rtol=2e-4, atol=1e-3)


def test_other_addresses_are_not_pieces() -> None:
    x, y = Tensor(arrays(0)[5]), Tensor(arrays(0)[6].reshape(200, 200))
    mixed = [
        [x.flip(0) * 1.5, y.flip(0) * 1.5],
        [x[:, :1] + x, y[:, :1] + y],
        [x.t().contiguous(), y.t().contiguous()],
        [x.sum(1), y.sum(1)],
    ]
    for results in mixed:
        launches = launches_of(results)
        assert all(isinstance(launch, Lowered) for launch in launches)


def test_replays_use_the_buffers_of_the_day() -> None:
    @tetragrad.jit
    def step(*tensors: Tensor) -> list[Tensor]:
        return [tensor * 1.5 + 1 for tensor in tensors]

    for seed in range(4):
        inputs = arrays(seed)
        results = step(*(Tensor(array).realize() for array in inputs))
        for found, array in zip(results, inputs, strict=True):
            np.testing.assert_array_equal(found.numpy(), array * np.float32(1.5) + 1)
