"""The folder of kept kernels stays below its limit, whoever writes to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tetragrad.core.settings import override, settings
from tetragrad.engine import disk_cache, disk_limit
from tetragrad.engine.disk_cache import DiskCache
from tetragrad.engine.disk_limit import DiskLimit

MEGABYTE = 1 << 20
WRITER = """
import sys
from tetragrad.core.settings import settings
from tetragrad.engine.disk_cache import DiskCache
cache = DiskCache(settings())
for number in range(40):
    cache.write(f"{sys.argv[1]}{number:02}", bytes(100_000))
    cache.read(f"{sys.argv[1]}{number // 2:02}")
"""


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write(cache: DiskCache, key: str, age: float, nbytes: int = 100_000) -> None:
    """An entry that was last used so many seconds ago."""
    cache.write(key, bytes(nbytes))
    then = time.time() - age
    assert cache.folder is not None
    os.utime(cache.folder / key[:2] / key, (then, then))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskCache:
    """A cache of one megabyte that looks at its folder after each write."""
    monkeypatch.setattr(disk_limit, "SHARE_BETWEEN_LOOKS", 0.0)
    with override(cache=str(tmp_path), disk_cache_megabytes=1):
        return DiskCache(settings())


def test_what_was_not_used_for_longest_goes_first(cache: DiskCache) -> None:
    for number in range(10):
        write(cache, f"{number:02}", age=1e6 - number)
    assert cache.read("00") is not None  # The oldest, used just now.
    cache.write("99", bytes(100_000))
    kept = [key for key in ("00", "01", "02", "08", "09", "99") if cache.read(key)]
    assert kept == ["00", "08", "09", "99"]
    assert cache.folder is not None
    assert size_of(cache.folder) <= 0.75 * MEGABYTE


def test_below_the_limit_everything_stays(cache: DiskCache) -> None:
    for number in range(10):
        write(cache, f"{number:02}", age=1e9)
    assert all(cache.read(f"{number:02}") for number in range(10))


def test_a_process_looks_at_its_first_write_and_then_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    monkeypatch.setattr(DiskLimit, "clear", lambda limit: looks.append(limit.folder))
    monkeypatch.setattr(disk_cache, "_limits", {})
    with override(cache=str(tmp_path), disk_cache_megabytes=16):
        for number in range(25):
            DiskCache(settings()).write(f"{number:02}", bytes(100_000))
    # A sixteenth of the limit is one megabyte.
    assert looks == [tmp_path / "kernels"] * 3


def test_processes_that_write_together_stay_below(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TETRAGRAD_CACHE": str(tmp_path),
        "TETRAGRAD_DISK_CACHE_MEGABYTES": "2",
    }
    command = [sys.executable, "-W", "error", "-c", WRITER]
    running = [
        subprocess.Popen([*command, name], env=environment, stderr=subprocess.PIPE)
        for name in ("aa", "bb", "cc")
    ]
    for process in running:
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    # Each may be a sixteenth of the limit, and one entry, beyond.
    assert size_of(tmp_path) <= 2 * MEGABYTE * (1 + 3 / 16) + 3 * 100_032


def test_what_a_killed_writer_left_goes_too(cache: DiskCache) -> None:
    write(cache, "ab", age=0)
    assert cache.folder is not None
    left = cache.folder / "ab" / "tmp1234"
    left.write_bytes(bytes(MEGABYTE))
    os.utime(left, (1.0, 1.0))
    cache.write("cd", bytes(1000))
    assert not left.exists()
    assert cache.read("ab") is not None


def test_an_entry_that_is_gone_or_held_is_passed_over(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        write(cache, f"{number:02}", age=1e6 - number)

    def refuse(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    cache.write("99", bytes(100_000))
    assert cache.read("00") is not None
