"""The records of a zip archive, as views of the mapped file where possible.

torch and NumPy store without compression unless asked, so a record's bytes are a
slice of the file. Compressed records are read only where the caller allows them and
never grow beyond a limit: a small archive can claim to hold terabytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from tetragrad.state.bytes_source import BytesSource
from tetragrad.state.formats import ZIP_MAGIC

ENCRYPTED = 1
MAX_UNPACKED_BYTES = 4 * 2**30
LOCAL_HEADER = struct.Struct("<4s22xHH")

# What the standard library raises on damaged archives, besides BadZipFile.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OverflowError,
    OSError,
    LookupError,
)


class ZipRecords:
    """Names to records; ``read`` checks a record the first time it is asked for."""

    def __init__(
        self,
        source: BytesSource,
        infos: Mapping[str, zipfile.ZipInfo],
        *,
        allow_deflate: bool,
    ) -> None:
        self._source = source
        self._infos = infos
        self._allow_deflate = allow_deflate
        self._budget = MAX_UNPACKED_BYTES

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def read(self, name: str) -> memoryview:
        """The bytes of one record, without copying; its checksum is verified."""
        if name not in self._infos:
            raise self._source.error(f"the archive has no record {name[:200]!r}")
        info = self._infos[name]
        if info.flag_bits & ENCRYPTED:
            raise self._source.error(f"the record {name[:200]!r} is encrypted")
        contents = self._slice(info)
        if info.compress_type != zipfile.ZIP_STORED:
            contents = self._decompress(info, contents)
        # torch can be told not to compute checksums; it writes zero then.
        if info.CRC != 0 and zlib.crc32(contents) != info.CRC:
            raise self._source.error(
                f"the checksum of record {name[:200]!r} does not match its contents",
                hint="the file is damaged; download or copy it again",
            )
        return contents

    def _slice(self, info: zipfile.ZipInfo) -> memoryview:
        data = self._source.data
        start = info.header_offset
        header = bytes(data[start : start + LOCAL_HEADER.size]) if start >= 0 else b""
        if len(header) < LOCAL_HEADER.size or header[:4] != ZIP_MAGIC:
            raise self._source.error(
                f"the record {info.filename[:200]!r} has no header"
            )
        _, name_length, extra_length = LOCAL_HEADER.unpack(header)
        begin = start + LOCAL_HEADER.size + name_length + extra_length
        end = begin + info.compress_size
        if end > len(data):
            raise self._source.error(
                f"the record {info.filename[:200]!r} claims {info.compress_size:,} "
                f"bytes at {begin:,}; the file has {len(data):,}",
                hint="the file is truncated; download or copy it again",
            )
        return data[begin:end]

    def _decompress(self, info: zipfile.ZipInfo, packed: memoryview) -> memoryview:
        name = info.filename[:200]
        if not self._allow_deflate or info.compress_type != zipfile.ZIP_DEFLATED:
            raise self._source.error(
                f"the record {name!r} is compressed in a way that is not read",
                hint="torch.save does not compress; repack the archive without",
            )
        self._budget -= info.file_size
        if self._budget < 0:
            raise self._source.error(
                f"the archive claims to unpack to more than "
                f"{MAX_UNPACKED_BYTES:,} bytes"
            )
        try:
            # One byte more than promised tells a lie from the truth.
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            contents = unpacker.decompress(packed, info.file_size + 1)
        except zlib.error as error:
            raise self._source.error(
                f"the record {name!r} is damaged: {error}"
            ) from None
        if len(contents) != info.file_size:
            raise self._source.error(
                f"the record {name!r} unpacks to another size than {info.file_size:,}"
            )
        return memoryview(contents)


def open_zip(source: BytesSource, *, allow_deflate: bool = False) -> ZipRecords:
    """Read the archive's table of contents; no record is read yet."""
    try:
        with zipfile.ZipFile(_Reader(source.data)) as archive:
            infos = archive.infolist()
    except ZIP_ERRORS as error:
        raise source.error(
            f"the zip archive is damaged: {error}",
            hint="the file is truncated; download or copy it again",
        ) from error
    by_name = {info.filename: info for info in infos}
    if len(by_name) < len(infos):
        raise source.error("two records of the archive have the same name")
    # Records that overlap would let a small file cost the time of a large one.
    if sum(info.compress_size for info in infos) > len(source.data):
        raise source.error("the archive's records claim more bytes than the file has")
    return ZipRecords(source, by_name, allow_deflate=allow_deflate)


class _Reader(io.RawIOBase):
    """A file over a view, so that opening an archive does not copy it."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._position,
            io.SEEK_END: len(self._data),
        }
        position = base[whence] + offset
        if position < 0:
            raise ValueError("seek before the start of the file")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        chunk = self._data[self._position : self._position + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
