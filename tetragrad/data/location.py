"""Find the file of a data set: data folder, then the user's cache, then a download.

A file is trusted for its SHA-256, not for its place. The checksum is that of the
*uncompressed* contents, because mirrors compress the same bytes differently.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from contextlib import suppress
from pathlib import Path

from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import cache_folder as user_cache
from tetragrad.core.settings import settings
from tetragrad.data.compression import GzipReader, is_gzip
from tetragrad.data.download import DownloadError, download


@frozen
class DataFile:
    """One file of a data set, and how to know it when it is found.

    >>> data.DataFile("words.txt", sha256="0" * 64, nbytes=120).nbytes
    120
    """

    path: str
    sha256: str
    nbytes: int
    urls: tuple[str, ...] = ()


def data_folder() -> Path | None:
    """The folder that the setting TETRAGRAD_DATA names, if it names one.

    >>> folder = data.data_folder()
    >>> folder is None or folder.name != ""
    True
    """
    configured = settings().data
    return Path(configured).expanduser() if configured else None


def cache_folder() -> Path:
    """Where downloaded data sets are kept for this user.

    >>> data.cache_folder().is_absolute()
    True
    """
    return user_cache() / "data"


def read_data_file(file: DataFile) -> bytes:
    """The uncompressed contents of a file, wherever a good copy of it is found.

    A damaged file in the data folder is an error, since that folder is the user's; a
    damaged cache entry is fetched again.
    """
    tried: list[str] = []
    folder = data_folder()
    if folder is None:
        tried.append("the data folder (TETRAGRAD_DATA is not set)")
    else:
        contents = _read_verified(folder, file)
        if contents is not None:
            return contents
        tried.append(f"{folder / file.path} (no such file)")
    try:
        contents = _read_verified(cache_folder(), file)
        if contents is not None:
            return contents
        tried.append(f"{cache_folder() / file.path} (no such file)")
    except FileFormatError as error:
        tried.append(f"the cache ({_first_line(error)})")
    return _fetch(file, tried)


def _read_verified(folder: Path, file: DataFile) -> bytes | None:
    """The file's contents, or None if it is not there; damage is an error."""
    # People unpack what they download, so both names are looked for.
    for name in dict.fromkeys([file.path, file.path.removesuffix(".gz")]):
        path = folder / name
        try:
            stored = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        return _verified(stored, file, str(path))
    return None


def _verified(stored: bytes, file: DataFile, origin: str) -> bytes:
    contents = _unpacked(stored, file, origin)
    actual = hashlib.sha256(contents).hexdigest()
    if actual != file.sha256:
        raise FileFormatError(
            f"{origin} is damaged or another version: its {len(contents):,} bytes "
            f"have SHA-256 {actual[:16]}..., expected {file.nbytes:,} bytes with "
            f"{file.sha256[:16]}...",
            hint="delete the file so that it is fetched again, or copy it again",
        )
    return contents


def _unpacked(stored: bytes, file: DataFile, origin: str) -> bytes:
    if not is_gzip(stored):
        return stored
    try:
        # One byte more than expected is enough to see that a file is not ours.
        return GzipReader(stored).read(file.nbytes + 1)
    except zlib.error as error:
        raise FileFormatError(
            f"{origin} is damaged: {error}",
            hint="delete the file so that it is fetched again, or copy it again",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _fetch(file: DataFile, tried: list[str]) -> bytes:
    """Try each mirror; what verifies is kept in the cache."""
    if file.urls:
        try:
            stored, url = download(file.urls, limit=2 * file.nbytes + 4096)
            contents = _verified(stored, file, url)
        except (DownloadError, FileFormatError) as error:
            tried.append(_first_line(error))
        else:
            _keep(cache_folder() / file.path, stored)
            return contents
    places = "\n  ".join(tried)
    raise DataError(
        f"the file {file.path!r} was not found; looked in:\n  {places}",
        hint=f"put the file at <folder>/{file.path} and set TETRAGRAD_DATA=<folder>, "
        "or connect to the internet once",
    )


def _keep(cached: Path, stored: bytes) -> None:
    # A cache that cannot be written (a full disk, a read-only home) costs a download
    # next time, nothing more.
    with suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        temporary = cached.with_name(f".{cached.name}.{os.getpid()}.partial")
        temporary.write_bytes(stored)
        temporary.replace(cached)
