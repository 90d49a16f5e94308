"""What modules promise, without PyTorch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn, no_grad
from tetragrad.core.errors import DTypeError, ShapeError, UnsupportedError


class Block(nn.Module):
    """A module with one of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)])
        self.scale = nn.Parameter(Tensor([2.0]))
        self.register_buffer("shift", Tensor([1.0]))
        self.register_buffer("scratch", Tensor([0.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, *self.layers):
            x = layer(x)
        return x * self.scale + self.shift


NAMES = [
    "scale", "shift", "first.weight", "first.bias", "layers.0.weight",
    "layers.1.weight", "layers.1.bias", "layers.1.running_mean",
    "layers.1.running_var", "layers.1.num_batches_tracked",
]  # fmt: skip


def test_names_are_dotted_paths() -> None:
    block = Block()
    assert list(block.state_dict()) == NAMES
    assert {name for name, _ in block.named_modules()} == {
        "", "first", "layers", "layers.0", "layers.1",
    }  # fmt: skip
    assert [name for name, _ in block.named_children()] == ["first", "layers"]
    assert [name for name, _ in block.named_buffers(recurse=False)] == [
        "shift",
        "scratch",
    ]
    assert block.get_parameter("layers.1.weight") is block.layers[1].weight
    assert block.get_submodule("layers.0") is block.layers[0]


def test_state_loads_from_arrays_and_tensors() -> None:
    source, target = Block(), Block()
    state: dict[str, Any] = dict(source.state_dict())
    state["first.weight"] = state["first.weight"].numpy()
    result = target.load_state_dict(state)
    assert result.missing_keys == result.unexpected_keys == []
    x = Tensor([[1.0, 2.0], [3.0, -1.0]])
    assert target.eval()(x).tolist() == source.eval()(x).tolist()


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    block = nn.Linear(2, 3)
    before = block.weight.tolist()
    state = {"weight": np.zeros((3, 2)), "bias": np.zeros(4), "extra": np.zeros(1)}
    with pytest.raises(nn.StateDictError) as caught:
        block.load_state_dict(state)
    message = str(caught.value)
    assert 'Unexpected key(s): "extra"' in message
    assert "size mismatch for bias: the state dict has shape (4,)" in message
    assert block.weight.tolist() == before
    with pytest.raises(RuntimeError, match=r'Missing key\(s\): "weight", "bias"'):
        block.load_state_dict({})


def test_lenient_loading_reports_names() -> None:
    block = nn.Linear(2, 3)
    result = block.load_state_dict({"bias": np.ones(3), "other": 1}, strict=False)
    assert result == (["weight"], ["other"])
    assert block.bias.tolist() == [1.0, 1.0, 1.0]


def test_old_checkpoints_lack_the_batch_counter() -> None:
    state = dict(nn.BatchNorm1d(2).state_dict())
    del state["num_batches_tracked"]
    nn.BatchNorm1d(2).load_state_dict(state)


def test_loading_with_assign_takes_the_dtype_over() -> None:
    block = nn.Linear(2, 1)
    weight = block.weight
    state = {"weight": np.ones((1, 2)), "bias": np.ones(1)}
    block.load_state_dict(state, assign=True)
    assert block.weight is weight
    assert weight.dtype.name == "float64"
    block(Tensor([[1.0, 2.0]], dtype="float64")).sum().backward()
    assert weight.grad.tolist() == [[1.0, 2.0]]


def test_conversions_keep_the_parameter_objects() -> None:
    block = Block()
    parameters = list(block.parameters())
    block.double().to("float64")
    assert all(a is b for a, b in zip(block.parameters(), parameters, strict=True))
    assert block.layers[1].num_batches_tracked.dtype.name == "int64"
    assert block.layers[1].running_mean.dtype.name == "float64"
    block(Tensor([[1.0, 2.0], [0.5, 0.0]], dtype="float64")).sum().backward()
    # The sum of a normalised batch times 2: two samples of three features at 0.
    assert block.layers[1].bias.grad.tolist() == [4.0, 4.0, 4.0]
    with pytest.raises(DTypeError, match="int64 cannot be trained"):
        block.to("int64")


def test_training_mode_reaches_all_modules() -> None:
    block = Block().eval()
    assert not any(module.training for module in block.modules())
    assert all(module.training for module in block.train().modules())


def test_frozen_parameters_get_no_gradient() -> None:
    block = Block().requires_grad_(False)
    block.scale.requires_grad_()
    block(Tensor([[1.0, 2.0], [0.5, 0.0]])).sum().backward()
    assert block.scale.grad is not None
    assert block.first.weight.grad is None


def test_zero_grad_forgets_or_fills() -> None:
    layer = nn.Linear(2, 1)
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
    ids=["deepcopy", "pickle"],
)
def test_copies_are_equal_and_independent(duplicate: Any) -> None:
    block = Block().eval()
    copied = duplicate(block)
    x = Tensor([[1.0, 2.0]])
    assert copied(x).tolist() == block(x).tolist()
    assert isinstance(copied.scale, nn.Parameter)
    assert copied.scale.requires_grad
    with no_grad():
        copied.scale.fill_(0)
    assert block.scale.tolist() == [2.0]


def test_a_shared_parameter_is_named_twice_and_trained_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 2)
            self.head = nn.Linear(2, 5, bias=False)
            self.head.weight = self.embedding.weight

    tied = Tied()
    assert len(list(tied.parameters())) == 1
    assert list(tied.state_dict()) == ["embedding.weight", "head.weight"]


