"""Files that torch writes, in both containers, read without torch."""

from __future__ import annotations

import collections
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetragrad.core import dtypes
from tetragrad.core.errors import FileFormatError, TetragradError
from tetragrad.core.settings import settings
from tetragrad.state.torch_checkpoint import read_torch

torch = pytest.importorskip("torch")

FORMS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "protocol 3": {"pickle_protocol": 3},
    "protocol 4": {"pickle_protocol": 4},
    "protocol 5": {"pickle_protocol": 5},
    "legacy protocol 2": {
        "pickle_protocol": 2,
        "_use_new_zipfile_serialization": False,
    },
}
TORCH_DTYPES = [dtype.name for dtype in dtypes.ALL]


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def loaded(content: bytes | Path) -> Any:
    return read_torch(content, np.array)


def expected_array(tensor: Any) -> np.ndarray:
    """A torch tensor's values; NumPy has no bfloat16, so bits are carried over."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    # A tensor of one element counts as contiguous whatever its stride, hence clone.
    elements = plain.clone(memory_format=torch.contiguous_format).reshape(-1)
    numpy_dtype = dtypes.to_dtype(plain.dtype).numpy
    content = elements.view(torch.uint8).numpy().tobytes() if len(elements) else b""
    return np.frombuffer(content, numpy_dtype).reshape(plain.shape)


def check_same(actual: Any, expected: Any) -> None:
    """Compare structures; tensors by shape, dtype and bits."""
    if isinstance(expected, torch.Tensor):
        array = expected_array(expected)
        assert actual.dtype == array.dtype
        assert actual.shape == array.shape
        assert actual.tobytes() == array.tobytes()
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            check_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert type(actual) is (list if isinstance(expected, list) else tuple)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            check_same(one, other)
    else:
        assert actual == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TORCH_DTYPES)
def test_every_dtype(name: str, form: str) -> None:
    values = torch.tensor([0, 1, 0, 1, 1, 1]).to(getattr(torch, name))
    check_same(loaded(saved({"x": values}, **FORMS[form]))["x"], values)


@pytest.mark.parametrize("form", FORMS)
def test_views_of_storages(form: str) -> None:
    table = torch.arange(24.0).reshape(4, 6)
    views = {
        "itself": table,
        "transposed": table.t(),
        "strided": table[1:, ::2],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "empty of a storage": table[:0],
        "last element": table[3, 5],
    }
    check_same(loaded(saved(views, **FORMS[form])), views)


def test_lazy_conjugates_and_negatives_are_applied() -> None:
    values = torch.tensor([1 + 2j, 3j])
    other = torch.tensor([5 + 6j])
    views = {"conjugate": values.conj(), "negative": other.conj().imag}
    check_same(loaded(saved(views)), views)


@pytest.mark.parametrize("form", FORMS)
def test_plain_values(form: str) -> None:
    values = {
        "none": None,
        "truth": [True, False],
        "integers": [0, 255, 256, 65536, -1, 2**31, -(2**40), 2**100],
        "floats": [0.1, 1e300, float("inf")],
        "texts": ["", "ä" * 300, "x" * 70000],
        "bytes": [b"\x00\xff", bytearray(b"abc")],
        "sets": [{1, 2}, frozenset(["a"])],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "keys": {None: 1, (1, 2): 2, 1.5: 3, b"k": 4, 7: 5},
        "complex": 1 + 2j,
        "ordered": collections.OrderedDict(b=1, a=2),
        "counter": collections.Counter([1, 1, 2]),
        "default": collections.defaultdict(list, {"a": [1]}),
    }
    check_same(loaded(saved(values, **FORMS[form])), values)


@pytest.mark.parametrize("form", FORMS)
def test_torch_and_numpy_values_become_plain(form: str) -> None:
    values = {
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "dtype": torch.bfloat16,
        "float": np.float64(3.5),
        "integer": np.int32(-2),
        "truth": np.bool_(True),
        "array": np.arange(6).reshape(2, 3).T,
        "big": np.arange(3, dtype=">i4"),
    }
    result = loaded(saved(values, **FORMS[form]))
    assert result["size"] == (2, 3)
    assert result["device"] == "cuda:1"
    assert result["dtype"] is dtypes.bfloat16
    assert [result["float"], result["integer"], result["truth"]] == [3.5, -2, True]
    assert result["array"].tolist() == values["array"].tolist()
    assert result["big"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_the_state_of_a_training_run(form: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "parameters": list(model.parameters()),
    }
    check_same(loaded(saved(state, **FORMS[form])), state)


def test_parameters_and_tensors_with_attributes() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "kept by torch, dropped here"
    tensor = torch.zeros(2)
    tensor.note = "also"
    check_same(loaded(saved([parameter, tensor])), [parameter, tensor])


def test_one_tensor_named_twice_is_one_object() -> None:
    shared = torch.ones(3)
    result = loaded(saved({"a": shared, "b": [shared]}))
    assert result["a"] is result["b"][0]


def test_files_without_checksums_are_read() -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        content = saved({"x": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(before)
    assert loaded(content)["x"].tolist() == [1, 1, 1]


class RunsCode:
    """What a hostile file would hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never be printed",)


