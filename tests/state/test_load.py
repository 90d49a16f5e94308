"""``load`` looks at the contents; NumPy files are checked like all others."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetragrad import state
from tetragrad.core.errors import DataError, DTypeError, FileFormatError, TetragradError
from tetragrad.state.bytes_source import BytesSource, open_source
from tetragrad.state.numpy_files import read_npy, read_npz


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz_bytes(save: Any, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def source(content: bytes) -> BytesSource:
    return open_source(content)


def npy_with_header(header: str, elements: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + elements


def test_the_contents_decide_not_the_name(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "misleading.pt"
    state.save_safetensors({"a": array}, path)
    assert np.array_equal(state.load(path)["a"].numpy(), array)
    path.write_bytes(npy_bytes(array))
    assert np.array_equal(state.load(path).numpy(), array)
    path.write_bytes(npz_bytes(np.savez_compressed, a=array))
    assert np.array_equal(state.load(path)["a"].numpy(), array)
    torch = pytest.importorskip("torch")
    for is_zip in (True, False):
        values = {"a": torch.from_numpy(array)}
        torch.save(values, path, _use_new_zipfile_serialization=is_zip)
        assert np.array_equal(state.load(path)["a"].numpy(), array)


def test_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    state.save_safetensors({"a": np.ones(3)}, path)
    tensors = state.load_safetensors(path)
    state.save_safetensors({"a": np.zeros(3)}, path)
    assert tensors["a"].numpy().tolist() == [1, 1, 1]


def test_unknown_formats_are_refused() -> None:
    for content in (b"", b"GIF89a not weights", b"\x00" * 100):
        with pytest.raises(FileFormatError, match=r"format is unknown|is empty"):
            state.load(content)
    with pytest.raises(DataError, match="no file"):
        state.load("absent")


def test_zip_archives_of_something_else_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "text")
    with pytest.raises(FileFormatError, match="archive of something else"):
        state.load(buffer.getvalue())


def test_only_tensors_can_be_saved_as_tensors(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="'a' is a list"):
        state.save_safetensors({"a": [1, 2]}, tmp_path / "file")  # type: ignore[dict-item]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save: Any) -> None:
    arrays = {"a": np.arange(3), "b": np.ones((2, 2), np.float16), "s": np.array(1)}
    result = read_npz(source(npz_bytes(save, **arrays)))
    assert list(result) == list(arrays)
    for name, array in arrays.items():
        assert result[name].dtype == array.dtype
        assert np.array_equal(result[name], array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_orders_and_byte_orders(order: Any) -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    content = npy_bytes(np.asarray(array, order=order))
    assert np.array_equal(read_npy(source(content)), array)


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(FileFormatError, match="not plain numbers"):
        read_npy(source(npy_bytes(np.array([{}], dtype=object))))


NPY = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(3,)", "needs 12 bytes"),
        ("(-1,)", "plain array"),
        ("(2**70,)", "plain array"),
        ("(" + "9" * 4000 + ",)", "impossible"),
        (f"({2**70},)", "impossible"),
        (f"({2**40}, {2**40}, 0)", "impossible"),
        ("(1.5,)", "plain array"),
        ("(" + "1" * 4000 + "x)", "plain array"),
    ],
)
def test_npy_headers_that_lie_are_refused(shape: str, message: str) -> None:
    content = npy_with_header(NPY % shape, b"\0" * 8)
    with pytest.raises(FileFormatError, match=message):
        read_npy(source(content))


def test_an_archive_cannot_claim_to_unpack_to_terabytes() -> None:
    content = bytearray(npz_bytes(np.savez_compressed, a=np.zeros(1000)))
    # The directory's entry is the last; its sizes are 20 and 24 bytes in.
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    with pytest.raises(FileFormatError, match="unpack"):
        read_npz(source(bytes(content)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_random_damage_gives_arrays_or_a_clear_error(save: Any) -> None:
    content = npz_bytes(save, a=np.arange(4), b=np.ones(2))
    rng = random.Random(4)
    for _ in range(1000):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            read_npz(source(bytes(changed)))
        except TetragradError as error:
            assert str(error)


def test_random_damage_to_npy() -> None:
    content = npy_bytes(np.arange(4.0).reshape(2, 2))
    rng = random.Random(5)
    for _ in range(1500):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            read_npy(source(bytes(changed)))
        except TetragradError as error:
            assert str(error)