def test_hooks_see_and_replace() -> None:
    layer = nn.Identity()
    seen = []
    before = layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    layer.register_forward_hook(lambda module, args, output: seen.append(output))
    with layer.register_forward_hook(lambda module, args, output: output * 10):
        assert layer(Tensor([1.0])).tolist() == [20.0]
    before.remove()
    assert layer(Tensor([1.0])).tolist() == [1.0]
    assert [entry.tolist() for entry in seen] == [[2.0], [1.0]]


def test_a_parameter_starts_as_the_tensor_it_is_given() -> None:
    plain = Tensor([1.0, 2.0])
    parameter = nn.Parameter(plain)
    plain.add_(1)
    assert parameter.tolist() == [2.0, 3.0]
    assert type(parameter * 2) is Tensor
    assert repr(parameter).startswith("Parameter containing:\ntensor(")


def test_the_picture_of_a_module() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Dropout(0.1)))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Dropout(p=0.1, inplace=False)\n"
        "  )\n"
        ")"
    )


def test_sequences_of_modules_behave_like_lists() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model.append(nn.Linear(3, 4)).insert(1, nn.Tanh())
    assert [type(layer).__name__ for layer in model] == [
        "Linear", "Tanh", "ReLU", "Linear",
    ]  # fmt: skip
    assert len(model[1:3]) == 2
    assert isinstance(model.pop(), nn.Linear)
    del model[0]
    assert list(model._modules) == ["0", "1"]
    with pytest.raises(IndexError, match="index 5 is out of range: Sequential has 2"):
        model[5]


def test_dictionaries_hold_modules_and_parameters() -> None:
    modules = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False)})
    modules["b"] = nn.Identity()
    assert list(modules.state_dict()) == ["a.weight"]
    with pytest.raises(KeyError, match="ModuleDict has no 'c'; it has a, b"):
        modules["c"]
    parameters = nn.ParameterDict({"w": Tensor([1.0])})
    assert isinstance(parameters["w"], nn.Parameter)
    assert list(nn.ParameterList([Tensor([1.0])]).state_dict()) == ["0"]


def test_forgetting_to_call_init_is_named() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) its first line"):
        Forgetful()


def test_mistakes_with_attributes_are_named() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(AttributeError, match="Did you mean 'weight'"):
        _ = layer.weigth
    with pytest.raises(TypeError, match="wrap it, nn"):
        layer.weight = Tensor([1.0])
    with pytest.raises(KeyError, match="nor contain a dot"):
        layer.register_buffer("a.b", Tensor([1.0]))
    with pytest.raises(AttributeError, match="did you mean 'Conv2d'"):
        _ = nn.Conv2D
    with pytest.raises(AttributeError, match="did you mean 'relu'"):
        _ = nn.functional.rellu
    with pytest.raises(NotImplementedError, match="define one"):
        nn.Module()(1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "cannot be split into 2 groups"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size needs 1 or 2 numbers"),
        (lambda: nn.GroupNorm(2, 3), "3 channels cannot be split into 2 groups"),
        (lambda: nn.MultiheadAttention(5, 2), "cannot be split into 2 heads"),
        (lambda: nn.ZeroPad2d((1, 2)), "needs 1 or 4 numbers"),
        (lambda: nn.BatchNorm2d(3)(Tensor.ones(2, 3)), "takes 4-d input"),
        (lambda: nn.BatchNorm1d(3)(Tensor.ones(1, 3)), "one value a channel"),
        (lambda: nn.LSTM(3, 4)(Tensor.ones(2, 1, 5)), "with 3 features, got"),
        (lambda: nn.init.eye_(Tensor.ones(2)), "fills a matrix"),
        (lambda: nn.init.xavier_uniform_(Tensor.ones(2)), "fan in and fan out need"),
    ],
)
def test_shapes_that_do_not_fit_are_named(make: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()


def test_sparse_gradients_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="leave sparse=True out"):
        nn.Embedding(3, 2, sparse=True)


