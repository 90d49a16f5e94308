"""A model can be looked at, called, captured, trained and saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper, numpy_helper

import tetragrad
from tests.onnx.models import (
    FLOAT,
    INT64,
    expected_of_small_network,
    make_model,
    small_network,
)
from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.onnx import load
from tetragrad.tensor import base

X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)


def test_a_model_says_what_is_in_it() -> None:
    model = load(small_network())
    assert isinstance(model, nn.Module)
    assert [str(entry) for entry in model.inputs] == ["x: float32[batch, 3]"]
    assert [entry.name for entry in model.outputs] == ["y"]
    assert model.opsets[""] == 21
    assert model.operators()["MatMul"] == 1
    names = [name for name, _ in model.named_parameters()]
    assert names == ["layer.weight", "layer.bias"]
    assert "8 nodes, 16 parameters" in repr(model)


def test_inputs_by_place_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small_network().SerializeToString())
    model = load(path)
    expected = expected_of_small_network(X)
    for result in (model(Tensor(X)), model(x=Tensor(X)), model(X)):
        np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)


def test_wrong_inputs_are_refused() -> None:
    model = load(small_network())
    with pytest.raises(TetragradError, match="'x' is missing"):
        model()
    with pytest.raises(TetragradError, match="an input 'z'"):
        model(z=Tensor(X))
    with pytest.raises(DTypeError, match=r"float64 where the model takes x: float32"):
        model(Tensor(X).double())
    with pytest.raises(ShapeError, match=r"\(5, 2\) for the model's x"):
        model(Tensor(X)[:, :2])


def test_captured_for_each_batch_size() -> None:
    model = load(small_network())
    step = tetragrad.jit(lambda x: model(x))
    for count in (5, 2, 5, 2):
        result = step(Tensor(X[:count])).detach()
        expected = expected_of_small_network(X[:count])
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)
    assert len(step.captures) == 2


def test_a_captured_model_sees_new_weights() -> None:
    model = load(small_network())
    step = tetragrad.jit(lambda x: model(x))
    before = step(Tensor(X)).detach().numpy()
    with tetragrad.no_grad():
        model.get_parameter("layer.weight").mul_(2)
    after = step(Tensor(X)).detach().numpy()
    assert not np.allclose(before, after)


def test_training_changes_the_constants_of_the_file() -> None:
    model = load(small_network())
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    x, target = Tensor(X), Tensor([0, 1, 0, 1, 1])

    def loss() -> Tensor:
        return model(x)[:, 0].log().nll_loss(target)

    first = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < first * 0.8


def test_weights_are_saved_and_loaded_by_name() -> None:
    model, other = load(small_network()), load(small_network())
    with tetragrad.no_grad():
        model.get_parameter("layer.bias").add_(1)
    other.load_state_dict(model.state_dict())
    expected = model(Tensor(X)).detach().numpy()
    np.testing.assert_array_equal(other(Tensor(X)).detach().numpy(), expected)


def test_shapes_never_touch_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape, Gather, Unsqueeze, Concat and Reshape run nothing and read nothing."""

    def refuse(_: object) -> None:
        raise AssertionError("something was computed on a device")

    model = load(small_network())
    monkeypatch.setattr(base, "realize_tensors", refuse)
    assert model(Tensor(X)).shape == (5, 2, 2)


def _doubling_function() -> object:
    node = helper.make_node("Mul", ["value", "value"], ["result"])
    opsets = [helper.make_opsetid("", 21)]
    return helper.make_function("own", "Square", ["value"], ["result"], [node], opsets)


def test_functions_of_the_file() -> None:
    nodes = [helper.make_node("Square", ["x"], ["y"], domain="own")]
    proto = make_model(
        nodes, [("x", FLOAT, [2])], ["y"], functions=[_doubling_function()]
    )
    assert load(proto)(Tensor([2.0, 3.0])).tolist() == [4.0, 9.0]


def _loop(body_condition: Callable[[], list[object]]) -> object:
    """A model that doubles its input, as often as the condition says."""
    nodes = [helper.make_node("Add", ["value", "value"], ["next"]), *body_condition()]
    body = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("step", INT64, []),
            helper.make_tensor_value_info("going", 9, []),
            helper.make_tensor_value_info("value", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", 9, []),
            helper.make_tensor_value_info("next", FLOAT, None),
            helper.make_tensor_value_info("next", FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["count", "", "x"], ["last", "all"], body=body)
    constants = {"limit": np.asarray(20, np.float32), "count": np.asarray(9, np.int64)}
    return make_model([loop], [("x", FLOAT, [])], ["last", "all"], constants)


def test_a_loop_with_a_known_count_is_unrolled_and_captured() -> None:
    def always() -> list[object]:
        return [helper.make_node("Identity", ["going"], ["again"])]

    model = load(_loop(always))
    step = tetragrad.jit(lambda x: model(x))
    for start in (1.0, 3.0):
        last, every = step(Tensor(start))
        assert last.item() == start * 2**9
        assert every.tolist() == [start * 2**n for n in range(1, 10)]


def test_a_loop_that_asks_its_values_runs_on_the_host() -> None:
    def until_limit() -> list[object]:
        return [helper.make_node("Less", ["next", "limit"], ["again"])]

    last, every = load(_loop(until_limit))(Tensor(3.0))
    assert last.item() == 24
    assert every.tolist() == [6, 12, 24]


def test_a_number_decides_a_branch_at_capture() -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(name_of, ["x"], [f"{name}_result"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_result", FLOAT, None)],
        )
        for name, name_of in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [helper.make_node("If", ["choice"], ["y"], **branches)]
    proto = make_model(nodes, [("x", FLOAT, [1]), ("choice", 9, [])], ["y"])
    model = load(proto)
    step = tetragrad.jit(lambda x, choice: model(x, choice))
    for _ in range(2):
        assert step(Tensor([-2.0]), True).tolist() == [2.0]
        assert step(Tensor([-2.0]), False).tolist() == [2.0]
        assert step(Tensor([3.0]), True).tolist() == [-3.0]


def test_strings_stay_on_the_host() -> None:
    nodes = [helper.make_node("StringConcat", ["a", "b"], ["y"])]
    proto = make_model(nodes, [("a", 8, [2]), ("b", 8, [1])], ["y"])
    result = load(proto)(np.array(["x", "y"], object), np.array(["!"], object))
    assert result.tolist() == ["x!", "y!"]


def test_four_bit_weights_are_unpacked() -> None:
    import ml_dtypes

    weights = np.asarray([-8, -1, 0, 7], ml_dtypes.int4)
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["wide"])]
    nodes.append(helper.make_node("Mul", ["x", "wide"], ["y"]))
    constants = {"w": weights, "scale": np.asarray(0.5, np.float32)}
    model = load(make_model(nodes, [("x", FLOAT, [4])], ["y"], constants))
    assert model(Tensor([1.0, 1, 1, 2])).tolist() == [-4, -0.5, 0, 7]


def test_data_beside_the_model(tmp_path: Path) -> None:
    proto = small_network()
    weight = proto.graph.initializer[0]
    data = numpy_helper.to_array(weight).tobytes()
    (tmp_path / "weights.bin").write_bytes(b"1234" + data)
    weight.ClearField("raw_data")
    weight.data_location = 1
    said = {"location": "weights.bin", "offset": "4", "length": str(len(data))}
    for key, value in said.items():
        weight.external_data.add(key=key, value=value)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    result = load(tmp_path / "model.onnx")(Tensor(X)).detach()
    np.testing.assert_allclose(result.numpy(), expected_of_small_network(X), rtol=1e-5)
