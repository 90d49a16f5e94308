"""Mistakes with files, memory, devices, gradients, modules and captures.

Those with shapes and dtypes of single operations are in ``tests/tensor``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, TetragradError, nn, ones, optim, state, zeros
from tetragrad.data import DataLoader

HUGE = (1 << 20, 1 << 22)


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str, str]] = {
    "too little memory": (
        lambda: (ones(*HUGE) + 1).realize(),
        MemoryError,
        r"17,592,186,044,\d+ bytes.*shape \(1048576, 4194304\) and float32.*available",
        "narrower dtype",
    ),
    "unknown device": (
        lambda: ones(2, device="gpu"),
        RuntimeError,
        "there is no device 'gpu'",
        "use one of cpu",
    ),
    "two devices": (
        lambda: ones(2, device="cpu") + ones(2, device="reference"),
        RuntimeError,
        "'cpu'.*'reference'",
        "move one of them",
    ),
    "missing checkpoint": (
        lambda: state.load_checkpoint("absent/run"),
        FileNotFoundError,
        "no file 'absent/run'",
        "relative to the current folder",
    ),
    "missing folder": (
        lambda: state.save_checkpoint("absent/folder/run"),
        FileNotFoundError,
        "there is no folder",
        "create the folder",
    ),
    "gradient of integers": (
        lambda: Tensor([1]).requires_grad_(),
        RuntimeError,
        "not int64",
        "x.float()",
    ),
    "leaf in place": (
        lambda: leaf(1.0).add_(1),
        RuntimeError,
        "a leaf tensor that requires a gradient",
        "no_grad()",
    ),
    "backward without a gradient": (
        lambda: ones(1).sum().backward(),
        RuntimeError,
        "does not depend on anything that requires a gradient",
        "requires_grad=True",
    ),
    "backward of a vector": (
        lambda: (leaf(1.0, 2.0) * 2).backward(),
        RuntimeError,
        "which of its 2 elements",
        "x.sum().backward()",
    ),
    "array of a gradient": (
        lambda: np.asarray(leaf(1.0)),
        RuntimeError,
        "would lose the gradient",
        "x.detach().numpy()",
    ),
    "grad of what was not used": (
        lambda: tetragrad.grad(leaf(1.0).sum(), [leaf(1.0)]),
        RuntimeError,
        "do not depend on input 0",
        "allow_unused=True",
    ),
    "complex numbers": (
        lambda: Tensor([1j]).erf(),
        NotImplementedError,
        "erf of complex numbers",
        "x.abs()",
    ),
    "arithmetic on float8": (
        lambda: Tensor([1.0], dtype="float8_e4m3fn") + 1,
        TypeError,
        "not on float8_e4m3fn",
        "x.float()",
    ),
    "linear": (
        lambda: nn.Linear(3, 4)(ones(2, 5)),
        ValueError,
        r"input \(2, 5\) with weight \(4, 3\)",
        "out_features",
    ),
    "embedding by floats": (
        lambda: nn.Embedding(3, 2)(ones(2)),
        TypeError,
        "float32",
        "x.long()",
    ),
    "a state that lacks a name": (
        lambda: nn.Linear(2, 2).load_state_dict({"weight": ones(2, 2)}),
        TetragradError,
        'Missing key.*"bias"',
        "strict=False",
    ),
    "a state of other shapes": (
        lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(2, 3).state_dict()),
        TetragradError,
        r"\(3, 2\).*\(2, 2\)",
        "the sizes that the state was saved with",
    ),
    "a wrapped module's state": (
        lambda: nn.ReLU6().load_state_dict({"module.weight": ones(2)}),
        TetragradError,
        r'Unexpected key\(s\): "module.weight"',
        "strict=False",
    ),
    "a state of data in parallel": (
        lambda: nn.PReLU().load_state_dict({"module.weight": ones(1)}),
        TetragradError,
        'Missing key.*"weight"',
        "name.removeprefix('module.')",
    ),
    "a checkpoint for a state": (
        lambda: nn.PReLU().load_state_dict({"model": {"weight": ones(1)}, "epoch": 1}),
        TetragradError,
        'Unexpected key.*"model", "epoch"',
        "state_dict['model']",
    ),
    "an array for a layer": (
        lambda: nn.Linear(3, 4)(np.ones((2, 3), np.float32)),
        TypeError,
        r"Linear is given a NumPy array of shape \(2, 3\)",
        "tetragrad.from_numpy(x)",
    ),
    "a size in quotes": (
        lambda: nn.Linear("3", 4),  # type: ignore[arg-type]
        TypeError,
        "a size of '3'",
        "write int(size)",
    ),
    "channels last": (
        lambda: nn.Conv2d(3, 4, 3)(ones(1, 8, 8, 3)),
        ValueError,
        r"of shape \(1, 8, 8, 3\), so of 8 channels.*takes 3 channels",
        "x.movedim(-1, 1)",
    ),
    "other channels": (
        lambda: nn.Conv2d(3, 4, 3)(ones(1, 5, 8, 8)),
        ValueError,
        r"so of 5 channels.*takes 3 channels",
        "in_channels=5",
    ),
    "classes in the last dimension": (
        lambda: nn.functional.cross_entropy(ones(2, 5, 7), ones(2, 5).long()),
        ValueError,
        r"a target of shape \(2, 5\) for a prediction of shape \(2, 5, 7\)",
        "prediction.flatten(0, -2)",
    ),
    "a target for a prediction": (
        lambda: nn.functional.cross_entropy(Tensor([0, 1]), ones(2, 3)),
        TypeError,
        "of int64 with a target of float32",
        "cross_entropy(logits, classes)",
    ),
    "weights of other classes": (
        lambda: nn.functional.cross_entropy(ones(1, 3), Tensor([0]), weight=ones(2)),
        ValueError,
        r"class weights of shape \(2,\) for 3 classes",
        "one weight",
    ),
    "a window of nothing": (
        lambda: nn.Conv2d(3, 4, 0),
        ValueError,
        "kernel_size=0, stride=1 and dilation=1",
        "1 or more",
    ),
    "a number for a parameter": (
        lambda: nn.Parameter(Tensor(5)),
        RuntimeError,
        "the integer 5",
        "empty(n)",
    ),
    "a column of classes": (
        lambda: nn.functional.cross_entropy(ones(4, 3), ones(4, 1).long()),
        ValueError,
        r"a target of shape \(4, 1\)",
        "target.squeeze(1)",
    ),
    "logits for probabilities": (
        lambda: nn.BCELoss()(Tensor([3.0]), ones(1)).item(),
        TetragradError,
        "not all from 0 to 1",
        "binary_cross_entropy_with_logits",
    ),
    "chances beyond 1": (
        lambda: Tensor([1.5]).bernoulli().item(),
        TetragradError,
        "not all from 0 to 1",
        "x.clamp(0, 1)",
    ),
    "weights below 0": (
        lambda: Tensor([0.5, -0.1]).multinomial(1).item(),
        TetragradError,
        "some are negative",
        "x.softmax(-1)",
    ),
    "weights that are nothing": (
        lambda: Tensor([0.0, 0.0]).multinomial(3, replacement=True).tolist(),
        TetragradError,
        "all 0",
        "a weight",
    ),
    "a state that is no tuple": (
        lambda: nn.LSTM(4, 5)(ones(3, 2, 4), zeros(1, 2, 5)),
        ValueError,
        "1 initial states instead of 2",
        "(hidden, cell)",
    ),
    "other features in a sequence": (
        lambda: nn.LSTM(4, 5)(ones(3, 2, 6)),
        ValueError,
        r"\(time, batch, features\).*with 4 features, got shape \(3, 2, 6\)",
        "batch_first=True",
    ),
    "heads that do not divide": (
        lambda: nn.functional.scaled_dot_product_attention(
            ones(1, 6, 4, 8), ones(1, 4, 4, 8), ones(1, 4, 4, 8), enable_gqa=True
        ),
        ValueError,
        "6 query heads, 4 key heads",
        "a multiple",
    ),
    "a mask of other keys": (
        lambda: nn.functional.scaled_dot_product_attention(
            ones(1, 6, 4, 8), ones(1, 6, 4, 8), ones(1, 6, 4, 8), ones(4, 5).bool()
        ),
        ValueError,
        r"attn_mask of shape \(4, 5\): scores have shape \(1, 6, 4, 4\)",
        "(queries, keys)",
    ),
    "a value of another shape": (
        lambda: zeros(3, 4).__setitem__(0, ones(3)),
        ValueError,
        r"shape \(3,\) to a part of shape \(4,\) of a tensor of shape \(3, 4\)",
        "broadcasts",
    ),
    "one of floats": (
        lambda: nn.functional.one_hot(ones(2)),
        TypeError,
        r"one_hot\(\) of float32",
        "x.long()",
    ),
    "a norm of integers": (
        lambda: Tensor([1, 2]).norm(),
        TypeError,
        r"norm\(\) of int64",
        "x.float().norm()",
    ),
    "a weight in two groups": (
        lambda: optim.SGD([{"params": [weight]} for weight in [leaf(1.0)] * 2]),
        ValueError,
        r"shape \(1,\) appears twice",
        "in one group only",
    ),
    "statistics of other channels": (
        lambda: nn.BatchNorm2d(3)(ones(2, 4, 5, 5)),
        ValueError,
        r"\(2, 4, 5, 5\) with weights or statistics of shape \(3,\)",
        "(batch, channels, *size)",
    ),
    "classes as floats": (
        lambda: nn.functional.cross_entropy(ones(2, 3), ones(2)),
        ValueError,
        r"shape \(2, 3\) with a target of shape \(2,\)",
        "target.long()",
    ),
    "one tensor to join": (
        lambda: tetragrad.cat(ones(2)),
        ValueError,
        r"one tensor of shape \(2,\)",
        "in a list",
    ),
    "numbers to join": (
        lambda: tetragrad.cat([Tensor(1.0), Tensor(2.0)]),
        ValueError,
        r"cat\(\) of numbers",
        "stack()",
    ),
    "batches of other lengths": (
        lambda: tetragrad.bmm(ones(2, 3, 4), ones(3, 4, 5)),
        ValueError,
        r"\(2, 3, 4\) and \(3, 4, 5\)",
        "matmul()",
    ),
    "keys of other features": (
        lambda: nn.functional.scaled_dot_product_attention(
            ones(2, 3, 4), ones(2, 3, 5), ones(2, 3, 4)
        ),
        ValueError,
        r"\(2, 3, 4\), \(2, 3, 5\), \(2, 3, 4\)",
        "as many features",
    ),
    "a number that does not fit": (
        lambda: tetragrad.tensor([1, 300], dtype=tetragrad.uint8),
        TypeError,
        "300 as uint8, which holds 0 to 255",
        "a wider dtype",
    ),
    "a rate in quotes": (
        lambda: optim.Adam(nn.Linear(1, 1).parameters(), lr="0.1"),  # type: ignore
        TypeError,
        "lr is a number, not the str '0.1'",
        "",
    ),
    "an optimiser of a module": (
        lambda: optim.SGD(nn.Linear(1, 1)),  # type: ignore[arg-type]
        TypeError,
        "not a Linear",
        "model.parameters()",
    ),
    "a schedule without an optimiser": (
        lambda: optim.lr_scheduler.StepLR(3, 1),  # type: ignore[arg-type]
        TypeError,
        "not for: int",
        "pass the optimiser first",
    ),
    "a number in a sequence": (
        lambda: nn.Sequential(nn.ReLU(), 3),  # type: ignore[arg-type]
        TypeError,
        r"3 \(int\) as module '1'",
        "not a Module",
    ),
    "no bins": (
        lambda: ones(2).histc(bins=0),
        ValueError,
        "into 0 bins",
        "1 or more",
    ),
    "no parameters": (
        lambda: optim.SGD([], lr=1),
        ValueError,
        "no parameters",
        "model.parameters()",
    ),
    "empty batches": (
        lambda: DataLoader([1], batch_size=0),
        ValueError,
        "batch_size=0",
        "1 sample or more",
    ),
    "reading in a capture": (
        lambda: tetragrad.jit(lambda x: x * float(x.sum()))(ones(2)),
        RuntimeError,
        "test_messages.py.*are read inside a captured function",
        "tetragrad.where()",
    ),
    "random numbers in a capture": (
        lambda: tetragrad.jit(lambda x: x + float(np.random.rand()))(ones(2)),
        RuntimeError,
        "numpy.random inside a captured function",
        "tetragrad.rand",
    ),
    "a list for a layer": (
        lambda: nn.Linear(1, 1)([[1.0]]),
        TypeError,
        "Linear is given a list",
        "pass tetragrad.tensor(x)",
    ),
    "a list of layers": (
        lambda: nn.Sequential([nn.ReLU()]),
        TypeError,
        "as module '0': it is not a Module",
        "one by one",
    ),
    "a class for a layer": (
        lambda: nn.Sequential(nn.ReLU),
        TypeError,
        "as module '0': it is not a Module",
        "make one of the class, ReLU(...)",
    ),
    "an option by another name": (
        lambda: optim.Adam([leaf(1.0)], learning_rate=0.1),
        TypeError,
        "Adam has no option 'learning_rate'",
        "its options are lr, betas",
    ),
    "capturing a class": (
        lambda: tetragrad.jit(nn.Linear),
        RuntimeError,
        "jit\\(\\) of <class",
        "pass a function",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name: str) -> None:
    program, kind, message, hint = MISTAKES[name]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        program()
    assert hint in str(caught.value)
    # The user's own line is in the traceback: the last one outside of the library.
    files = [entry.filename for entry in traceback.extract_tb(caught.tb)]
    assert __file__ in files


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "text", "bit"])
def test_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
    path, model = tmp_path / "run", nn.Linear(2, 2)
    state.save_checkpoint(path, model=model)
    sound = path.read_bytes()
    damaged = {
        "cut": sound[:-5],
        "empty": b"",
        "header": b"\xff" * 8 + sound[8:],
        "bit": sound[:-3] + bytes([sound[-3] ^ 1]) + sound[-2:],
        "text": b"this was never a checkpoint",
    }
    path.write_bytes(damaged[damage])
    before = model.weight.tolist()
    with pytest.raises(ValueError, match=str(path)):
        state.load_checkpoint(path, model=model)
    assert model.weight.tolist() == before


def test_an_error_names_the_line_that_made_the_tensor() -> None:
    pending = ones(*HUGE) + 1
    line = pending.line
    with pytest.raises(MemoryError) as caught:
        pending.numpy()
    assert f"while computing the tensor made at {line}" in caught.value.__notes__
    assert line.startswith(__file__)


def test_too_little_memory_leaves_everything_usable() -> None:
    pending = ones(*HUGE) * 2
    with pytest.raises(MemoryError):
        pending.realize()
    assert (Tensor([1.0]) + 1).item() == 2.0
