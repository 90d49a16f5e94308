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
from tetragrad import Tensor, TetragradError, nn, ones, optim, state
from tetragrad.data import DataLoader

HUGE = (1 << 20, 1 << 22)


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str, str]] = {
    "too little memory": (
        lambda: (ones(*HUGE) + 1).realize(),
        MemoryError,
        r"17,592,186,044,416 bytes.*shape \(1048576, 4194304\) and float32.*available",
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
        "strict=False",
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
