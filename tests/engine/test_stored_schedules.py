"""Schedules on disk: read instead of compiled, and never where they would not do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.core.settings import override
from tetragrad.engine import pipeline, realize, stored_schedules
from tetragrad.engine.schedule import watchers

#: Prints results, and how many graphs were compiled.
PROGRAM = """
import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.engine import stored_schedules
found = []
inner = stored_schedules.stored_schedule
def counted(*arguments):
    found.append(inner(*arguments))
    return found[-1]
stored_schedules.stored_schedule = counted
x = Tensor.arange(48.0).reshape(4, 12) / 48
tetragrad.random.manual_seed(0)
layers = [nn.Linear(12, 12) for _ in range(3)]
parameters = [entry for layer in layers for entry in layer.parameters()]
optimizer = optim.SGD(parameters, lr=0.1, momentum=0.9)
for _ in range(2):
    optimizer.zero_grad()
    value = x
    for layer in layers:
        value = layer(value).softmax(-1).cumsum(0)
    loss = (value * value).sum()
    loss.backward()
    optimizer.step()
    print(loss.item(), parameters[0].sum().item())
print(sum(entry is not None for entry in found))
"""


def run(folder: Path, **variables: str) -> list[str]:
    """The lines that the program prints with a cache folder."""
    environment = {
        **os.environ,
        "TETRAGRAD_CACHE": str(folder),
        "TETRAGRAD_VERIFY": "0",
        **variables,
    }
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    *cold, none = run(tmp_path)
    *warm, some = run(tmp_path)
    assert warm == cold
    assert int(none) == 0
    assert int(some) > 0


def test_settings_have_schedules_of_their_own(tmp_path: Path) -> None:
    run(tmp_path)
    assert run(tmp_path, TETRAGRAD_FMA="0")[-1] == "0"


def test_a_missing_program_is_compiled_again(tmp_path: Path) -> None:
    *cold, _ = run(tmp_path)
    kept = sorted((tmp_path / "kernels").glob("??/*"))
    kept[len(kept) // 2].unlink()
    for path in (tmp_path / "schedules").glob("??/*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert run(tmp_path)[:-1] == cold


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with override(verify=False, cache=str(tmp_path), disk_cache=True):
        yield tmp_path


def chain(start: float) -> Tensor:
    """A graph of many launches."""
    value = Tensor(np.ones((3, 20), np.float32)) + start
    for _ in range(stored_schedules.WORTH_KEEPING + 4):
        value = (value.cumsum(1) + value.sum(0)).softmax(1)
    return value


def forget() -> None:
    realize.forget_schedules()


def test_kernels_are_there_for_those_who_ask(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    expected = chain(0.25).numpy()
    (compiled,) = realize._schedules.values()
    forget()
    monkeypatch.setattr(pipeline, "compile_graph", None)
    np.testing.assert_array_equal(chain(0.25).numpy(), expected)
    (read,) = realize._schedules.values()
    assert [entry.kernel for entry in read.launches] == [
        entry.kernel for entry in compiled.launches
    ]
    assert [entry.executable for entry in read.launches] == [
        entry.executable for entry in compiled.launches
    ]
    assert read.results == compiled.results


def test_what_is_shown_is_compiled(folder: Path) -> None:
    chain(0.25).numpy()
    shown: list[Any] = []
    watchers.append(lambda *arguments: shown.append(arguments))
    try:
        forget()
        (chain(0.25) * 1).numpy()
    finally:
        watchers.pop()
    assert len(shown) == 1
