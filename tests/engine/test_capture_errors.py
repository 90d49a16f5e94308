"""What cannot be repeated is refused, with the line, and leaves nothing behind."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import CaptureError, Tensor, jit
from tetragrad.engine import capture
from tetragrad.tensor.storage import Storage


def tensor(*values: float) -> Tensor:
    return Tensor([float(value) for value in values])


def branch(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def swallow(x: Tensor) -> Tensor:
    try:
        return x * x.sum().item()
    except Exception:
        return x


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "item": (lambda x: x * x.sum().item(), "values of a tensor are read"),
    "tolist": (lambda x: Tensor(x.tolist()), "values of a tensor are read"),
    "numpy": (lambda x: Tensor(x.numpy() * 2), "values of a tensor are read"),
    "array": (lambda x: Tensor(np.asarray(x)), "values of a tensor are read"),
    "branch": (branch, "values of a tensor are read"),
    "swallowed": (swallow, "values of a tensor are read"),
    "float": (lambda x: x * float(x.sum()), "values of a tensor are read"),
    "print": (lambda x: print(x), "values of a tensor are read"),
    "text": (lambda x: f"{x}", "values of a tensor are read"),
    "mask": (lambda x: x[x > 0], "values of a tensor are read"),
    "time": (lambda x: x * time.time(), r"time\.time"),
    "now": (lambda x: x * datetime.datetime.now().second, r"datetime\.now"),
    "random": (lambda x: x * random.random(), r"random\.random"),
    "gauss": (lambda x: x * random.gauss(0, 1), r"random\.random"),
    "numpy.random": (lambda x: x * float(np.random.rand()), r"numpy\.random"),
    "file": (lambda x: x * len(Path(__file__).read_text()), r"io\.open"),
    "module": (lambda x: object(), "is a object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, message = REFUSED[name]
    x = tensor(1, 2)
    with pytest.raises(CaptureError, match=message) as raised:
        jit(function)(x)
    assert "hint:" in str(raised.value)
    assert_clean(x)


def assert_clean(x: Tensor) -> None:
    assert capture.active() is None
    assert type(Storage.__dict__["value"]).__name__ == "member_descriptor"
    assert x.tolist() == [1.0, 2.0]
    assert (x + 1).tolist() == [2.0, 3.0]


def test_the_line_is_the_users() -> None:
    with pytest.raises(CaptureError) as raised:
        jit(branch)(tensor(1))
    line = branch.__code__.co_firstlineno + 1
    assert f"{__file__}:{line}:" in str(raised.value)


def test_refusal_undoes_changes() -> None:
    state, weight = tensor(1), tensor(1).requires_grad_()

    def function(x: Tensor) -> Tensor:
        state.add_(5)
        (weight * x).sum().backward()
        return x * state.item()

    x = tensor(1, 2)
    with pytest.raises(CaptureError):
        jit(function)(x)
    assert state.tolist() == [1.0]
    assert weight.grad is None
    assert_clean(x)


def test_exceptions_pass_through() -> None:
    state = tensor(1)

    @jit
    def function(x: Tensor, fail: bool) -> Tensor:
        state.add_(5)
        if fail:
            raise KeyError("mine")
        return x + state

    x = tensor(1, 2)
    with pytest.raises(KeyError, match="mine"):
        function(x, True)
    assert state.tolist() == [6.0]
    assert_clean(x)
    assert function(x, False).tolist() == [12.0, 13.0]
    assert function(x, False).tolist() == [17.0, 18.0]


def test_profiler_is_restored() -> None:
    import sys

    def profiler(*event: Any) -> None:
        pass

    sys.setprofile(profiler)
    try:
        jit(lambda x: x + 1)(tensor(1))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


def test_arrays_as_arguments() -> None:
    with pytest.raises(CaptureError, match=r"NumPy array.*\n.*Tensor\(array\)"):
        jit(lambda x: Tensor(x))(np.zeros(3))


def test_iterators() -> None:
    batches = iter([tensor(1), tensor(2)])
    with pytest.raises(CaptureError, match="batches is a list_iterator"):
        jit(lambda: next(batches) + 1)()


def test_gradient_to_an_outside_computation() -> None:
    weight = tensor(1).requires_grad_()

    @jit
    def function(x: Tensor) -> None:
        (x * 3).sum().backward()

    with pytest.raises(CaptureError, match="a gradient flows back"):
        function(weight * 2)
    assert weight.grad is None

    value = jit(lambda x: x.detach() * 3)
    for scale in (2.0, 4.0):
        assert value(weight * scale).tolist() == [3 * scale]


def test_changed_argument_list() -> None:
    @jit
    def function(tensors: list[Tensor]) -> Tensor:
        return tensors.pop() + 1

    with pytest.raises(CaptureError, match="changes the list or dict"):
        function([tensor(1), tensor(2)])


def test_generators_and_coroutines() -> None:
    def generator(x: Tensor) -> Any:
        yield x

    async def coroutine(x: Tensor) -> Tensor:
        return x

    for function in (generator, coroutine):
        with pytest.raises(CaptureError, match="generator or coroutine"):
            jit(function)
    with pytest.raises(CaptureError, match="pass a function"):
        jit(3)
    with pytest.raises(CaptureError, match="pass a function"):
        jit(Tensor)


def test_seeded_numpy_is_allowed() -> None:
    captured = jit(lambda x: x + Tensor(np.arange(2.0, dtype=np.float32)))
    for _ in range(3):
        assert captured(tensor(1, 1)).tolist() == [1.0, 2.0]


def test_debug_prints_a_line_a_launch(capfd: Any) -> None:
    from tetragrad.core.settings import override

    captured = jit(lambda x: (x + 1).sum())
    captured(tensor(1, 2))
    with override(debug=2):
        captured(tensor(1, 2))
    assert "GFLOP/s" in capfd.readouterr().err
    assert tetragrad.jit is jit
