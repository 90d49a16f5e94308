"""Names of PyTorch's first versions mean what they meant."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.autograd import Variable
from tetragrad.tensor.arithmetic import where


def test_typed_tensors_take_elements_or_sizes() -> None:
    assert tetragrad.FloatTensor([1, 2]).dtype is tetragrad.float32
    assert tetragrad.LongTensor([1.7]).tolist() == [1]
    assert tetragrad.DoubleTensor(np.ones(2)).dtype is tetragrad.float64
    assert tetragrad.ByteTensor(2, 3).shape == (2, 3)
    assert tetragrad.FloatTensor(5).shape == (5,)
    assert tetragrad.FloatTensor().shape == (0,)


def test_typed_tensors_are_types() -> None:
    x = Tensor([1.5])
    assert isinstance(x, tetragrad.FloatTensor)
    assert not isinstance(x, tetragrad.LongTensor)
    assert not isinstance(x, tetragrad.cuda.FloatTensor)
    assert x.type(tetragrad.LongTensor).tolist() == [1]
    assert x.type("torch.DoubleTensor").dtype is tetragrad.float64
    assert x.long().type() == "tetragrad.LongTensor"


def test_two_integers_are_sizes() -> None:
    assert Tensor(2, 3).shape == (2, 3)
    assert Tensor(4, 3, 2, 1).dtype is tetragrad.float32
    assert Tensor(2, "float64").item() == 2.0


def test_variables_are_tensors() -> None:
    data = Tensor([1.0, 2.0])
    x = Variable(data, requires_grad=True)
    assert isinstance(x, Tensor)
    assert isinstance(data, Variable)
    x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 4.0]
    data[0] = 5.0
    assert x[0].item() == 5.0


def test_new_is_of_the_same_dtype() -> None:
    x = Tensor([1], dtype="int32")
    assert x.new(2, 3).shape == (2, 3)
    assert x.new([4.0]).dtype is tetragrad.int32


def test_where_of_a_condition_gives_indices() -> None:
    rows, columns = where(Tensor([[0, 3], [5, 0]]))
    assert rows.tolist() == [0, 1]
    assert columns.tolist() == [1, 0]


def test_the_default_tensor_type_is_a_dtype() -> None:
    tetragrad.set_default_tensor_type(tetragrad.DoubleTensor)
    try:
        assert tetragrad.ones(1).dtype is tetragrad.float64
    finally:
        tetragrad.set_default_tensor_type("torch.FloatTensor")
    assert tetragrad.ones(1).dtype is tetragrad.float32
    with pytest.raises(TypeError, match="set_default_dtype"):
        tetragrad.set_default_tensor_type("float")


def test_generators_and_sizes_as_programs_give_them() -> None:
    first = tetragrad.Generator(device="cpu").manual_seed(3)
    second = tetragrad.Generator("cpu").manual_seed(3)
    size = Tensor(4)
    drawn = tetragrad.rand(size, generator=first)
    assert drawn.shape == (4,)
    assert drawn.equal(tetragrad.rand(4, generator=second))
    with pytest.raises(RuntimeError, match="there is no device 'gpu'"):
        tetragrad.Generator(device="gpu")
