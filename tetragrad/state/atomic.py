"""Write a file so that it is either the old one or the new one, never half of one."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path``; rename it to ``path`` at the end.

    A reader, or a process killed at any moment, sees the old file or the whole new
    one. If the block raises, the old file stays and the temporary one is removed.
    """
    # A symbolic link keeps pointing where it did; its target is replaced.
    target = Path(os.path.realpath(path))
    remove_abandoned(target)
    temporary = target.with_name(f"{_prefix(target)}{os.getpid()}.{_random_word()}")
    try:
        # Mode "x" gives the permissions of an ordinary new file, unlike mkstemp.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def remove_abandoned(target: Path) -> None:
    """Delete temporary files of ``target`` whose writer no longer runs.

    A writer that was killed cannot clean up after itself, so the next one does.
    """
    prefix = _prefix(target)
    with suppress(OSError):
        for entry in list(os.scandir(target.parent)):
            writer = entry.name.removeprefix(prefix).split(".")[0]
            ours = entry.name.startswith(prefix) and writer.isdecimal()
            if ours and not _is_running(int(writer)):
                with suppress(OSError):
                    os.unlink(entry.path)


def _prefix(target: Path) -> str:
    # Another machine that shares the folder has its own process numbers.
    machine = "".join(filter(str.isalnum, platform.node()))
    return f".{target.name}.partial.{machine}."


def _random_word() -> str:
    return secrets.token_hex(4)


def _is_running(process: int) -> bool:
    if os.name == "nt":
        # Windows has no harmless way to ask; there, an open file cannot be
        # unlinked anyway, so treating the writer as gone is safe.
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; only POSIX systems can and need to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
