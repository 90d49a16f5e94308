"""What a user sees and converts: printing as PyTorch does, NumPy, Python numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

SHOWN = [
    [1.0, 2.0],
    [1.5, -2.25],
    [[1, 2], [30, -4]],
    [True, False],
    3.5,
    7,
    True,
    [],
    [1e10, 1.0],
    [1e-5, 1.0],
    [0.00001234],
    [123456.7, 1.5],
    [math.nan, math.inf, -math.inf, 1.0],
    [math.nan, 1.5],
    [[[1.0, 2.0]], [[3.0, 4.0]]],
    [0.0, -0.0],
    list(range(50)),
    [x / 7 for x in range(50)],
]


@pytest.mark.parametrize("data", SHOWN, ids=lambda value: str(value)[:30])
def test_printed_as_pytorch_prints(data: object) -> None:
    torch = pytest.importorskip("torch")
    assert repr(Tensor(data)) == repr(torch.tensor(data))


def test_printed_with_dtype_gradient_and_summary() -> None:
    torch = pytest.importorskip("torch")
    half = repr(torch.tensor([1.5], dtype=torch.float16)).replace("torch", "tetragrad")
    assert repr(Tensor([1.5], dtype="float16")) == half
    expected = repr(torch.ones(2, requires_grad=True))
    assert repr(tetragrad.ones(2, requires_grad=True)) == expected
    large = np.arange(40 * 50).reshape(40, 50)
    assert repr(Tensor(large)) == repr(torch.tensor(large))
    assert repr(tetragrad.zeros(0, 3)) == repr(torch.zeros(0, 3))
    assert "grad_fn=<Mul>" in repr(tetragrad.ones(2, requires_grad=True) * 2)


def test_data() -> None:
    assert Tensor([1.0]).dtype is tetragrad.float32
    assert Tensor([1]).dtype is tetragrad.int64
    assert Tensor([True]).dtype is tetragrad.bool
    assert Tensor(np.float64(1)).dtype is tetragrad.float64
    assert Tensor(np.ones(2, np.int8)).dtype is tetragrad.int8
    assert Tensor([Tensor([1, 2]), Tensor([3, 4])]).tolist() == [[1, 2], [3, 4]]
    assert Tensor([]).shape == (0,)
    assert Tensor([0.1], dtype="float64").item() == 0.1
    array = np.zeros(2)
    tensor = Tensor(array)
    array[0] = 9
    assert tensor.tolist() == [0.0, 0.0]
    reversed_ = np.arange(6).reshape(2, 3)[:, ::-1]
    np.testing.assert_array_equal(Tensor(reversed_).numpy(), reversed_)


def test_python_protocols() -> None:
    x = Tensor([1, 2, 3])
    assert (len(x), [int(value) for value in x], 2 in x, 9 in x) == (
        3,
        [1, 2, 3],
        True,
        False,
    )
    assert float(Tensor(2.5)) == 2.5
    assert int(Tensor([2.9])) == 2
    assert bool(Tensor(0.0)) is False
    assert [10, 20, 30][Tensor(1)] == 20
    assert f"{Tensor(1.234):.1f}" == "1.2"
    assert (np.asarray(x) == [1, 2, 3]).all()
    assert (np.array([1, 2, 3]) + x).tolist() == [2, 4, 6]
    assert isinstance(np.array([1, 2, 3]) * x, Tensor)
    assert np.float32(2) * x is not None
    assert x.size() == (3,)
    assert x.size(0) == x.numel() == 3


def test_casts() -> None:
    x = Tensor([1.9, -1.9, 300.0])
    assert x.int().tolist() == [1, -1, 300]
    assert x.to("cpu").dtype is tetragrad.float32
    assert x.to(tetragrad.float16).dtype is tetragrad.float16
    assert x.to(x.double()).dtype is tetragrad.float64
    assert x.type() == "tetragrad.FloatTensor"
    assert x.half().bfloat16().dtype is tetragrad.bfloat16
    assert x.bool().tolist() == [True, True, True]
    assert Tensor([1.0]).view(tetragrad.int32).item() == 0x3F800000
    assert Tensor([1.0, 2.0], dtype="float8_e4m3fn").float().tolist() == [1.0, 2.0]


def test_layout() -> None:
    x = tetragrad.zeros(2, 3, 4)
    assert x.stride() == (12, 4, 1)
    assert x.permute(2, 0, 1).stride() == (1, 12, 4)
    assert x[:, ::2].stride() == (12, 8, 1)
    assert not x.transpose(0, 1).is_contiguous()
    assert x.transpose(0, 1).contiguous().is_contiguous()
    assert x.unsqueeze(1).expand(2, 5, 3, 4).stride() == (12, 0, 4, 1)


def test_functions_beside_methods() -> None:
    x = Tensor([1.0, 4.0])
    assert tetragrad.sqrt(x).tolist() == [1.0, 2.0]
    assert tetragrad.add(x, 1).tolist() == [2.0, 5.0]
    assert tetragrad.pow(2, x).tolist() == [2.0, 16.0]
    for name in tetragrad.__all__:
        assert hasattr(tetragrad, name)


def test_from_numpy_shares_memory() -> None:
    array = np.arange(4.0, dtype=np.float32)
    tensor = tetragrad.from_numpy(array)
    doubled = tensor * 2
    array[0] = 10
    assert tensor.tolist() == [10.0, 1.0, 2.0, 3.0]
    assert doubled.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert (tensor * 2).tolist() == [20.0, 2.0, 4.0, 6.0]
    tensor[1:] += 1
    assert array.tolist() == [10.0, 2.0, 3.0, 4.0]
    leaf = tetragrad.from_numpy(array).requires_grad_()
    (leaf * leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [20.0, 4.0, 6.0, 8.0]
    assert tetragrad.from_numpy(np.zeros((2, 3)).T).shape == (3, 2)


OPTIONS = [
    {"precision": 2},
    {"threshold": 5},
    {"threshold": 3, "edgeitems": 1},
    {"sci_mode": True},
    {"sci_mode": False},
    {"linewidth": 40},
    {"profile": "short"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_print_options_are_those_of_pytorch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape) * 1e3 for shape in ((7,), (9, 8), (1, 40))]
    arrays += [np.array([0.00001, 5.0]), np.array([1.0, 2.0, 3e9])]
    try:
        torch.set_printoptions(**options)
        tetragrad.set_printoptions(**options)
        for array in arrays:
            narrow = array.astype(np.float32)
            assert str(tetragrad.tensor(narrow)) == str(torch.tensor(narrow))
    finally:
        torch.set_printoptions(profile="default")
        tetragrad.set_printoptions(profile="default")
    with pytest.raises(ValueError, match="default, short, full"):
        tetragrad.set_printoptions(profile="long")
