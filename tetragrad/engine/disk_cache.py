"""Machine code on disk, under a key made of everything it depends on.

Safe against other processes, a writer killed half-way and a damaged entry: entries
are written to a file of their own and renamed, and each carries a checksum; what
does not check out is compiled again, never trusted. What was not used for longest is
deleted when there is too much (``disk_limit.py``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from tetragrad.core.settings import Settings, cache_folder
from tetragrad.core.target import Target
from tetragrad.engine.disk_limit import DiskLimit
from tetragrad.kernel.digest import kernel_digest
from tetragrad.kernel.ir import Kernel

_DIGEST_BYTES = 32
_source_digest: bytes | None = None

#: The limit of each folder, which counts what this process writes.
_limits: dict[Path, DiskLimit] = {}


class DiskCache:
    """A folder of entries; silently inactive where the folder cannot be written."""

    def __init__(self, settings: Settings, kind: str = "kernels") -> None:
        self.folder = cache_folder() / kind if settings.disk_cache else None
        self.nbytes = settings.disk_cache_megabytes << 20

    def key(self, kernel: Kernel, target: Target, settings: Settings, plan: str) -> str:
        """What the code depends on: kernel, plan, target, settings, our own source."""
        digest = hashlib.sha256(source_digest())
        digest.update(kernel_digest(kernel))
        digest.update(plan.encode())
        digest.update(repr((target_facts(target), settings.code_key())).encode())
        return digest.hexdigest()

    def key_of_own_code(self, target: Target) -> str:
        """The key of what all programs of a target share."""
        digest = hashlib.sha256(source_digest())
        digest.update(repr(("shared", target_facts(target))).encode())
        return digest.hexdigest()

    def read(self, key: str) -> bytes | None:
        """The entry's content, or None if there is no sound entry."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if _checksum(key, code) != digest:
            return None
        self._limit().note_use(path)
        return code

    def write(self, key: str, code: bytes) -> None:
        """Keep an entry; a failure to write is not an error."""
        if self.folder is None:
            return
        # Imported here because a program whose kernels are all kept writes nothing.
        import tempfile

        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_checksum(key, code) + code)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            return
        self._limit().note_write(_DIGEST_BYTES + len(code))

    def _limit(self) -> DiskLimit:
        assert self.folder is not None
        found = _limits.get(self.folder)
        if found is None or found.limit != self.nbytes:
            found = _limits[self.folder] = DiskLimit(self.folder, self.nbytes)
        return found

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / key


def _checksum(key: str, code: bytes) -> bytes:
    """Of the key too: an entry in another's place is as bad as a damaged one."""
    return hashlib.sha256(key.encode() + code).digest()


def source_digest() -> bytes:
    """A digest of the compiler's own source: another version compiles anew."""
    global _source_digest
    if _source_digest is None:
        digest = hashlib.sha256()
        package = Path(__file__).resolve().parent.parent
        for folder in ("core", "graph", "kernel", "tile", "backends", "engine"):
            for path in sorted((package / folder).rglob("*.py")):
                status = path.stat()
                digest.update(
                    f"{path.name}{status.st_size}{status.st_mtime_ns}".encode()
                )
        _source_digest = digest.digest()
    return _source_digest


def target_facts(target: Target) -> list[object]:
    """All that is known of a target; sets in order, as they are spelled."""
    facts = [getattr(target, entry.name) for entry in fields(target)]
    return [sorted(fact) if isinstance(fact, frozenset) else fact for fact in facts]
