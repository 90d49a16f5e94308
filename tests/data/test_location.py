"""Files are found in order and trusted for their contents only."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.core.settings import override
from tetragrad.data import download, location
from tetragrad.data.location import DataFile, cache_folder, read_data_file

CONTENTS = random.Random(0).randbytes(1800)
PACKED = gzip.compress(CONTENTS)
FILE = DataFile("set/file.gz", hashlib.sha256(CONTENTS).hexdigest(), len(CONTENTS))


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An empty data folder and an empty cache; nothing else is looked at."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    with override(data=str(data), cache=str(cache)):
        yield data, cache_folder()


def put(folder: Path, contents: bytes, name: str = "set/file.gz") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    return path


class Handler(BaseHTTPRequestHandler):
    """Serves the file well, badly, or not at all, by its path."""

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.server.released.wait(10)  # type: ignore[attr-defined]
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        body = PACKED if self.path == "/good" else b"<html>no such file</html>"
        if self.path == "/long":
            body = b"x" * 1_000_000
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing in the tests' output."""


@contextmanager
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.released = threading.Event()  # type: ignore[attr-defined]
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.released.set()  # type: ignore[attr-defined]
            http.shutdown()
            thread.join()


def test_the_data_folder_comes_first(folders: tuple[Path, Path]) -> None:
    data, _ = folders
    put(data, PACKED)
    assert read_data_file(FILE) == CONTENTS


def test_an_unpacked_file_will_do(folders: tuple[Path, Path]) -> None:
    data, _ = folders
    put(data, CONTENTS, "set/file")
    assert read_data_file(FILE) == CONTENTS


def test_then_comes_the_cache(folders: tuple[Path, Path]) -> None:
    _, cache = folders
    put(cache, PACKED)
    assert read_data_file(FILE) == CONTENTS


def test_a_damaged_file_in_the_data_folder_is_an_error(
    folders: tuple[Path, Path],
) -> None:
    data, cache = folders
    put(cache, PACKED)
    path = put(data, gzip.compress(CONTENTS[:-1]))
    with pytest.raises(FileFormatError, match="damaged or another version") as caught:
        read_data_file(FILE)
    assert str(path) in str(caught.value)
    put(data, PACKED[:50])
    with pytest.raises(FileFormatError, match="damaged"):
        read_data_file(FILE)
    put(data, b"\x1f\x8b\xff")
    with pytest.raises(FileFormatError, match="damaged"):
        read_data_file(FILE)


def test_an_archive_that_grows_without_end_is_not_followed(
    folders: tuple[Path, Path],
) -> None:
    data, _ = folders
    put(data, gzip.compress(bytes(50_000_000)))
    with pytest.raises(FileFormatError, match="1,801 bytes"):
        read_data_file(FILE)


def test_an_absent_file_says_where_it_was_looked_for(
    folders: tuple[Path, Path],
) -> None:
    data, cache = folders
    with pytest.raises(DataError) as caught:
        read_data_file(FILE)
    message = str(caught.value)
    for part in (str(data / "set/file.gz"), str(cache / "set/file.gz"), "hint: put"):
        assert part in message
    with override(data=""), pytest.raises(DataError, match="TETRAGRAD_DATA is not set"):
        read_data_file(FILE)


def test_a_download_is_verified_and_kept(folders: tuple[Path, Path]) -> None:
    _, cache = folders
    with server() as address:
        file = replace(FILE, urls=(f"{address}/absent", f"{address}/good"))
        assert read_data_file(file) == CONTENTS
    assert (cache / "set/file.gz").read_bytes() == PACKED
    assert read_data_file(file) == CONTENTS
    assert [path.name for path in (cache / "set").iterdir()] == ["file.gz"]


def test_a_damaged_cache_entry_is_fetched_again(folders: tuple[Path, Path]) -> None:
    _, cache = folders
    put(cache, PACKED[:-20])
    with server() as address:
        assert read_data_file(replace(FILE, urls=(f"{address}/good",))) == CONTENTS
    assert (cache / "set/file.gz").read_bytes() == PACKED


def test_a_damaged_cache_entry_without_a_network_is_reported(
    folders: tuple[Path, Path],
) -> None:
    _, cache = folders
    put(cache, PACKED[:-20])
    with pytest.raises(DataError, match=r"the cache .*damaged"):
        read_data_file(FILE)


@pytest.mark.parametrize("page", ["wrong", "long", "absent"])
def test_a_bad_download_is_not_kept(page: str, folders: tuple[Path, Path]) -> None:
    _, cache = folders
    with server() as address:
        file = replace(FILE, urls=(f"{address}/{page}",))
        with pytest.raises(DataError, match=f"/{page}"):
            read_data_file(file)
    assert not (cache / "set").exists()


def test_silent_mirrors_share_the_time_to_answer(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.4)
    with server() as address:
        file = replace(FILE, urls=(f"{address}/silent", f"{address}/silent"))
        with pytest.raises(DataError, match=r"no answer within 0\.2 seconds"):
            read_data_file(file)


def test_a_mirror_after_a_silent_one_still_gets_its_turn(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 2.0)
    with server() as address:
        file = replace(FILE, urls=(f"{address}/silent", f"{address}/good"))
        assert read_data_file(file) == CONTENTS


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with override(data="", cache=str(tmp_path / "cache")), server() as address:
        assert read_data_file(replace(FILE, urls=(f"{address}/good",))) == CONTENTS


def test_the_cache_has_a_place_of_its_own() -> None:
    with override(cache=""):
        folder = location.cache_folder()
    assert folder.is_absolute()
    assert folder.parts[-2:] == ("tetragrad", "data")
