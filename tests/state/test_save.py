"""``tetragrad.save`` writes what PyTorch reads; ``load`` reads it back."""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import DataError, DTypeError, FileFormatError

PLAIN = {
    "none": None,
    "flags": [True, False],
    "numbers": (0, -1, 2**31, -(2**31), -(2**70), 1.5, float("inf")),
    "texts": ["", "naïve \N{SNOWMAN}", b"\x00\xff"],
    "ordered": OrderedDict([("b", 1), ("a", ())]),
    3: {"nested": [[], {}]},
}
DTYPES = "bool int8 uint8 int16 int32 int64 float16 bfloat16 float32 float64 complex64"


def saved(value: Any) -> io.BytesIO:
    file = io.BytesIO()
    tetragrad.save(value, file)
    return file


def test_plain_values_come_back() -> None:
    assert tetragrad.load(saved(PLAIN)) == PLAIN


@pytest.mark.parametrize("dtype", [*DTYPES.split(), "uint16", "float8_e4m3fn"])
def test_tensors_come_back(dtype: str) -> None:
    tensor = Tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    scalar, empty = tensor[1, 1], tensor[:0]
    loaded = tetragrad.load(saved([tensor, scalar, empty, tensor.T]))
    for mine, theirs in zip(loaded, [tensor, scalar, empty, tensor.T], strict=True):
        assert mine.dtype is theirs.dtype
        assert mine.shape == theirs.shape
        assert mine.read().tobytes() == theirs.read().tobytes()


@pytest.mark.parametrize("dtype", [*DTYPES.split(), "uint16", "float8_e4m3fn"])
def test_torch_reads_it(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = Tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    file = saved({"weights": tensor, "scalar": tensor[0, 1]})
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert str(loaded["weights"].dtype) == f"torch.{dtype}"
    wanted = tensor.to("complex64").tolist()
    assert loaded["weights"].to(torch.complex64).tolist() == wanted
    assert loaded["scalar"].shape == ()


def test_torch_reads_plain_values(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tetragrad.save(PLAIN, tmp_path / "plain.pt")
    assert torch.load(tmp_path / "plain.pt", weights_only=True) == PLAIN
    tetragrad.save({"w": Tensor([1.0])}, tmp_path / "mapped.pt")
    mapped = torch.load(tmp_path / "mapped.pt", weights_only=True, mmap=True)
    assert mapped["w"].tolist() == [1.0]


def test_training_goes_on_in_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    adam = optim.Adam(model.parameters(), lr=0.01)
    model(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    adam.step()
    states = {"model": model.state_dict(), "optimizer": adam.state_dict()}
    tetragrad.save(states, tmp_path / "run.pt")
    loaded = torch.load(tmp_path / "run.pt", weights_only=True)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs.load_state_dict(loaded["model"])
    their_adam = torch.optim.Adam(theirs.parameters(), lr=0.01)
    their_adam.load_state_dict(loaded["optimizer"])
    ours = tetragrad.load(tmp_path / "run.pt", map_location="cpu")
    model.load_state_dict(ours["model"])
    adam.load_state_dict(ours["optimizer"])
    assert theirs[0].weight.tolist() == model[0].weight.tolist()


def test_equal_elements_are_stored_once() -> None:
    weights = Tensor.zeros(10_000)
    once = saved({"first": weights}).getbuffer().nbytes
    twice = saved({"first": weights, "second": weights}).getbuffer().nbytes
    assert twice < once + 1000


def test_safetensors_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tetragrad.save({"w": Tensor([1.0])}, path)
    assert tetragrad.load(path)["w"].tolist() == [1.0]
    with pytest.raises(DTypeError, match="'step' is a int"):
        tetragrad.save({"step": 1}, path)
    with pytest.raises(DTypeError, match="not a Tensor"):
        tetragrad.save(Tensor([1.0]), path)


def test_what_needs_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="cannot save a Linear") as caught:
        tetragrad.save({"model": [nn.Linear(1, 1)]}, tmp_path / "model.pt")
    assert "the value['model'][0]" in str(caught.value)
    assert "state_dict()" in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DTypeError, match=r"tetragrad\.tensor\(array\)"):
        saved(np.zeros(2))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(DTypeError, match="levels deep"):
        saved(endless)


def test_errors_of_loading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        tetragrad.load(tmp_path / "absent.pt")
    with pytest.raises(FileFormatError, match="format is unknown"):
        tetragrad.load(io.BytesIO(b"not a checkpoint"))
    with pytest.raises(DTypeError, match="map_location"):
        tetragrad.load(saved(1), map_location=lambda storage, place: storage)
