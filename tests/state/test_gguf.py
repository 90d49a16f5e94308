"""GGUF files: their metadata, every format of blocks, real models, and damage."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tetragrad
from tetragrad.core.errors import FileFormatError
from tetragrad.core.settings import settings
from tetragrad.state import load_gguf
from tetragrad.state.gguf import open_gguf
from tetragrad.state.quantised_blocks import BLOCK_FORMATS


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def contents(kind: int, sizes: list[int], elements: bytes, version: int = 3) -> bytes:
    """A file with one tensor, ``w``, and some metadata."""
    values = [
        text("general.name") + struct.pack("<I", 8) + text("tiny"),
        text("general.alignment") + struct.pack("<II", 4, 64),
        text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.5, 1.0, -2.0),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("is_small") + struct.pack("<IB", 7, 1),
    ]
    header = b"GGUF" + struct.pack("<IQQ", version, 1, len(values)) + b"".join(values)
    header += text("w") + struct.pack("<I", len(sizes))
    header += struct.pack(f"<{len(sizes)}QIQ", *sizes, kind, 0)
    return header + b"\0" * (-len(header) % 64) + elements


def scale(block: bytes, begin: int) -> float:
    return float(np.frombuffer(block[begin : begin + 2], np.float16)[0])


def small(block: bytes, place: int, begin: int) -> int:
    """The integer of 4 bits of one of 32 elements."""
    byte = block[begin + place % 16]
    return byte >> 4 if place >= 16 else byte & 15


def fifth(block: bytes, place: int, begin: int) -> int:
    return 16 * (int.from_bytes(block[begin : begin + 4], "little") >> place & 1)


def parts_of_six_bits(block: bytes, run: int) -> tuple[int, int]:
    """The scale and the minimum of a run of 32 elements."""
    packed = block[4:16]
    if run < 4:
        return packed[run] & 63, packed[run + 4] & 63
    low = packed[run + 4]
    return (
        low & 15 | packed[run - 4] >> 6 << 4,
        low >> 4 | packed[run] >> 6 << 4,
    )


def of_eighths(block: bytes, place: int, begin: int, has_fifth: bool) -> float:
    run, inside = place // 32, place % 32
    byte = block[begin + run // 2 * 32 + inside]
    number = byte >> 4 if run % 2 else byte & 15
    if has_fifth:
        number += 16 * (block[16 + inside] >> run & 1)
    factor, least = parts_of_six_bits(block, run)
    return scale(block, 0) * factor * number - scale(block, 2) * least


def of_six_bits(block: bytes, place: int) -> float:
    half, inside = place // 128, place % 128
    run, lane = inside // 32, inside % 32
    low = block[half * 64 + run % 2 * 32 + lane] >> (4 if run > 1 else 0) & 15
    high = block[128 + half * 32 + lane] >> 2 * run & 3
    factor = struct.unpack("b", block[192 + place // 16 : 193 + place // 16])[0]
    return scale(block, 208) * factor * (low + 16 * high - 32)


#: What the element at a place of a block is, one by one.
MEANING: dict[str, Callable[[bytes, int], float]] = {
    "Q4_0": lambda b, i: scale(b, 0) * (small(b, i, 2) - 8),
    "Q4_1": lambda b, i: scale(b, 0) * small(b, i, 4) + scale(b, 2),
    "Q5_0": lambda b, i: scale(b, 0) * (small(b, i, 6) + fifth(b, i, 2) - 16),
    "Q5_1": lambda b, i: scale(b, 0) * (small(b, i, 8) + fifth(b, i, 4)) + scale(b, 2),
    "Q8_0": lambda b, i: scale(b, 0) * struct.unpack("b", b[2 + i : 3 + i])[0],
    "Q4_K": lambda b, i: of_eighths(b, i, 16, has_fifth=False),
    "Q5_K": lambda b, i: of_eighths(b, i, 48, has_fifth=True),
    "Q6_K": of_six_bits,
}


@pytest.mark.parametrize(
    "kind", BLOCK_FORMATS, ids=lambda kind: BLOCK_FORMATS[kind].name
)
def test_blocks_mean_what_they_say(kind: int) -> None:
    blocks = BLOCK_FORMATS[kind]
    random = np.random.default_rng(kind)
    raw = random.integers(0, 256, (6, blocks.nbytes), dtype=np.uint8)
    for begin in {0, 2, 208} if blocks.elements == 256 else {0, 2}:
        if begin < blocks.nbytes - 1:  # A scale may stand there: it shall be finite.
            raw[:, begin + 1] &= 0xBB
    elements = raw.tobytes()
    found = load_gguf(contents(kind, [blocks.elements * 2, 3], elements))["w"]
    expected = [
        MEANING[blocks.name](row.tobytes(), place)
        for row in raw
        for place in range(blocks.elements)
    ]
    assert found.shape == (3, blocks.elements * 2)
    assert found.dtype is tetragrad.float32
    np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-5, atol=1e-4)


def test_metadata_and_plain_elements() -> None:
    numbers = np.arange(6, dtype=np.float16)
    for version in (2, 3):
        file = open_gguf(contents(1, [3, 2], numbers.tobytes(), version))
        assert file.metadata["general.name"] == "tiny"
        assert file.metadata["scores"] == [0.5, 1.0, -2.0]
        assert file.metadata["tokens"] == ["a", "bc"]
        assert file.metadata["is_small"] is True
        assert file["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert file["w"].dtype == np.float16


def test_a_real_model_in_three_widths() -> None:
    if not settings().data:
        pytest.skip("TETRAGRAD_DATA is not set")
    folder = Path(settings().data) / "llm"
    exact = tetragrad.load(folder / "babyllama.F16.gguf")
    for name, bits in (("Q8_0", 8), ("Q4_0", 4)):
        near = tetragrad.load(folder / f"babyllama.{name}.gguf")
        assert list(near) == list(exact)
        for key, weight in exact.items():
            blocks = weight.float().numpy().reshape(-1, 32)
            step = np.abs(blocks).max(1, keepdims=True) / 2.0 ** (bits - 1)
            error = np.abs(near[key].numpy().reshape(-1, 32) - blocks)
            assert (error <= 1.01 * step + 1e-6).all()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (contents(1, [3, 2], b"\0" * 11), "ends at byte .* of"),
        (contents(10, [256], b"\0" * 84), "quantised by type 10"),
        (contents(2, [33], b"\0" * 36), "no whole blocks of 32"),
        (contents(1, [1] * 5, b"\0\0"), "has 5 dimensions"),
        (contents(1, [1], b"\0\0", version=1), "GGUF of version 1"),
        (contents(1, [1], b"\0\0")[:60], "the header needs"),
        (b"GGUF", "the header needs"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "the header needs"),
    ],
)
def test_damaged_files_say_what_is_wrong(damaged: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load_gguf(damaged)


def test_files_of_other_kinds_are_named() -> None:
    kinds = {
        b"": "is empty",
        b"version https://git-lfs.github.com/spec/v1": "Git LFS",
        b"\n<!DOCTYPE html>": "a web page",
        b"\x80\x04\x95\x00": "a Python pickle",
        b"text": "GGUF",
    }
    for start, message in kinds.items():
        with pytest.raises(FileFormatError, match=message):
            tetragrad.load(start)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="one of the files in it"):
        tetragrad.load(os.fspath(tmp_path))
