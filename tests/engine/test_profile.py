"""What DEBUG prints, the picture of GRAPH, and the line of progress."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.engine.random_graphs import GraphBuilder
from tetragrad import manual_seed
from tetragrad.core.settings import override
from tetragrad.core.target import Target
from tetragrad.engine import ceilings as ceilings_module
from tetragrad.engine import progress
from tetragrad.engine.ceilings import Ceilings, ceilings
from tetragrad.engine.picture import dot_text
from tetragrad.engine.profile import Sample, line, total
from tetragrad.engine.realize import device, from_array, realize
from tetragrad.graph import elementwise as ops
from tetragrad.graph.node import Node
from tetragrad.kernel.cost import Work
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import lower
from tetragrad.tensor import Tensor

FAST = Sample("exp_8", "float32 8", 0.001, Work(2_000_000, 1_000_000), 0.5)
SLOW = Sample("sum_8", "float32 1 over 8", 0.003, Work(0, 3_000_000), 0.1)


def test_one_line_in_columns() -> None:
    assert line(FAST, colour=False) == (
        "    1.000 ms      2.0 GFLOP/s     1.0 GB/s   50%  "
        "float32 8                    exp_8"
    )


def test_the_total_adds_up() -> None:
    assert line(total([FAST, SLOW]), colour=False) == (
        "    4.000 ms      0.5 GFLOP/s     1.0 GB/s   20%  total of 2 kernels"
    )


def test_without_a_ceiling_there_is_no_share() -> None:
    sample = Sample("x", "float32 8", 0.001, Work(0, 0), None)
    assert "GB/s     -  float32 8" in line(sample, colour=False)


def test_colours_say_how_good_a_share_is() -> None:
    assert "\033[33m  50%\033[0m" in line(FAST, colour=True)
    assert "\033[31m  10%\033[0m" in line(SLOW, colour=True)
    assert line(total([FAST]), colour=True).startswith("\033[1m")


def test_share_of_the_ceiling() -> None:
    limits = Ceilings(operations=1e9, nbytes=1e9)
    assert limits.share(Work(1000, 10), 2e-6) == pytest.approx(0.5)
    assert limits.share(Work(10, 1000), 2e-6) == pytest.approx(0.5)
    assert limits.share(Work(1000, 10), 4e-6, itemsize=8) == pytest.approx(0.5)


def vector() -> Node:
    return from_array(np.ones(5, np.float32), "cpu")


def test_debug_2_prints_each_kernel_and_a_total(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = vector()
    with override(debug=2, fuse=False):
        realize([ops.Exp(ops.Sin(first))])
    lines = capsys.readouterr().err.splitlines()
    assert [entry.split()[-1] for entry in lines] == ["sin_5", "exp_5", "kernels"]
    assert lines[-1].endswith("total of 2 kernels")
    assert len({re.search("GFLOP/s", entry).start() for entry in lines}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("cached", [False, True], ids=["compiled", "from-disk"])
def test_debug_4_and_5_print_the_code(
    cached: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 21 + cached
    with override(cache=str(tmp_path)):
        node = ops.Sin(from_array(np.ones(size, np.float32), "cpu"))
        if cached:
            from tetragrad.engine import assembly
            from tetragrad.engine import realize as realize_module

            realize([node])
            realize_module.forget_schedules()
            assembly._loaded.clear()
        node = ops.Sin(from_array(np.ones(size, np.float32), "cpu"))
        with override(debug=5):
            realize([node])
    printed = capsys.readouterr().err
    assert f"program map_{size}(" in printed
    assert "define" in printed


def test_ceilings_are_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings_module, "_known", {})
    monkeypatch.setattr(ceilings_module, "COPIED", 1 << 16)
    monkeypatch.setattr(ceilings_module, "PRODUCTS", 2)
    on = device("cpu")
    with override(cache=str(tmp_path), disk_cache=True):
        measured = ceilings(on)
        assert measured is not None
        assert measured.operations > 0 and measured.nbytes > 0
        (kept,) = json.loads((tmp_path / "ceilings.json").read_text()).values()
        assert Ceilings(**kept) == measured
        ceilings_module._known.clear()
        monkeypatch.setattr(ceilings_module, "measure", None)
        assert ceilings(on) == measured


def test_an_interpreter_has_no_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings_module, "_known", {})
    with override(disk_cache=False):
        assert ceilings(device("reference")) is None


def test_memory_of_another_device_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on = device("cpu")
    monkeypatch.setattr(type(on), "has_host_memory", False)
    assert ceilings_module.measure(on) is None


# --- the picture ------------------------------------------------------------------


def picture_of(outputs: list[Node]) -> str:
    groups = fuse(outputs, Target("test", "none", cache_bytes=1 << 20))
    in_memory = {root for group in groups for root in group.roots}
    return dot_text(groups, [lower(group.roots, in_memory) for group in groups])


def test_the_picture_frames_kernels_and_writes_constants_into_ops() -> None:
    x = from_array(np.ones((4, 6), np.float32), "reference")
    text = picture_of([ops.Exp(ops.Mul(x, ops.full_like(x, 0.5)))])
    assert text.count("subgraph cluster_") == 1
    assert 'label="mul_exp_4x6"' in text
    assert "Mul 0.5\\nfloat32[4,6]" in text
    assert "Constant" not in text
    assert text.count(" -> ") == 2


@pytest.mark.parametrize("seed", range(20))
def test_pictures_of_random_graphs_have_no_loose_ends(seed: int) -> None:
    text = picture_of(GraphBuilder(seed, "reference").grow(30))
    declared = set(re.findall(r"^\s+(n\w+) \[", text, re.MULTILINE))
    used = set(re.findall(r"(n[0-9a-f]\w*) -> ", text)) | set(
        re.findall(r" -> (n\w+);", text)
    )
    assert used <= declared
    assert text.count("{") == text.count("}")


def test_graph_setting_prints_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    # Random numbers that another test drew may have left a state to be computed.
    manual_seed(0)
    x = Tensor(np.ones((3, 7), np.float32), device="reference")
    with override(graph=True):
        (x + 1.5).sin().realize()
    path = Path(capsys.readouterr().err.split(": ")[1].strip())
    assert path.read_text(encoding="utf-8").startswith("digraph tetragrad {")
    path.unlink()


# --- progress ---------------------------------------------------------------------


class Stream(io.StringIO):
    """A stream that may say it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def output_of_tracking(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, patience: float
) -> str:
    stream = Stream(terminal)
    monkeypatch.setattr(progress.sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    assert list(progress.track([7, 8, 9], "compiling")) == [7, 8, 9]
    return stream.getvalue()


def test_progress_on_a_terminal_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    text = output_of_tracking(monkeypatch, terminal=True, patience=0.0)
    assert "compiling 1/3" in text and "compiling 2/3" in text
    assert text.endswith("\r\033[K")


def test_no_progress_in_a_pipe_or_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output_of_tracking(monkeypatch, terminal=False, patience=0.0) == ""
    assert output_of_tracking(monkeypatch, terminal=True, patience=60.0) == ""
