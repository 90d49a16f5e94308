"""Damaged and hostile files give a clear error, in bounded time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import helper

from tests.onnx.models import FLOAT, make_model, small_network
from tetragrad.core.errors import (
    DataError,
    FileFormatError,
    TetragradError,
    UnsupportedError,
)
from tetragrad.onnx import load

GOOD = small_network().SerializeToString()


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no ONNX file"):
        load(tmp_path / "missing.onnx")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"PK\x03\x04 a zip file", GOOD[:99]]
)
def test_no_model(data: bytes) -> None:
    with pytest.raises(FileFormatError, match="is no ONNX model"):
        load(data)


def test_a_cycle() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
    ]
    with pytest.raises(FileFormatError, match="a cycle"):
        load(make_model(nodes, [("x", FLOAT, [1])], ["b"]))


def test_nodes_in_another_order_are_sorted() -> None:
    nodes = [
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Abs", ["x"], ["a"]),
    ]
    model = load(make_model(nodes, [("x", FLOAT, [1])], ["b"]))
    assert model(np.array([-2.0], np.float32)).tolist() == [-2.0]


def test_a_missing_input() -> None:
    nodes = [helper.make_node("Neg", ["nowhere"], ["y"])]
    with pytest.raises(FileFormatError, match="reads 'nowhere', which nothing"):
        load(make_model(nodes, [("x", FLOAT, [1])], ["y"]))


def test_a_missing_output() -> None:
    with pytest.raises(FileFormatError, match="output 'y' that no node"):
        load(make_model([], [("x", FLOAT, [1])], ["y"]))


def test_two_nodes_with_one_output() -> None:
    nodes = [helper.make_node(name, ["x"], ["y"]) for name in ("Neg", "Abs")]
    with pytest.raises(FileFormatError, match="two nodes compute 'y'"):
        load(make_model(nodes, [("x", FLOAT, [1])], ["y"]))


def test_a_function_that_uses_itself() -> None:
    node = helper.make_node("Again", ["a"], ["b"], domain="own")
    opsets = [helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Again", ["a"], ["b"], [node], opsets)
    proto = make_model([node], [("a", FLOAT, [1])], ["b"], functions=[function])
    with pytest.raises(FileFormatError, match="uses itself"):
        load(proto)


def test_unknown_operators_are_all_listed() -> None:
    nodes = [
        helper.make_node("Fancy", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"], colour=3),
        helper.make_node("Fancier", ["b"], ["y"], domain="elsewhere"),
    ]
    with pytest.raises(UnsupportedError) as caught:
        load(make_model(nodes, [("x", FLOAT, [1])], ["y"]))
    for part in ("Fancy of operator set 21", "'colour'", "elsewhere.Fancier"):
        assert part in str(caught.value)


def _with_weight(**fields: object) -> onnx.ModelProto:
    proto = small_network()
    weight = proto.graph.initializer[0]
    for name, value in fields.items():
        if name == "dims":
            del weight.dims[:]
            weight.dims.extend(value)  # type: ignore[call-overload]
        else:
            setattr(weight, name, value)
    return proto


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dims": [2**40, 2**20]}, "needs .* bytes of data and has 48"),
        ({"dims": [-3, -4]}, "negative size"),
        ({"raw_data": b"123"}, "needs 48 bytes of data and has 3"),
        ({"data_type": 99}, "no ONNX element type number 99"),
        ({"data_type": 11}, "needs 96 bytes of data and has 48"),
    ],
)
def test_a_damaged_constant(fields: dict[str, object], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load(_with_weight(**fields))


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "", "folder/../../secret", "link"]
)
def test_data_outside_of_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    proto = _with_weight(data_location=1)
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FileFormatError, match="outside of the model's folder"):
        load(folder / "model.onnx")


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-1"), ("length", "1" * 30), ("offset", "45")]
)
def test_data_that_ends_before(tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "weights").write_bytes(bytes(48))
    proto = _with_weight(data_location=1)
    proto.graph.initializer[0].ClearField("raw_data")
    for entry in (("location", "weights"), (key, value)):
        proto.graph.initializer[0].external_data.add(key=entry[0], value=entry[1])
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FileFormatError):
        load(tmp_path / "model.onnx")


def test_a_result_of_impossible_size() -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["big"]),
        helper.make_node("Add", ["big", "x"], ["y"]),
    ]
    constants = {"sizes": np.asarray([2**30, 2**20], np.int64)}
    model = load(make_model(nodes, [("x", FLOAT, [1])], ["y"], constants))
    with pytest.raises(TetragradError):
        model(np.ones(1, np.float32)).realize()


def _mutated(generator: random.Random) -> bytes:
    """The good file with some bytes changed, left out, added or cut off."""
    data = bytearray(GOOD)
    for _ in range(generator.choice((1, 1, 2, 8))):
        place = generator.randrange(len(data))
        match generator.randrange(4):
            case 0:
                data[place] = generator.randrange(256)
            case 1:
                del data[place : place + generator.randrange(1, 30)]
            case 2:
                data[place:place] = generator.randbytes(generator.randrange(1, 9))
            case _:
                del data[max(place, 1) :]
        data = data or bytearray(1)
    return bytes(data)


def test_mutated_bytes_give_our_errors_only() -> None:
    generator = random.Random(7)
    for _ in range(1500):
        try:
            load(_mutated(generator))
        except TetragradError:
            continue
