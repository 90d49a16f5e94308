"""The differences from PyTorch are those that the page lists, and they hold."""

from __future__ import annotations

import tetragrad
from tetragrad import Tensor

LOWEST = -(2**63)


def test_integer_division() -> None:
    assert (Tensor([5]) // Tensor([0])).tolist() == [0]
    assert (Tensor([5]) % Tensor([0])).tolist() == [5]
    assert (Tensor([LOWEST]) // Tensor([-1])).tolist() == [LOWEST]


def test_shifts_by_the_width_or_more() -> None:
    assert (Tensor([1]) << Tensor([64])).tolist() == [0]
    assert (Tensor([-5]) >> Tensor([70])).tolist() == [-1]


def test_float_to_integer_saturates() -> None:
    values = Tensor([1e20, -1e20, float("nan")]).to(tetragrad.int32)
    assert values.tolist() == [2**31 - 1, -(2**31), 0]


def test_half_width_sums_are_carried_in_float32() -> None:
    assert Tensor([1.0] * 4096).to(tetragrad.bfloat16).sum().item() == 4096.0


def test_literals_and_attributes() -> None:
    assert Tensor([1, 2]).dtype is tetragrad.int64
    assert tetragrad.empty(2).tolist() == [0.0, 0.0]
    assert Tensor([1.0]).device in ("cpu", "reference")
    assert type(Tensor([1.0]).shape) is tuple


def test_backward_twice() -> None:
    x = Tensor([3.0], requires_grad=True)
    square = (x * x).sum()
    square.backward()
    square.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12.0]


def test_numpy_copies() -> None:
    tensor = Tensor([0.0, 1.0, 2.0])
    tensor.numpy()[1] = 9.0
    assert tensor.tolist() == [0.0, 1.0, 2.0]


def test_conjugates_are_copies() -> None:
    tensor = Tensor([1 + 2j])
    conjugate = tensor.conj()
    tensor[0] = 5
    assert conjugate.tolist() == [1 - 2j]
    assert (Tensor([1.0], dtype="float16") * 1j).dtype is tetragrad.complex64