def test_inplace_activations_write_over_their_input() -> None:
    x = Tensor([-1.0, 2.0], requires_grad=True)
    hidden = x * 3
    output = nn.ReLU(inplace=True)(hidden)
    assert output is hidden
    output.sum().backward()
    assert hidden.tolist() == [0.0, 6.0]
    assert x.grad.tolist() == [0.0, 3.0]


def test_dropout_drops_elements_or_channels() -> None:
    ones = Tensor.ones(40, 50)
    dropped = nn.Dropout(0.25)(ones).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3], rtol=1e-6)
    assert 0.7 < (dropped > 0).mean() < 0.8
    channels = nn.Dropout2d(0.5)(Tensor.ones(8, 16, 2, 2)).numpy()
    assert (channels.min(axis=(2, 3)) == channels.max(axis=(2, 3))).all()
    assert not nn.Dropout(1.0)(ones).numpy().any()
    assert nn.Dropout(0.5).eval()(ones) is ones


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    kept = nn.AlphaDropout(0.3)(Tensor.randn(100, 100)).numpy()
    assert abs(kept.mean()) < 0.1
    assert abs(kept.std() - 1) < 0.1


def test_running_statistics_do_not_pile_up() -> None:
    norm = nn.BatchNorm1d(2, momentum=None)
    for value in (1.0, 3.0):
        norm(Tensor([[value, 0.0], [value, 4.0]])).realize()
    assert norm.running_mean.tolist() == [2.0, 2.0]
    assert norm.running_var.tolist() == [0.0, 8.0]
    assert norm.num_batches_tracked.item() == 2


INITIALISERS: list[tuple[str, dict[str, Any], float, float]] = [
    ("uniform_", {"a": -1.0, "b": 3.0}, 1.0, 4 / np.sqrt(12)),
    ("normal_", {"mean": 1.0, "std": 2.0}, 1.0, 2.0),
    ("xavier_uniform_", {}, 0.0, np.sqrt(2 / 130)),
    ("xavier_normal_", {"gain": 2.0}, 0.0, 2 * np.sqrt(2 / 130)),
    ("kaiming_uniform_", {"nonlinearity": "relu"}, 0.0, np.sqrt(2 / 80)),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "linear"}, 0.0, 50**-0.5),
    ("trunc_normal_", {"std": 1.0}, 0.0, 0.88),
    ("orthogonal_", {}, 0.0, 80**-0.5),
]


@pytest.mark.parametrize(
    "name, options, mean, deviation",
    INITIALISERS,
    ids=[case[0] for case in INITIALISERS],
)
def test_initial_distributions(
    name: str, options: dict[str, Any], mean: float, deviation: float
) -> None:
    weight = Tensor.zeros(50, 80)
    assert getattr(nn.init, name)(weight, **options) is weight
    values = weight.numpy()
    assert values.mean() == pytest.approx(mean, abs=0.05 * deviation + 0.02)
    assert values.std() == pytest.approx(deviation, rel=0.05)
    if name == "orthogonal_":
        np.testing.assert_allclose(values @ values.T, np.eye(50), atol=1e-5)


def test_initial_patterns() -> None:
    assert nn.init.eye_(Tensor.zeros(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    image = Tensor.randn(1, 2, 4, 4)
    weight = nn.init.dirac_(Tensor.zeros(2, 2, 3, 3))
    passed = nn.functional.conv2d(image, weight, padding=1)
    assert passed.tolist() == image.tolist()
    sparse = nn.init.sparse_(Tensor.zeros(10, 4), sparsity=0.3).numpy()
    assert ((sparse == 0).sum(axis=0) == 3).all()
    assert nn.init.calculate_gain("leaky_relu", 0.0) == pytest.approx(np.sqrt(2))


def test_clipping_by_norm_and_by_value() -> None:
    tensors = [Tensor([3.0], requires_grad=True), Tensor([4.0], requires_grad=True)]
    sum((tensor * tensor).sum() / 2 for tensor in tensors).backward()
    assert nn.utils.clip_grad_norm_(tensors, 1.0).item() == pytest.approx(5.0)
    assert [t.grad.item() for t in tensors] == pytest.approx([0.6, 0.8])
    nn.utils.clip_grad_value_(tensors, 0.7)
    assert [t.grad.item() for t in tensors] == pytest.approx([0.6, 0.7])
    total = nn.utils.clip_grad_norm_(tensors, 1.0, norm_type=float("inf"))
    assert total.item() == pytest.approx(0.7)


def test_parameters_as_one_vector_and_back() -> None:
    layer = nn.Linear(2, 1)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(vector * 0 + 5, layer.parameters())
    assert layer.weight.tolist() == [[5.0, 5.0]]
    with pytest.raises(ShapeError, match="have 3 elements"):
        nn.utils.vector_to_parameters(Tensor([1.0]), layer.parameters())
