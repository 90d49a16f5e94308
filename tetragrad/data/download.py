"""Fetch a file over HTTP, and give up quickly where there is no network.

A program that can fall back on other data should not keep its user waiting, so the
mirrors together have three seconds to answer. Name resolution has no time limit of
its own in Python; it runs in a thread that is abandoned when the time is over.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

#: Seconds in which some mirror must have sent its first bytes.
ANSWER_SECONDS = 3.0
#: Seconds without a byte after which a transfer counts as dead.
STALL_SECONDS = 3.0
#: Seconds after which a transfer is abandoned however steadily it trickles.
TRANSFER_SECONDS = 120.0
CHUNK_BYTES = 1 << 16


class DownloadError(Exception):
    """No mirror delivered; the message says what each one did."""


def download(urls: Sequence[str], *, limit: int) -> tuple[bytes, str]:
    """The first mirror's file that arrives whole, and that mirror's address."""
    give_up = time.monotonic() + ANSWER_SECONDS
    failures = []
    for position, url in enumerate(urls):
        # Share what is left among the mirrors not yet asked.
        share = (give_up - time.monotonic()) / (len(urls) - position)
        try:
            return _Transfer(url, limit).receive(max(share, 0.1)), url
        except DownloadError as error:
            failures.append(f"{url} ({error})")
    raise DownloadError("; ".join(failures))


class _Transfer:
    """One request, running in a thread that hands over what it receives."""

    def __init__(self, url: str, limit: int) -> None:
        self._url = url
        self._limit = limit
        self._chunks: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._abandoned = threading.Event()

    def receive(self, answer_seconds: float) -> bytes:
        worker = threading.Thread(target=self._run, daemon=True)
        worker.start()
        try:
            return self._collect(answer_seconds)
        finally:
            self._abandoned.set()

    def _collect(self, answer_seconds: float) -> bytes:
        received = bytearray()
        wait = answer_seconds
        end = time.monotonic() + TRANSFER_SECONDS
        while True:
            try:
                chunk = self._chunks.get(timeout=wait)
            except queue.Empty:
                raise DownloadError(f"no answer within {wait:.1f} seconds") from None
            if isinstance(chunk, Exception):
                raise DownloadError(str(chunk)) from chunk
            if not chunk:
                return bytes(received)
            received += chunk
            if len(received) > self._limit:
                raise DownloadError(f"it sends more than {self._limit:,} bytes")
            wait = min(STALL_SECONDS, end - time.monotonic())
            if wait <= 0:
                raise DownloadError(f"not done after {TRANSFER_SECONDS:.0f} seconds")

    def _run(self) -> None:
        # Imported here because few runs download anything and this import is slow.
        from http.client import HTTPException
        from urllib.request import urlopen

        try:
            with urlopen(self._url, timeout=ANSWER_SECONDS) as response:
                while not self._abandoned.is_set():
                    chunk = response.read1(CHUNK_BYTES)
                    self._chunks.put(chunk)
                    if not chunk:
                        return
        # What goes wrong belongs to whoever waits for this transfer.
        except (OSError, ValueError, HTTPException) as error:
            self._chunks.put(error)
