"""The main job, on real digits: it learns, resumes exactly, and leaves its results."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tetragrad import state
from tetragrad.core.settings import override, settings

EXAMPLES = Path(__file__).parents[2] / "examples"

needs_data = pytest.mark.skipif(not settings().data, reason="TETRAGRAD_DATA is not set")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    for package in ("rich", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("train_digits")


@needs_data
def test_mnist_is_learnt(example: ModuleType, tmp_path: Path) -> None:
    accuracy = example.main(["--images=32000", "--epochs=1", f"--out={tmp_path}"])
    assert accuracy >= 0.985
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "worst.png").read_bytes().startswith(b"\x89PNG")
    weights = state.load(tmp_path / "checkpoint.safetensors")
    assert weights["model.0.weight"].shape == (32, 1, 5, 5)


def test_digits_of_scikit_learn_are_learnt(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("tetragrad.data.sets.MNIST_MIRRORS", ())
    with override(data="", cache=str(tmp_path)):
        accuracy = example.main(["--epochs=6", f"--out={tmp_path}"])
    assert accuracy >= 0.97


class Killed(Exception):
    """Stands for whatever ends a run in the middle."""


def test_a_killed_run_resumes_exactly(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("tetragrad.data.sets.MNIST_MIRRORS", ())
    monkeypatch.setattr(example, "CHECKPOINT_EVERY", 3)
    options = ["--images=40", "--batch=8", "--epochs=2"]
    with override(data="", cache=str(tmp_path)):
        example.main([*options, f"--out={tmp_path / 'whole'}"])
        step = example.Training.step

        def step_or_die(training: object, *batch: object) -> object:
            if len(training.curve) == 8:  # type: ignore[attr-defined]
                raise Killed
            return step(training, *batch)

        monkeypatch.setattr(example.Training, "step", step_or_die)
        with pytest.raises(Killed):
            example.main([*options, f"--out={tmp_path / 'killed'}"])
        monkeypatch.setattr(example.Training, "step", step)
        example.main([*options, f"--out={tmp_path / 'killed'}", "--resume"])
    curves = [
        state.load_checkpoint(tmp_path / run / "checkpoint.safetensors").extra
        for run in ("whole", "killed")
    ]
    assert len(curves[0]) == 10
    assert curves[0] == curves[1]
