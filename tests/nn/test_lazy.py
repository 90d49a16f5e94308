"""Lazy layers beside PyTorch's: sizes, values, states, optimisers, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import ShapeError

torch = pytest.importorskip("torch")

CASES: dict[str, tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = {
    "LazyLinear": ((4,), {}, (2, 3)),
    "LazyConv1d": ((4, 3), {"stride": 2}, (2, 3, 8)),
    "LazyConv2d": ((4, 3), {"groups": 2, "bias": False}, (2, 6, 5, 5)),
    "LazyConv3d": ((2, 2), {"padding": 1}, (1, 2, 3, 3, 3)),
    "LazyConvTranspose1d": ((2, 3), {"stride": 2}, (1, 4, 5)),
    "LazyConvTranspose2d": ((4, 3), {"groups": 2}, (1, 4, 5, 5)),
    "LazyConvTranspose3d": ((2, 2), {"output_padding": 0}, (1, 3, 2, 2, 2)),
    "LazyBatchNorm1d": ((), {"momentum": None}, (4, 3)),
    "LazyBatchNorm2d": ((), {"affine": False}, (4, 3, 2, 2)),
    "LazyBatchNorm3d": ((), {"track_running_stats": False}, (2, 3, 2, 2, 2)),
    "LazyInstanceNorm1d": ((), {"affine": True}, (2, 3, 5)),
    "LazyInstanceNorm2d": ((), {"track_running_stats": True}, (2, 3, 4, 4)),
    "LazyInstanceNorm3d": ((), {}, (2, 3, 2, 2, 2)),
}


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name: str) -> None:
    args, kwargs, shape = CASES[name]
    inputs = np.random.default_rng(0).standard_normal(shape, np.float32)
    wanted = getattr(torch.nn, name)(*args, **kwargs)
    layer = getattr(nn, name)(*args, **kwargs)
    assert layer.has_uninitialized_params() == wanted.has_uninitialized_params()
    expected = wanted(torch.tensor(inputs))
    fresh = copy.deepcopy(layer)
    fresh(Tensor(inputs))
    state = {key: value.numpy() for key, value in wanted.state_dict().items()}
    layer.load_state_dict(state)
    if "num_batches_tracked" in state:
        layer.reset_running_stats()
    found = layer(Tensor(inputs))
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    assert type(layer) is type(fresh) is getattr(nn, name.removeprefix("Lazy"))
    assert list(fresh.state_dict()) == list(wanted.state_dict())
    shapes = [tuple(value.shape) for value in wanted.state_dict().values()]
    assert [value.shape for value in fresh.state_dict().values()] == shapes
    assert repr(fresh) == repr(layer)


@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d", "GroupNorm"])
def test_a_norm_without_bias(name: str) -> None:
    sizes = (1, 2) if name == "GroupNorm" else (2,)
    layer = getattr(nn, name)(*sizes, affine=True, bias=False)
    wanted = getattr(torch.nn, name)(*sizes, affine=True, bias=False)
    assert list(layer.state_dict()) == list(wanted.state_dict())
    inputs = np.random.default_rng(0).standard_normal((4, 2, 3), np.float32)
    np.testing.assert_allclose(
        layer(Tensor(inputs)).detach().numpy(),
        wanted(torch.tensor(inputs)).detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_optimiser_may_be_made_before_the_first_input() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyLinear(1))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    inputs = Tensor([[1.0, 2.0], [3.0, 5.0]])
    loss = model(inputs).square().sum()
    before = model[0].weight.detach().numpy()
    loss.backward()
    optimizer.step()
    assert isinstance(model[0].weight, nn.Parameter)
    assert not np.array_equal(model[0].weight.detach().numpy(), before)


def test_converted_copied_and_saved_before_the_first_input() -> None:
    layer = nn.LazyLinear(3, dtype="float32").to("float64")
    for waiting in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert isinstance(waiting.weight, nn.UninitializedParameter)
        waiting.load_state_dict(layer.state_dict())
        assert waiting.has_uninitialized_params()
        assert waiting(Tensor.zeros(1, 2, dtype="float64")).dtype.name == "float64"
    assert repr(layer.weight) == "<UninitializedParameter>"
    layer.reset_parameters()
    assert layer.has_uninitialized_params()


def test_a_loaded_layer_keeps_its_values_at_the_first_call() -> None:
    layer = nn.LazyLinear(1, bias=False)
    layer.load_state_dict({"weight": np.array([[2.0, 3.0]], np.float32)})
    assert layer(Tensor([1.0, 1.0])).tolist() == [5.0]
    assert layer.in_features == 2


def test_one_sample_of_an_instance_norm_has_its_channels_first() -> None:
    layer = nn.LazyInstanceNorm1d()
    assert layer(Tensor.ones(3, 5)).shape == (3, 5)
    assert layer.weight.shape == (3,)


def test_errors() -> None:
    layer = nn.LazyLinear(3)
    with pytest.raises(ShapeError, match="not known yet"):
        layer.weight.shape  # noqa: B018
    with pytest.raises(ShapeError, match="not known yet"):
        layer.weight.numel()
    with pytest.raises(ShapeError, match="LazyConv2d takes 4-d input"):
        nn.LazyConv2d(3, 3)(Tensor.zeros(3, 3))
    with pytest.raises(ShapeError, match="cannot be split into 2 groups"):
        nn.LazyConv2d(4, 1, groups=2)(Tensor.zeros(3, 3, 3))
    with pytest.raises(ShapeError, match="takes 4-d input"):
        nn.LazyBatchNorm2d()(Tensor.zeros(3, 3))
