"""Functions that are made of tensors' methods: names, mistakes, copies."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.nn import functional as F


def test_the_first_argument_is_named_input() -> None:
    x = Tensor([1.0, 4.0])
    assert tetragrad.sqrt(input=x).tolist() == [1.0, 2.0]
    assert tetragrad.sum(input=x, dim=0).item() == 5.0
    assert tetragrad.matmul(input=x, other=x).item() == 17.0
    assert list(inspect.signature(tetragrad.matmul).parameters) == ["input", "other"]
    assert list(inspect.signature(F.relu).parameters) == ["input", "inplace"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([4.0], "sqrt() is given a list instead"),
        (4.0, "sqrt() is given a float instead"),
        (None, "sqrt() is given None instead"),
        (np.ones((2, 3)), "sqrt() is given a NumPy array of shape (2, 3) instead"),
    ],
)
def test_what_is_no_tensor_is_named(given: object, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        tetragrad.sqrt(given)
    assert said in str(caught.value)
    assert "hint: pass tetragrad." in str(caught.value)


def test_errors_inside_a_function_stay_what_they_are() -> None:
    with pytest.raises(tetragrad.ShapeError):
        tetragrad.matmul(Tensor.ones(2, 3), Tensor.ones(2, 3))


def test_all_public_functions_can_be_pickled() -> None:
    functions = [
        value
        for module in (tetragrad, F)
        for value in map(module.__dict__.get, module.__all__)
        if inspect.isfunction(value)
    ]
    assert len(functions) > 400
    for function in functions:
        assert pickle.loads(pickle.dumps(function)) is function
