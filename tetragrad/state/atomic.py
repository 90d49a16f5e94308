"""Write a file so that it is either the old one or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from tetragrad.core.errors import DataError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path``; rename it to ``path`` at the end.

    A reader, or a process killed at any moment, sees the old file or the whole new
    one. If the block raises, the old file stays and the temporary one is removed.
    """
    # A symbolic link keeps pointing where it did; its target is replaced.
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise DataError(
            f"cannot write {target!r}: there is no folder {folder!r}",
            hint="create the folder first, for example with os.makedirs",
        )
    _remove_abandoned(folder, name)
    random_word = os.urandom(4).hex()
    temporary = os.path.join(folder, f"{_prefix(name)}{os.getpid()}.{random_word}")
    try:
        # Mode "x" gives the permissions of an ordinary new file, unlike mkstemp.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise DataError(f"cannot write {target!r}: {error.strerror}") from error
        raise
    _sync_folder(folder)


def _remove_abandoned(folder: str, name: str) -> None:
    """Delete temporary files of ``name`` whose writer no longer runs.

    A writer that was killed cannot clean up after itself, so the next one does.
    """
    prefix = _prefix(name)
    with suppress(OSError):
        for entry in os.listdir(folder):
            writer = entry.removeprefix(prefix).partition(".")[0]
            is_ours = entry.startswith(prefix) and writer.isdecimal()
            if is_ours and not _is_running(int(writer)):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, entry))


def _prefix(name: str) -> str:
    # Another machine that shares the folder has its own process numbers.
    machine = os.uname().nodename if hasattr(os, "uname") else ""
    alphanumeric = "".join(filter(str.isalnum, machine))
    return f".{name}.partial.{alphanumeric}."


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


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable; only POSIX systems can and need to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
