"""A killed training run goes on as if it had not been, and leaves no half file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tetragrad
from tetragrad.state import load_checkpoint, save_checkpoint

SCRIPT = Path(__file__).parent / "training_run.py"
STEPS = 6

KILLED_WHILE_SAVING = """
import os, random, sys
from pathlib import Path
from tests.state.training_run import Run, kill_after
from tetragrad.state import load_checkpoint

run = Run(Path(sys.argv[1]), jitted=False)
run.train(1, None)
complete = calls = 0

def count(*event):
    global calls
    calls += 1

sys.setprofile(count)
run.save()
sys.setprofile(None)
moments = random.Random(0)
for attempt in range(40):
    before = load_checkpoint(run.path).step
    run.step += 1
    moment = moments.randrange(1, calls + calls // 4)
    child = os.fork()
    if child == 0:
        kill_after(moment)
        run.save()
        os._exit(0)
    os.waitpid(child, 0)
    found = load_checkpoint(run.path)
    assert found.step in (before, run.step), (found.step, before, run.step)
    assert set(found.model) == set(run.model.state_dict())
    complete += found.step == run.step
print("complete", complete)
print("left", len(os.listdir(run.path.parent)))
"""


def train(folder: Path, *arguments: str, mode: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(STEPS), mode, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def losses(folder: Path) -> dict[str, set[str]]:
    """Every loss that a step has had: one, if steps that ran twice were equal."""
    found: dict[str, set[str]] = {}
    for line in (folder / "losses.txt").read_text().splitlines():
        step, loss = line.split()
        found.setdefault(step, set()).add(loss)
    return found


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("mode", ["plain", "jit"])
def test_a_killed_run_repeats_the_same_losses(tmp_path: Path, mode: str) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    done = train(whole, mode=mode)
    assert done.returncode == 0, done.stderr
    first = train(killed, "200", mode=mode)
    assert first.returncode == -signal.SIGKILL, first.stderr
    done = train(killed, mode=mode)
    assert done.returncode == 0, done.stderr
    expected = losses(whole)
    assert len(expected) == STEPS
    assert losses(killed) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_no_kill_leaves_half_a_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    # Some kills came before the file was in its place and some after.
    assert 0 < int(words[1]) < 40
    assert int(words[3]) <= 3, "abandoned files pile up"


def test_random_numbers_go_on(tmp_path: Path) -> None:
    tetragrad.manual_seed(random.Random(1).randrange(1 << 30))
    tetragrad.rand(3).realize()
    save_checkpoint(tmp_path / "file")
    expected = tetragrad.rand(4).tolist()
    tetragrad.manual_seed(0)
    load_checkpoint(tmp_path / "file")
    assert tetragrad.rand(4).tolist() == expected
    assert tetragrad.random.default_generator().seed != 0


def test_random_numbers_may_be_left_alone(tmp_path: Path) -> None:
    tetragrad.manual_seed(5)
    save_checkpoint(tmp_path / "file")
    tetragrad.rand(2).realize()
    state = tetragrad.random.get_state().tolist()
    load_checkpoint(tmp_path / "file", random=False)
    assert tetragrad.random.get_state().tolist() == state
