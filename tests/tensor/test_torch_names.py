"""Small functions that PyTorch's programs use, against PyTorch."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import ExchangeError, ShapeError, TetragradError

torch = pytest.importorskip("torch")

DTYPES = "float64 float16 bfloat16 int64 uint8 int8 bool complex64".split()


def assert_same(mine: Any, theirs: Any) -> None:
    assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    "shape", [(3, 3), (5, 2), (2, 5), (9, 2), (0, 3), (4, 1), (2, 2, 2)], ids=str
)
@pytest.mark.parametrize("wrap", [False, True])
def test_fill_diagonal(shape: tuple[int, ...], wrap: bool) -> None:
    theirs = torch.zeros(shape).fill_diagonal_(2, wrap)
    assert_same(Tensor.zeros(shape).fill_diagonal_(2, wrap), theirs)


def test_fill_diagonal_refuses_unequal_sizes() -> None:
    with pytest.raises(ShapeError, match=r"fill_diagonal_\(\) of shape \(2, 3, 2\)"):
        Tensor.zeros(2, 3, 2).fill_diagonal_(1)


@pytest.mark.parametrize("values", [[1, 2, 3], [1.5, 2.0], [True, False], [1j, 2]])
@pytest.mark.parametrize("count", [None, 0, 1, 4])
@pytest.mark.parametrize("increasing", [False, True])
def test_vander(values: list[Any], count: int | None, increasing: bool) -> None:
    theirs = torch.vander(torch.tensor(values), count, increasing)
    assert_same(tetragrad.vander(Tensor(values), count, increasing), theirs)


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_dtypes_combine(first: str, second: str) -> None:
    mine = getattr(tetragrad, first), getattr(tetragrad, second)
    theirs = getattr(torch, first), getattr(torch, second)
    assert tetragrad.can_cast(*mine) == torch.can_cast(*theirs)
    common = torch.promote_types(*theirs)
    assert f"torch.{tetragrad.promote_types(*mine)}" == str(common)


def test_limits() -> None:
    mine, theirs = tetragrad.finfo(tetragrad.bfloat16), torch.finfo(torch.bfloat16)
    for name in ("bits", "eps", "max", "min", "tiny", "smallest_normal"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert tetragrad.iinfo(tetragrad.int16).min == -(2**15)
    with pytest.raises(TetragradError, match="use iinfo"):
        tetragrad.finfo(tetragrad.int8)


def test_to_copies_when_asked() -> None:
    tensor = Tensor([1.0])
    for copied in (
        tensor.to(tensor.device, copy=True),
        tensor.to(tetragrad.float32, False, True),
    ):
        copied.add_(1)
    assert tensor.tolist() == [1.0]
    assert tensor.to(tetragrad.float32) is tensor


def test_data_has_no_gradient_and_can_be_replaced() -> None:
    tensor = Tensor([1.0, 2.0], requires_grad=True)
    tensor.data.mul_(3)
    assert tensor.tolist() == [3.0, 6.0]
    tensor.data = Tensor([5.0, 6.0])
    assert tensor.is_leaf
    assert tensor.requires_grad
    assert tensor.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int64", "bool"])
def test_random_fills_with_what_the_dtype_holds(dtype: str) -> None:
    tensor = Tensor.zeros(64, dtype=dtype).random_()
    assert bool((tensor >= 0).all())
    if dtype != "bool":
        assert len(set(tensor.tolist())) > 8
        assert set(Tensor.zeros(64, dtype=dtype).random_(3, 5).tolist()) == {3, 4}


def test_arrays_and_buffers_are_shared() -> None:
    source = np.arange(3, dtype=np.float32)
    shared = tetragrad.asarray(source)
    source[0] = 7
    assert shared.tolist() == [7.0, 1.0, 2.0]
    assert tetragrad.asarray(source, copy=True).tolist() == [7.0, 1.0, 2.0]
    with pytest.raises(ExchangeError):
        tetragrad.asarray([1, 2], copy=False)
    whole = array.array("i", [1, 2, 3, 4])
    part = tetragrad.frombuffer(whole, dtype="int32", count=2, offset=4)
    whole[1] = 9
    assert part.tolist() == [9, 3]
    assert tetragrad.frombuffer(b"\x01\x02", dtype="uint8").tolist() == [1, 2]
    with pytest.raises(ShapeError, match="of 2 bytes"):
        tetragrad.frombuffer(b"\x01\x02", dtype="int32")


def test_random_states() -> None:
    tetragrad.manual_seed(3)
    assert tetragrad.initial_seed() == 3
    with tetragrad.fork_rng():
        inside = tetragrad.rand(3)
    assert tetragrad.rand(3).equal(inside)
    assert tetragrad.seed() != tetragrad.seed()
