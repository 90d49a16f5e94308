"""IDX files, honest and hostile."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from tetragrad.core.errors import DataError, FileFormatError, TetragradError
from tetragrad.data.idx import ELEMENT_TYPES, parse_idx, read_idx

TYPE_CODES = {dtype: code for code, dtype in ELEMENT_TYPES.items()}
stored_arrays = st.sampled_from(list(TYPE_CODES)).flatmap(
    lambda dtype: hypothesis_numpy.arrays(
        dtype, hypothesis_numpy.array_shapes(min_dims=0, min_side=0, max_side=4)
    )
)


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, TYPE_CODES[array.dtype], array.ndim]) + sizes + array.tobytes()


@settings(max_examples=60, deadline=None)
@given(stored_arrays, st.booleans())
def test_round_trip(array: np.ndarray, is_compressed: bool) -> None:
    content = idx_bytes(array)
    result = parse_idx(gzip.compress(content) if is_compressed else content, "file")
    assert result.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(result, array)


IMAGES = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "two zero bytes"),
    "other file": (b"\x89PNG\r\n", "two zero bytes"),
    "element type": (b"\0\0\x0a\x01\0\0\0\x01a", "no element type 0xa"),
    "many dimensions": (b"\0\0\x08\xff", "255 dimensions"),
    "sizes cut off": (IMAGES[:9], "cut off after 9 bytes"),
    "elements cut off": (IMAGES[:-1], "only 11 follow"),
    "elements left": (IMAGES + b"x", "at least 13 follow"),
    "huge size": (b"\0\0\x0e\x02" + b"\xff" * 8, "needs"),
    "huge and empty": (b"\0\0\x08\x04" + b"\xff" * 12 + b"\0" * 4, "shape"),
    "compressed, cut off": (gzip.compress(IMAGES)[:-12], "only"),
    "compressed, longer": (gzip.compress(IMAGES + b"x"), "at least 13"),
    "compressed, other": (gzip.compress(b"text"), "two zero bytes"),
    "compressed, damaged": (b"\x1f\x8b\x08\x00" + b"\xff" * 30, "gzip archive"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused(case: str) -> None:
    content, message = BAD_FILES[case]
    with pytest.raises(FileFormatError, match=message):
        parse_idx(content, "file")


def test_an_archive_is_not_unpacked_beyond_its_header() -> None:
    endless = gzip.compress(IMAGES + bytes(50_000_000))
    with pytest.raises(FileFormatError, match="at least"):
        parse_idx(endless, "file")


def test_files_are_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(IMAGES))
    assert read_idx(path).shape == (3, 2, 2)
    with pytest.raises(DataError, match="absent"):
        read_idx(tmp_path / "absent")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_random_damage_gives_arrays_or_a_clear_error(pack: Any) -> None:
    content = pack(IMAGES)
    rng = random.Random(6)
    for _ in range(2000):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        del changed[rng.randrange(len(changed)) :: rng.choice([1, 10**6])]
        try:
            parse_idx(bytes(changed), "file")
        except TetragradError as error:
            assert str(error)
