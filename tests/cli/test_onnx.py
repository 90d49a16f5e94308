"""``tetragrad onnx``: what is in a file, whether it runs, and how fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper

from tests.onnx.models import FLOAT, INT64, make_model, small_network
from tetragrad.cli import onnx as command
from tetragrad.cli.main import main


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "small.onnx"
    path.write_bytes(small_network().SerializeToString())
    return str(path)


def test_a_file_is_described(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onnx", model]) == 0
    shown = capsys.readouterr().out
    for line in (
        "operator sets: ai.onnx 21",
        "nodes: 8",
        "constants: 20 elements, 96 bytes",
        "input x: float32[batch, 3]",
        "everything in it is supported",
    ):
        assert line in shown


def test_what_is_not_supported_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Fancy", ["x"], ["y"])]
    path = tmp_path / "fancy.onnx"
    proto = make_model(nodes, [("x", FLOAT, [1])], ["y"])
    path.write_bytes(proto.SerializeToString())
    assert main(["onnx", str(path)]) == 0
    assert "not supported: Fancy of operator set 21" in capsys.readouterr().out
    assert main(["onnx", str(path), "--check"]) == 1
    assert "Fancy of operator set 21" in capsys.readouterr().err


def test_it_is_run_and_compared(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["onnx", model, "--check", "--size", "batch=4"]) == 0
    shown = capsys.readouterr().out
    assert "output y: float32[4, 2, 2] from" in shown
    assert "equals onnxruntime" in shown


def test_both_are_timed(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SECONDS", 0.01)
    assert main(["onnx", model, "--bench"]) == 0
    assert "ms a call, captured" in capsys.readouterr().out


def test_numbers_may_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Add", ["n", "one"], ["y"])]
    constants = {"one": np.asarray(1, np.int64)}
    proto = make_model(nodes, [("n", INT64, [])], ["y"], constants)
    path = tmp_path / "count.onnx"
    path.write_bytes(proto.SerializeToString())
    assert main(["onnx", str(path), "--check", "--value", "n=41"]) == 0
    assert "output y: int64[] from 42 to 42" in capsys.readouterr().out


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onnx", "nowhere.onnx"]) == 1
    assert "there is no ONNX file 'nowhere.onnx'" in capsys.readouterr().err
