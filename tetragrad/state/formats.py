"""Tell the formats of files apart by how they start.

Nothing else is here, so that looking at a file does not import its reader.
"""

from __future__ import annotations

from enum import Enum

NPY_MAGIC = b"\x93NUMPY"
GGUF_MAGIC = b"GGUF"
ZIP_MAGIC = b"PK\x03\x04"

LEGACY_TORCH_NUMBER = 0x1950A86A20F9469CFC6C
#: How a pickle of protocol 2 spells the number with which old torch files start.
LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\x0a" + LEGACY_TORCH_NUMBER.to_bytes(10, "little")

SAFETENSORS_LENGTH_BYTES = 8
MAX_SAFETENSORS_HEADER = 100_000_000


class Format(Enum):
    """What a file is, as far as its first bytes tell."""

    SAFETENSORS = "safetensors"
    ZIP = "a zip archive"
    LEGACY_TORCH = "a torch checkpoint from before 1.6"
    NPY = ".npy"
    GGUF = "GGUF"
    UNKNOWN = "unknown"


def detect(data: memoryview) -> Format:
    """The format of a file that holds ``data``."""
    magics = {
        LEGACY_TORCH_MAGIC: Format.LEGACY_TORCH,
        NPY_MAGIC: Format.NPY,
        ZIP_MAGIC: Format.ZIP,
        GGUF_MAGIC: Format.GGUF,
    }
    for magic, format in magics.items():
        if data[: len(magic)] == magic:
            return format
    return Format.SAFETENSORS if _starts_with_header(data) else Format.UNKNOWN


def _starts_with_header(data: memoryview) -> bool:
    """Whether the first bytes are a length and a JSON object."""
    if len(data) <= SAFETENSORS_LENGTH_BYTES:
        return False
    length = int.from_bytes(data[:SAFETENSORS_LENGTH_BYTES], "little")
    starts_object = data[SAFETENSORS_LENGTH_BYTES] == ord("{")
    return starts_object and length <= MAX_SAFETENSORS_HEADER


def describe(data: memoryview) -> tuple[str, str]:
    """What a file of no known format seems to be, and what to do about it."""
    start = bytes(data[:64]).lstrip().lower()
    if not len(data):
        return "the file is empty", "download or copy it again"
    if start.startswith(b"version https://git-lfs"):
        return "this is Git LFS's pointer to a file", "fetch the file: git lfs pull"
    if start.startswith((b"<!doctype", b"<html")):
        return "this is a web page", "download the file itself, not the page about it"
    if start.startswith(b"\x80"):
        return (
            "this seems to be a Python pickle, which could run code",
            "where you trust it, read it with pickle and save its arrays anew",
        )
    return (
        f"the format is unknown: the file starts with {bytes(data[:8])!r}",
        "known formats: safetensors, torch checkpoints, GGUF, .npy and .npz",
    )
