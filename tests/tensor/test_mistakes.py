"""Every mistake that a user can make says what was asked, and why it cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, TetragradError, ones, zeros

MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ones(3) + ones(4), ValueError, "shapes (3,) and (4,) do not broadcast"),
    (
        lambda: ones(2, 3) @ ones(2, 3),
        ValueError,
        "matmul() of shapes (2, 3) and (2, 3)",
    ),
    (lambda: ones(3) @ Tensor(2.0), ValueError, "a number has no rows"),
    (lambda: ones(2, 3, 4) @ ones(5, 4, 2), ValueError, "their batches, all"),
    (lambda: ones(5 / 2), TypeError, "write int(size), or n // 2 for n / 2"),
    (lambda: ones(3, 4).view(5, -1), ValueError, "(12 elements) to (5, -1)"),
    (lambda: ones(6).reshape(4, 2), ValueError, "cannot reshape (6,) (6 elements)"),
    (lambda: ones(6).reshape(4, -1), ValueError, "one of them may be -1"),
    (lambda: ones(2, 3).t().view(-1), ValueError, "use reshape()"),
    (lambda: ones(2, 3).permute(0), ValueError, "name each of the 2 dimensions once"),
    (lambda: ones(2).sum(1), IndexError, "there is no dimension 1"),
    (lambda: ones(2, 2).sum((0, 0)), ValueError, "name one of them twice"),
    (lambda: ones(0).max(), ValueError, "max of nothing"),
    (lambda: ones(0, 2).argmax(0), ValueError, "has no elements"),
    (lambda: Tensor([1, 2]).mean(), TypeError, "x.float().mean()"),
    (lambda: Tensor([1 + 2j]) < 1, NotImplementedError, "lt of complex numbers"),
    (lambda: Tensor([1 + 2j]).relu(), NotImplementedError, "on a tensor of comp"),
    (lambda: Tensor([1 + 2j]).floor(), NotImplementedError, "take x.real"),
    (lambda: ones(2).imag, TypeError, "its imaginary part is 0"),
    (lambda: Tensor([True]) - Tensor([True]), TypeError, "logical_xor"),
    (lambda: -Tensor([True]), TypeError, "logical_not"),
    (lambda: Tensor([1.0]) & Tensor([1.0]), TypeError, "and works on bits, not on"),
    (lambda: Tensor([2]) ** -1, TypeError, "an integer to the power -1"),
    (lambda: Tensor([1]).add_(0.5), TypeError, "int64 cannot hold"),
    (lambda: zeros(3).add_(ones(2, 3)), ValueError, "in place the shape stays"),
    (lambda: Tensor([[1], [1, 2]]), ValueError, "the nested lists are not a rectangle"),
    (lambda: Tensor("text"), TypeError, "cannot make a tensor of str"),
    (lambda: Tensor(["a"]), TypeError, "cannot make a tensor of list"),
    (lambda: Tensor([1], dtype="int33"), TypeError, "there is no dtype 'int33'"),
    (lambda: Tensor([1], device="tpu"), RuntimeError, "there is no device 'tpu'"),
    (lambda: ones(3).to("tpu"), RuntimeError, "there is no device 'tpu'"),
    (lambda: zeros(-1), ValueError, "sizes are 0 or more"),
    (lambda: Tensor.arange(0, 5, -1), ValueError, "never arrives"),
    (lambda: bool(ones(2)), TetragradError, "is ambiguous"),
    (lambda: ones(2).item(), ValueError, "item() of shape (2,) with 2 elements"),
    (lambda: len(Tensor(1.0)), TypeError, "without dimensions"),
    (lambda: tetragrad.cat([]), ValueError, "cat() of no tensors"),
    (lambda: tetragrad.cat([ones(2, 3), ones(3, 2)]), ValueError, "use stack()"),
    (lambda: tetragrad.stack([ones(2), ones(3)]), ValueError, "stack() of shapes"),
    (lambda: tetragrad.where(ones(2), 1, 0), TypeError, "a condition of bools"),
    (lambda: ones(2).clamp(), TetragradError, "give at least one of them"),
    (lambda: ones(2).div(2, rounding_mode="up"), TetragradError, "rounding_mode 'up'"),
    (lambda: ones(2).softmax(), TetragradError, "write dim=-1"),
    (lambda: ones(2).gelu("fast"), TetragradError, "use 'none' or 'tanh'"),
    (lambda: ones(2).expand(3), ValueError, "only dimensions of size 1 repeat"),
    (lambda: ones(5).split([2, 2]), ValueError, "add up to 4"),
    (lambda: ones(5).pad((3, 3), "reflekt"), TetragradError, "no padding mode"),
    (lambda: ones(2).pad((3, 3), "reflect"), ValueError, "at most 1 can be padded"),
    (lambda: ones(5).unfold(0, 7, 1), ValueError, "spans 7"),
    (lambda: tetragrad.einsum("ij,jk->ik", ones(2, 3)), ValueError, "names 2 operands"),
    (lambda: tetragrad.einsum("ij->k", ones(2, 3)), ValueError, "the output names"),
    (
        lambda: tetragrad.einsum("ij,jk->ik", ones(2, 3), ones(4, 2)),
        ValueError,
        "dimension 'j' has 3 elements",
    ),
    (lambda: ones(2, 3).linear(ones(4, 5)), ValueError, "(out_features, in_features)"),
    (
        lambda: ones(1, 3, 8, 8).conv2d(ones(4, 2, 3, 3)),
        ValueError,
        "so of 3 channels",
    ),
    (lambda: ones(8, 8).conv2d(ones(4, 2, 3, 3)), ValueError, "batch, channels, sizes"),
    (
        lambda: ones(1, 1, 2, 2).conv2d(ones(1, 1, 3, 3)),
        ValueError,
        "use a smaller kernel",
    ),
    (
        lambda: ones(1, 1, 4, 4).conv2d(ones(1, 1, 3, 3, dtype="float64")),
        TypeError,
        "an input of float32 and a weight of float64",
    ),
    (
        lambda: ones(1, 1, 4, 4).max_pool2d(2, padding=2),
        ValueError,
        "half of the kernel",
    ),
    (lambda: ones(2, 3).layer_norm(4), ValueError, "layer_norm() over (4,)"),
    (lambda: ones(2, 3).group_norm(2), ValueError, "must divide the channels"),
    (
        lambda: ones(2, 3).cross_entropy(ones(2, 3).long()),
        ValueError,
        "have shape (2,)",
    ),
    (lambda: ones(2, 3).nll_loss(ones(2)), TypeError, "classes are integers"),
    (lambda: ones(2).mse_loss(ones(2), "avg"), TetragradError, "no reduction 'avg'"),
    (lambda: ones(2).embedding(ones(3, 3)), TypeError, "indices are integers"),
    (lambda: ones(3).topk(4), ValueError, "k is between 0 and 3"),
    (lambda: ones(3).gather(0, ones(1, 1).long()), ValueError, "the index needs 1 dim"),
    (lambda: ones(3).gather(0, ones(1)), TypeError, "an index tensor of float32"),
    (
        lambda: ones(3).scatter_add(0, zeros(1).long(), zeros(1).long()),
        TypeError,
        "into",
    ),
    (lambda: ones(2).dropout(1.5), TetragradError, "p is between 0 and 1"),
    (lambda: Tensor.randint(3, 3, (2,)), ValueError, "high is more than low"),
    (lambda: Tensor.rand(2, dtype="int64"), TypeError, "use randint()"),
    (lambda: ones(2).quantile(1.5), ValueError, "q is between 0 and 1"),
    (lambda: tetragrad.from_numpy([1, 2]), TypeError, "use tetragrad.tensor()"),
    (lambda: Tensor(np.array(["a"])), TypeError, "has no tetragrad equivalent"),
    (lambda: tetragrad.matmull, AttributeError, "did you mean 'matmul'"),
    (lambda: ones(2) + "a", TypeError, "unsupported operand"),
]


@pytest.mark.parametrize(
    ("program", "kind", "message"), MISTAKES, ids=[entry[-1] for entry in MISTAKES]
)
def test_message(
    program: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        program()
    assert message in str(caught.value)


def test_python_suggests_a_method_for_a_misspelt_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        ones(2).softmx()
    except AttributeError as error:
        sys.__excepthook__(type(error), error, error.__traceback__)
    assert "Did you mean: 'softmax'?" in capsys.readouterr().err


def test_an_attribute_that_does_not_exist_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        ones(2).requires_gard = True  # type: ignore[attr-defined]


def test_a_tensor_knows_the_line_that_made_it() -> None:
    x = ones(2) + 1
    assert x.line.startswith(__file__)
