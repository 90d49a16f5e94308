"""Explanations of small programs, word for word, for a fixed target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tetragrad.backends.reference.device import ReferenceDevice
from tetragrad.cli.main import main
from tetragrad.core.errors import SettingError
from tetragrad.core.settings import override, settings
from tetragrad.core.target import Target
from tetragrad.engine.explain import explain, explain_on
from tetragrad.engine.realize import from_array, realize, without_markers
from tetragrad.graph import elementwise as ops
from tetragrad.graph.node import Node
from tetragrad.tensor import Tensor

GOLDEN = Path(__file__).parent / "golden"


def fixed_device() -> ReferenceDevice:
    """Fusion decides by these figures, whatever machine the test runs on."""
    device = ReferenceDevice("reference")
    device.target = Target("reference", "fixed", vector_bytes=32, cache_bytes=1 << 20)
    return device


def values(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape, np.float32), device="reference")


def softmax() -> Tensor:
    return values(64, 128).softmax(dim=-1)


def linear_gelu() -> Tensor:
    return (values(64, 32) @ values(32, 16) + values(16)).gelu()


def attention() -> Tensor:
    query, key, value = (values(2, 4, 32, 16) for _ in range(3))
    scores = (query @ key.transpose(-2, -1)) * 0.25
    return scores.softmax(dim=-1) @ value


def convolution() -> Tensor:
    return values(2, 3, 16, 16).conv2d(values(8, 3, 3, 3), padding=1).relu()


PROGRAMS = (softmax, linear_gelu, attention, convolution)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda entry: entry.__name__)
def test_explanation_word_for_word(
    program: object, request: pytest.FixtureRequest
) -> None:
    """To accept a change, delete the file in ``golden`` and run the test twice."""
    assert callable(program)
    with override(device="reference", verify=True):
        pending = without_markers([program().node])
        text = str(explain_on(pending, fixed_device(), settings())) + "\n"
    path = GOLDEN / f"{program.__name__}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written: look at it")
    assert text == path.read_text(encoding="utf-8")


def vector() -> Node:
    return from_array(np.ones(3, np.float32), "cpu")


def test_every_level_of_a_real_device() -> None:
    explanation = explain(ops.Exp(vector()))
    text = str(explanation)
    for word in ("graph", "kernel 1 of 1: exp_3", "plan", "tile", "text,", "launches"):
        assert word in text
    assert "result 0" in text and "memory: 12 bytes of results" in text
    assert repr(explanation) == text


def test_a_tensor_explains_itself() -> None:
    pending = Tensor([1.0, 2.0]).exp()
    assert str(pending.explain("launch")).startswith("launches\n  1. exp_2")
    assert pending.tolist() == pytest.approx([2.718282, 7.389056])
    assert str(pending.explain()).startswith("nothing to compute")


@pytest.mark.parametrize(
    ("level", "wanted", "absent"),
    [
        ("graph", "%1 = Exp float32[3] %0", "kernel 1"),
        ("kernel", "s1[a0] = exp(s0[a0])", "%1"),
        ("tile", "program map_3", "s1[a0]"),
        ("text", "define", "program map_3"),
        ("launch", "exp_3: b0 -> result 0", "kernel 1"),
    ],
)
def test_one_level(level: str, wanted: str, absent: str) -> None:
    text = str(explain(ops.Exp(vector()), level))
    assert wanted in text
    assert absent not in text


def test_target_text_is_shortened_unless_asked_for() -> None:
    node = ops.Exp(vector())
    assert "more lines" in str(explain(node))
    assert "more lines" not in str(explain(node, "all"))
    assert "more lines" not in str(explain(node, "text"))


def test_what_has_run_needs_no_explanation() -> None:
    node = ops.Exp(vector())
    realize([node])
    assert str(explain(node)) == "nothing to compute: every value is in memory"


def test_explaining_runs_nothing() -> None:
    node = ops.Exp(vector())
    explain(node)
    assert str(explain(node)).startswith("graph")


def test_equal_kernels_are_shown_once() -> None:
    first, second = (ops.Exp(vector()) for _ in range(2))
    assert "the same code as kernel 1" in str(explain([first, second]))


def test_an_unknown_level() -> None:
    with pytest.raises(SettingError, match="no level 'kernels'"):
        explain(vector(), "kernels")


def test_explain_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from tetragrad import Tensor\n"
        "x = Tensor([1.0, 2.0, 3.0, float(sys.argv[1])])\n"
        "print((x.exp() * 123.5).tolist())\n"
    )
    assert main(["explain", "--level", "kernel", str(script), "4"]) == 0
    printed = capsys.readouterr().out
    assert "=== schedule 1 ===" in printed
    assert "s1[a0] = (exp(s0[a0]) * c0)" in printed
    assert "[335.7" in printed


def test_a_script_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "missing.py"]) == 1
    assert "there is no script 'missing.py'" in capsys.readouterr().err


def test_a_script_that_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "idle.py"
    script.write_text("x = 1\n")
    assert main(["explain", str(script)]) == 0
    assert "the script computed nothing" in capsys.readouterr().out
