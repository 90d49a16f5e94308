"""The safetensors reader and writer, against the format and its own package."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from tetragrad.core.errors import DataError, DTypeError, FileFormatError, TetragradError
from tetragrad.core.settings import settings as tetragrad_settings
from tetragrad.state.safetensors import (
    DTYPE_BY_CODE,
    MAX_HEADER_BYTES,
    open_safetensors,
    write_safetensors,
)

DTYPES = sorted(DTYPE_BY_CODE.items())
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def file_bytes(header: Any, elements: bytes = b"") -> bytes:
    """A file with any header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + elements


def entry(dtype: str, shape: list[Any], offsets: list[Any]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def raw(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Named arrays of any storable dtype, made of arbitrary bits."""
    result = {}
    for name in draw(st.lists(names, max_size=5, unique=True)):
        _, dtype = draw(st.sampled_from(DTYPES))
        shape = draw(hypothesis_numpy.array_shapes(min_dims=0, min_side=0, max_side=4))
        count = int(np.prod(shape))
        if dtype.is_bool:
            bits = draw(st.lists(st.booleans(), min_size=count, max_size=count))
            result[name] = np.array(bits, dtype=bool).reshape(shape)
        else:
            nbytes = count * dtype.itemsize
            content = draw(st.binary(min_size=nbytes, max_size=nbytes))
            result[name] = np.frombuffer(content, dtype.numpy).reshape(shape)
    return result


@settings(max_examples=60, deadline=None)
@given(arrays=tensors(), metadata=st.dictionaries(names, names, max_size=3))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, np.ndarray],
    metadata: dict[str, str],
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    write_safetensors(arrays, path, metadata)
    file = open_safetensors(path)
    assert file.metadata == metadata
    assert set(file) == set(arrays)
    for name, array in arrays.items():
        assert file[name].dtype == array.dtype
        assert file[name].shape == array.shape
        assert raw(file[name]) == raw(array)


@settings(max_examples=40, deadline=None)
@given(arrays=tensors())
def test_the_safetensors_package_reads_what_we_write(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    package = pytest.importorskip("safetensors")
    path = tmp_path_factory.getbasetemp() / "ours.safetensors"
    write_safetensors(arrays, path)
    stored = dict(package.deserialize(path.read_bytes()))
    assert set(stored) == set(arrays)
    for name, array in arrays.items():
        assert DTYPE_BY_CODE[stored[name]["dtype"]].numpy == array.dtype
        assert stored[name]["shape"] == list(array.shape)
        assert bytes(stored[name]["data"]) == raw(array)


def test_we_read_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    values = {
        "weight": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "small": torch.arange(4).to(torch.float8_e4m3fn),
        "mask": torch.tensor([True, False]),
        "count": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
    }
    save_file(values, tmp_path / "theirs.safetensors", {"format": "pt"})
    file = open_safetensors(tmp_path / "theirs.safetensors")
    assert file.metadata == {"format": "pt"}
    assert file["weight"].astype(np.float32).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert file["small"].astype(np.float32).tolist() == [0, 1, 2, 3]
    assert file["mask"].tolist() == [True, False]
    assert file["count"].shape == ()
    assert file["count"] == 7
    assert file["empty"].shape == (0, 3)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.zeros(3, np.int8), "a": np.ones((2, 2), np.float64)}
    reordered = dict(reversed(arrays.items()))
    write_safetensors(arrays, tmp_path / "one")
    write_safetensors(reordered, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_elements_are_aligned(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(3, np.int8), "b": np.ones(2, np.float64)}
    write_safetensors(arrays, tmp_path / "file")
    file = open_safetensors(tmp_path / "file")
    assert all(file[name].flags.aligned for name in file)


def test_views_and_other_byte_orders_are_written_by_value(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {"t": table.T, "s": table[::2, 1:], "big": table.astype(">f4")}
    write_safetensors(arrays, tmp_path / "file")
    file = open_safetensors(tmp_path / "file")
    for name, array in arrays.items():
        assert np.array_equal(file[name], array)


def test_arrays_are_read_only_views(tmp_path: Path) -> None:
    write_safetensors({"a": np.zeros(2)}, tmp_path / "file")
    array = open_safetensors(tmp_path / "file")["a"]
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0


FOUR = entry("F32", [1], [0, 4])
BAD_HEADERS: dict[str, tuple[Any, bytes, str]] = {
    "not json": (b"{nonsense", b"", "not valid JSON"),
    "not an object": (b"[1]", b"", "starts with"),
    "not utf-8": (b'{"\xff": 1}', b"", "not valid JSON"),
    "too deep": (b'{"a":' + b"[" * 100_000, b"", "not valid JSON"),
    "huge number": (b'{"a":' + b"9" * 5000 + b"}", b"", "not valid JSON"),
    "no entry": ({"a": 3}, b"", "exactly dtype, shape and data_offsets"),
    "missing field": ({"a": {"dtype": "F32"}}, b"", "exactly"),
    "extra field": ({"a": FOUR | {"x": 1}}, b"1234", "exactly"),
    "unknown dtype": ({"a": entry("F31", [1], [0, 4])}, b"1234", "unknown dtype"),
    "dtype not text": ({"a": entry([], [1], [0, 4])}, b"1234", "unknown dtype"),  # type: ignore[arg-type]
    "negative size": ({"a": entry("F32", [-1], [0, 4])}, b"1234", "whole numbers"),
    "fraction": ({"a": entry("F32", [1.0], [0, 4])}, b"1234", "whole numbers"),
    "truth value": ({"a": entry("F32", [True], [0, 4])}, b"1234", "whole numbers"),
    "three offsets": ({"a": entry("F32", [1], [0, 2, 4])}, b"1234", "begin <= end"),
    "backwards": ({"a": entry("F32", [1], [4, 0])}, b"1234", "begin <= end"),
    "wrong size": ({"a": entry("F32", [2], [0, 4])}, b"1234", "needs 8 bytes"),
    "overflow": ({"a": entry("U8", [2**32, 2**32], [0, 0])}, b"", "impossible"),
    "overflow with 0": (
        {"a": entry("U8", [0, 2**40, 2**40], [0, 0])},
        b"",
        "impossible",
    ),
    "many dimensions": ({"a": entry("U8", [1] * 99, [0, 1])}, b"1", "impossible"),
    "past the end": ({"a": FOUR}, b"12", "ends at byte 4"),
    "hole at start": ({"a": entry("F32", [1], [1, 5])}, b"12345", "hole at 0"),
    "overlap": ({"a": FOUR, "b": entry("F32", [1], [2, 6])}, b"123456", "overlaps"),
    "same place": ({"a": FOUR, "b": FOUR}, b"1234", "overlaps"),
    "bytes left": ({"a": FOUR}, b"12345", "5 bytes follow"),
    "duplicate": (b'{"a": 1, "a": 2}', b"", "'a' 2 times"),
    "metadata not object": ({"__metadata__": 1}, b"", "not an object"),
    "metadata not text": ({"__metadata__": {"k": 1}}, b"", "must be a string"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_is_refused(case: str) -> None:
    header, elements, message = BAD_HEADERS[case]
    with pytest.raises(FileFormatError, match=message):
        open_safetensors(file_bytes(header, elements))


def test_errors_name_file_tensor_and_values(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(file_bytes({"layer.bias": entry("F32", [3], [0, 4])}, b"1234"))
    with pytest.raises(FileFormatError) as caught:
        open_safetensors(path)
    for part in ("weights.safetensors", "layer.bias", "(3,)", "12 bytes", "[0, 4]"):
        assert part in str(caught.value)


def test_the_length_of_the_header_is_checked() -> None:
    for length in (MAX_HEADER_BYTES + 1, 2**64 - 1):
        with pytest.raises(FileFormatError, match="limit"):
            open_safetensors(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(FileFormatError, match="only 2 follow"):
        open_safetensors((3).to_bytes(8, "little") + b"{}")
    with pytest.raises(FileFormatError, match="8-byte length"):
        open_safetensors(b"1234")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*absent\.safetensors"):
        open_safetensors(tmp_path / "absent.safetensors")
    with pytest.raises(DataError, match="cannot read"):
        open_safetensors(tmp_path)


def test_what_cannot_be_written_is_refused_before_the_file_changes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    write_safetensors({"a": np.zeros(1)}, path)
    before = path.read_bytes()
    with pytest.raises(DTypeError, match="complex128"):
        write_safetensors({"a": np.zeros(1, np.complex128)}, path)
    with pytest.raises(DTypeError, match="no tetragrad equivalent"):
        write_safetensors({"a": np.array(["text"])}, path)
    with pytest.raises(FileFormatError, match="cannot be the name"):
        write_safetensors({"__metadata__": np.zeros(1)}, path)
    with pytest.raises(FileFormatError, match="maps strings to strings"):
        write_safetensors({}, path, {"epoch": 3})  # type: ignore[dict-item]
    with pytest.raises(FileFormatError, match="not valid Unicode"):
        write_safetensors({"\ud800": np.zeros(1)}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert a few bytes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        action = rng.randrange(4)
        if action == 0 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif action == 1:
            del changed[at : at + rng.randrange(1, 9)]
        elif action == 2:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif at < len(changed):
            changed[at] = rng.choice(b'0123456789-[]{}",:')
    return bytes(changed)


def test_random_damage_gives_arrays_or_a_clear_error(tmp_path: Path) -> None:
    arrays = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.int8)}
    write_safetensors(arrays, tmp_path / "file", {"k": "v"})
    content = (tmp_path / "file").read_bytes()
    rng = random.Random(1)
    for _ in range(3000):
        try:
            dict(open_safetensors(mutate(content, rng)))
        except TetragradError as error:
            assert str(error)


@pytest.mark.skipif(not tetragrad_settings().data, reason="TETRAGRAD_DATA is not set")
@pytest.mark.parametrize(
    "path", ["llm/babyllama.hf.safetensors", "speech/silero_vad_16k.safetensors"]
)
def test_real_files(path: str) -> None:
    package = pytest.importorskip("safetensors.numpy")
    place = Path(tetragrad_settings().data) / path
    expected = package.load_file(place)
    file = open_safetensors(place)
    assert set(file) == set(expected)
    for name, array in expected.items():
        assert np.array_equal(file[name], array)
