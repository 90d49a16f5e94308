"""The dtype of Python floats can be changed, as PyTorch's programs do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tetragrad
from tetragrad import Tensor, nn


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Other tests see float32 again."""
    yield
    tetragrad.set_default_dtype(tetragrad.float32)


def test_literals_and_creation_follow() -> None:
    tetragrad.set_default_dtype(tetragrad.float64)
    made = [
        Tensor([1.5]),
        tetragrad.zeros(2),
        tetragrad.arange(0.5, 2),
        tetragrad.rand(2),
        tetragrad.linspace(0, 1, 3),
        Tensor([1, 2]) / 2,
        Tensor([1, 2]) * 0.5,
        nn.Linear(2, 3).weight,
    ]
    assert {entry.dtype for entry in made} == {tetragrad.float64}
    assert Tensor([1j]).dtype is tetragrad.complex128
    assert (Tensor([1.0], dtype="float32") * 2.0).dtype is tetragrad.float32
    assert repr(Tensor([1.5])) == "tensor([1.5000])"
    assert repr(Tensor([1.5], dtype="float32")).endswith("dtype=tetragrad.float32)")


def test_a_captured_function_notices() -> None:
    step = tetragrad.jit(lambda x: x * 0.5)
    whole = Tensor([1, 2])
    assert step(whole).dtype is tetragrad.float32
    tetragrad.set_default_dtype(tetragrad.float16)
    assert step(whole).dtype is tetragrad.float16


def test_only_floats_are_accepted() -> None:
    with pytest.raises(tetragrad.DTypeError, match="set_default_dtype"):
        tetragrad.set_default_dtype(tetragrad.int64)
