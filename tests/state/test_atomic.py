"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tetragrad.core.errors import DataError
from tetragrad.state.atomic import atomic_write
from tetragrad.state.safetensors import open_safetensors, write_safetensors

# Writes versions 0, 1, 2 ... of a file, every element of which is the version.
WRITER = """
import sys, itertools, numpy as np
from tetragrad.state.safetensors import write_safetensors
for version in itertools.count():
    array = np.full(200_000, version, np.int64)
    write_safetensors({"a": array}, sys.argv[1], {"version": str(version)})
    print(version, flush=True)
"""


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail_halfway() -> None:
        with atomic_write(path) as file:
            file.write(b"new, but only ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*absent"):
        write_safetensors({}, tmp_path / "absent" / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*folder"):
        write_safetensors({}, tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"
    link = tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
def test_the_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"")
    usual = (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "ours").stat().st_mode == usual


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for attempt in range(4):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
        file = open_safetensors(path)
        assert np.all(file["a"] == int(file.metadata["version"]))
    # What the killed writers left behind goes away with the next write.
    write_safetensors({}, path)
    assert os.listdir(tmp_path) == ["file"]
