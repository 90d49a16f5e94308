"""Machine code on disk, under a key made of everything it depends on.

Safe against other processes, a writer killed half-way and a damaged entry: entries
are written to a file of their own and renamed, and each carries a checksum; what
does not check out is compiled again, never trusted.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from pathlib import Path

from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel

_DIGEST_BYTES = 32
_source_digest: bytes | None = None


class DiskCache:
    """A folder of entries; silently inactive where the folder cannot be written."""

    def __init__(self, settings: Settings) -> None:
        self.folder = cache_folder(settings) if settings.disk_cache else None

    def key(self, kernel: Kernel, target: Target, settings: Settings) -> str:
        """What the code depends on: kernel, target, settings, and our own source."""
        parts = (kernel, sorted_target(target), settings.code_key())
        digest = hashlib.sha256(source_digest())
        digest.update(pickle.dumps(parts, protocol=5))
        return digest.hexdigest()

    def read(self, key: str) -> bytes | None:
        """The entry's content, or None if there is no sound entry."""
        if self.folder is None:
            return None
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return code if hashlib.sha256(code).digest() == digest else None

    def write(self, key: str, code: bytes) -> None:
        """Keep an entry; a failure to write is not an error."""
        if self.folder is None:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(temporary, path)
        except OSError:
            self.folder = None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / key


def cache_folder(settings: Settings) -> Path:
    """Where entries are kept: the setting, else the system's cache folder."""
    if settings.cache:
        return Path(settings.cache) / "kernels"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "tetragrad" / "kernels"


def source_digest() -> bytes:
    """A digest of the compiler's own source: another version compiles anew."""
    global _source_digest
    if _source_digest is None:
        digest = hashlib.sha256()
        package = Path(__file__).resolve().parent.parent
        for folder in ("core", "graph", "kernel", "tile", "backends"):
            for path in sorted((package / folder).rglob("*.py")):
                status = path.stat()
                digest.update(
                    f"{path.name}{status.st_size}{status.st_mtime_ns}".encode()
                )
        _source_digest = digest.digest()
    return _source_digest


def sorted_target(target: Target) -> tuple[object, ...]:
    """A target as a tuple with a fixed order, for hashing."""
    return (
        target.backend,
        target.architecture,
        target.units,
        target.vector_bytes,
        target.registers,
        target.shared_bytes,
        target.cache_bytes,
        tuple(sorted(target.features)),
    )
