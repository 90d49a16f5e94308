"""Unpack gzip, never further than asked: a small archive can hold terabytes."""

from __future__ import annotations

import zlib

GZIP_MAGIC = b"\x1f\x8b"
# zlib's way of asking for a gzip header instead of a zlib one.
GZIP_WINDOW = 16 + zlib.MAX_WBITS
# Deflate cannot make more than 1,032 bytes of one (zlib, "Technical details").
MAX_EXPANSION = 1032


class GzipReader:
    """The contents of a gzip archive in memory, read from the start in steps."""

    def __init__(self, archive: bytes) -> None:
        self._unpacker = zlib.decompressobj(GZIP_WINDOW)
        self._left = archive
        self._most = MAX_EXPANSION * len(archive) + 1

    def read(self, limit: int) -> bytes:
        """At most ``limit`` further bytes; zlib.error if the archive is damaged."""
        contents = self._unpacker.decompress(self._left, min(limit, self._most))
        self._left = self._unpacker.unconsumed_tail
        return contents


def is_gzip(stored: bytes) -> bool:
    """Whether the bytes start as a gzip archive does."""
    return stored.startswith(GZIP_MAGIC)