@pytest.mark.parametrize("form", FORMS)
def test_code_is_refused_by_name(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileFormatError, match=r"builtin(s|__)\.print.*refused"):
        loaded(saved({"x": RunsCode()}, **FORMS[form]))
    assert capsys.readouterr().out == ""


def test_whole_models_are_refused_with_advice() -> None:
    with pytest.raises(FileFormatError, match="state_dict") as caught:
        loaded(saved(torch.nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in str(caught.value)


def test_torchscript_is_refused() -> None:
    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    with pytest.raises(FileFormatError, match="TorchScript"):
        loaded(buffer.getvalue())


def test_sparse_tensors_are_refused_by_name() -> None:
    with pytest.raises(FileFormatError, match="_rebuild_sparse_tensor"):
        loaded(saved(torch.eye(2).to_sparse()))


def repacked(content: bytes, **changes: Any) -> bytes:
    """The archive with records replaced, or with another compression."""
    compression = changes.pop("compression", zipfile.ZIP_STORED)
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", compression) as new,
    ):
        for name in old.namelist():
            last = name.rpartition("/")[2]
            new.writestr(name, changes.get(last, old.read(name)))
    return buffer.getvalue()


def test_big_endian_files_are_refused() -> None:
    content = repacked(saved(torch.ones(2)), byteorder=b"big")
    with pytest.raises(FileFormatError, match="byte order"):
        loaded(content)
    legacy = saved(torch.ones(2), _use_new_zipfile_serialization=False)
    swapped = legacy.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    assert swapped != legacy
    with pytest.raises(FileFormatError, match="byte order"):
        loaded(swapped)


def test_compressed_archives_are_refused() -> None:
    content = repacked(saved(torch.ones(2)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(FileFormatError, match="compressed"):
        loaded(content)


def test_records_that_overlap_are_refused() -> None:
    """Many directory entries for one large record would each cost its checksum."""
    content = saved([torch.zeros(1000), torch.ones(1000)])
    changed = bytearray(content)
    # A directory entry is 46 bytes and a name; its sizes are 20 and 24 bytes in.
    entry = changed.rindex(b"archive/data/1") - 46
    changed[entry + 20 : entry + 28] = len(content).to_bytes(4, "little") * 2
    with pytest.raises(FileFormatError, match="more bytes than the file has"):
        loaded(bytes(changed))


def test_a_flipped_bit_in_the_elements_is_noticed() -> None:
    content = bytearray(saved(torch.full((64,), 7.0)))
    at = content.index(np.full(64, 7.0, np.float32).tobytes())
    content[at + 5] ^= 1
    with pytest.raises(FileFormatError, match="checksum"):
        loaded(bytes(content))


def test_a_storage_of_the_wrong_size_is_refused() -> None:
    content = repacked(saved(torch.ones(4)), **{"0": b"\0" * 12})
    with pytest.raises(FileFormatError, match="should have 4 elements"):
        loaded(content)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_truncation_is_an_error(form: str) -> None:
    content = saved({"a": torch.ones(3), "b": [1, 2]}, **FORMS[form])
    for length in range(0, len(content) - 1, 7):
        with pytest.raises(TetragradError):
            loaded(content[:length])


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_random_damage_gives_values_or_a_clear_error(form: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    content = saved({"m": model.state_dict(), "n": np.float64(1)}, **FORMS[form])
    rng = random.Random(2)
    for _ in range(1500):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            loaded(bytes(changed))
        except TetragradError as error:
            assert str(error)


def test_random_damage_to_the_pickle_alone() -> None:
    """In the archive a checksum guards the pickle; here only the machine does."""
    content = saved({"a": torch.ones(2, 2).t(), "b": np.arange(3)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = archive.read("archive/data.pkl")
    rng = random.Random(3)
    for _ in range(1500):
        changed = bytearray(pickled)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        try:
            loaded(repacked(content, **{"data.pkl": bytes(changed)}))
        except TetragradError as error:
            assert str(error)


@pytest.mark.skipif(not settings().data, reason="TETRAGRAD_DATA is not set")
@pytest.mark.parametrize(
    "path",
    [
        "gen/taef2_encoder.pth",
        "gen/taef2_decoder.pth",
        "vision/blazeface.pth",
        "vision/cifar10_resnet20-12fca82f.th",
    ],
)
def test_real_checkpoints(path: str) -> None:
    place = Path(settings().data) / path
    expected = torch.load(place, map_location="cpu", weights_only=True)
    check_same(loaded(place), expected)
