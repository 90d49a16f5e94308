"""Kept machine code is shared between processes and never trusted blindly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tetragrad.backends.cpu.target import host_target
from tetragrad.core import dtypes
from tetragrad.core.settings import override, settings
from tetragrad.engine.disk_cache import DiskCache
from tetragrad.engine.realize import _kept_own_code, device
from tetragrad.graph.elementwise import Add, Mul
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.digest import kernel_digest
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.kernel.ir import Kernel, Output, Slot

PROGRAM = """
from tetragrad import Tensor
x = Tensor.arange(12.0).reshape(3, 4)
print(((x @ x.T).softmax(-1) + x.sum(1)).sum(0).tolist())
print(x.sort(descending=True)[1].tolist())
"""


def run(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the program on a cache folder."""
    environment = {**os.environ, "TETRAGRAD_CACHE": str(folder), **variables}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    printed, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert not complaint
    return printed


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def chain(length: int, op: type = Add) -> Kernel:
    """s2[i] = s0[i] + s1[i] + s1[i] + ..., as deep as it is long."""
    here, slot = axis_form(0), Slot(dtypes.float32, 8)
    value: Expression = Load(0, here, (), dtypes.float32)
    for number in range(length):
        other = Load(1, here.shift(number % 2), (), dtypes.float32)
        value = Compute(op, dtypes.float32, (value, other))
    return Kernel((8,), (slot, slot, slot), (), (Output(2, here, value, (0,)),))


def test_damage_is_compiled_again_and_nothing_is_left_over(tmp_path: Path) -> None:
    expected = output(run(tmp_path))
    kept = entries(tmp_path)
    assert kept
    sound = [path.read_bytes() for path in kept]
    for position, path in enumerate(kept):
        damages = [b"", sound[position][:-7], b"x" * 99, sound[position - 1]]
        path.write_bytes(damages[position % len(damages)])
    assert output(run(tmp_path)) == expected
    assert entries(tmp_path) == kept
    assert [len(path.read_bytes()) for path in kept] == [len(code) for code in sound]


def test_processes_share_one_folder(tmp_path: Path) -> None:
    together = [run(tmp_path) for _ in range(3)]
    assert len({output(process) for process in together}) == 1
    kept = entries(tmp_path)
    written = [path.stat().st_mtime_ns for path in kept]
    output(run(tmp_path))
    assert entries(tmp_path) == kept
    assert [path.stat().st_mtime_ns for path in kept] == written


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert output(run(blocked)) == output(run(tmp_path / "a", TETRAGRAD_DISK_CACHE="0"))
    assert not (tmp_path / "a").exists()
    assert blocked.read_text() == "not a folder"


def test_a_home_that_is_not_there_is_done_without(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path / "absent"), "TETRAGRAD_CACHE": ""}
    tmp_path.chmod(0o500)
    try:
        assert output(run(tmp_path, **variables))
    finally:
        tmp_path.chmod(0o700)


def test_an_entry_in_anothers_place_is_not_trusted(tmp_path: Path) -> None:
    with override(cache=str(tmp_path)):
        cache = DiskCache(settings())
        cache.write("ab12", b"code")
        assert cache.read("ab12") == b"code"
        os.rename(tmp_path / "kernels/ab/ab12", tmp_path / "kernels/ab/ab34")
        assert cache.read("ab12") is None
        assert cache.read("ab34") is None


def test_keys_tell_kernels_apart_and_nothing_else() -> None:
    kernels = [chain(3), chain(4), chain(3, Mul)]
    assert len({kernel_digest(kernel) for kernel in kernels}) == len(kernels)
    assert kernel_digest(chain(3)) == kernel_digest(chain(3))


def test_a_kernel_may_be_deeper_than_the_stack() -> None:
    with override(disk_cache=False):
        cache = DiskCache(settings())
        key = cache.key(chain(3000), host_target(), settings(), "plan")
        assert key == cache.key(chain(3000), host_target(), settings(), "plan")


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from tests.engine.test_disk_cache import chain;"
        "from tetragrad.kernel.digest import kernel_digest;"
        "print(kernel_digest(chain(5)).hex())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {kernel_digest(chain(5)).hex()}


@pytest.mark.parametrize("code", [b"", b"x" * 100])
def test_entries_come_back(tmp_path: Path, code: bytes) -> None:
    with override(cache=str(tmp_path)):
        DiskCache(settings()).write("cd", code)
        assert DiskCache(settings()).read("cd") == code


def test_what_all_programs_share_is_kept(tmp_path: Path) -> None:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"code")
        return made[-1]

    with override(disk_cache=True, cache=str(tmp_path)):
        for _ in range(2):
            assert _kept_own_code(device("cpu"), make) == b"code"
    assert len(made) == 1
