"""A replay must notice everything that the captured function depends on."""

from __future__ import annotations

import copy
import math
import os
import pickle
import threading
import weakref
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import tetragrad
from tetragrad import CaptureError, Tensor, jit, no_grad
from tetragrad.capture.places import Kind

SCALE = 2.0
CONFIG = {"scale": 2.0, "layers": [1, 2]}
TABLE = np.array([1.0, 2.0], np.float32)


def tensor(*values: float) -> Tensor:
    return Tensor([float(value) for value in values])


def check(function: Any, *calls: Any, captures: int) -> Any:
    """Each call of the captured function gives what the plain one gives."""
    captured = jit(function)
    for args in calls:
        expected = function(*args)
        for _ in range(2):
            np.testing.assert_array_equal(captured(*args).numpy(), expected.numpy())
    assert len(captured.captures) == captures
    return captured


# --- arguments -----------------------------------------------------


def test_values_of_tensors_do_not_matter() -> None:
    check(
        lambda x: x * 2 + 1,
        (tensor(1, 2),),
        (tensor(3, 4),),
        (tensor(math.nan, 0),),
        captures=1,
    )


def test_shape_and_dtype() -> None:
    check(
        lambda x: x * 2,
        (tensor(1, 2),),
        (tensor(1, 2, 3),),
        (tensor(1, 2).double(),),
        (Tensor([[1.0, 2.0]]),),
        captures=4,
    )


def test_views_of_one_shape() -> None:
    x = Tensor(np.arange(16, dtype=np.float32).reshape(4, 4))
    check(
        lambda x: x + 1,
        (x,),
        (x.T,),
        (x.flip(0),),
        (x.clone(),),
        (x[::2],),
        (x[1::2],),
        # A view is passed as a tensor of its own: only its shape matters.
        captures=2,
    )


def test_requires_grad() -> None:
    captured = jit(lambda x: x.detach() if x.requires_grad else x + 1)
    plain, leaf = tensor(1), tensor(1).requires_grad_()
    for _ in range(2):
        assert captured(plain).tolist() == [2.0]
        assert captured(leaf).tolist() == [1.0]


@pytest.mark.parametrize(
    "constants",
    [
        (1, True, 1.0, 2),
        (0.0, -0.0, math.nan),
        ("a", "b"),
        ([1, 2], (1, 2), [1, 3]),
        ({"a": 1}, {"a": 2}, {"b": 1}),
        (slice(0, 1), slice(1, 2)),
        (None, 0),
    ],
)
def test_constants(constants: tuple[Any, ...]) -> None:
    seen: list[Any] = []

    def function(x: Tensor, constant: Any) -> Any:
        return x + 1, constant

    captured = jit(function)
    for constant in constants * 2:
        result, same = captured(tensor(1), constant)
        assert result.tolist() == [2.0]
        assert repr(same) == repr(constant)
        seen.append(same)
    assert len(captured.captures) == len(constants)


def test_changed_float_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from tetragrad.engine import pipeline

    captured = jit(lambda x, rate: x * rate + 1)
    captured(tensor(1, 2), 0.25)
    monkeypatch.setattr(pipeline, "compile_graph", None)
    assert captured(tensor(1, 2), 0.75).tolist() == [1.75, 2.5]
    assert len(captured.captures) == 2


def test_keywords_and_defaults() -> None:
    captured = jit(lambda x, *, scale=2: x * scale)
    for _ in range(2):
        assert captured(tensor(1)).tolist() == [2.0]
        assert captured(tensor(1), scale=3).tolist() == [3.0]
        assert captured(x=tensor(1)).tolist() == [2.0]


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Batch:
    inputs: Tensor
    label: int
    more: list[Any] = field(default_factory=list)


def test_trees() -> None:
    def function(batch: Batch, parts: dict[str, Any]) -> Any:
        total = batch.inputs * batch.label + parts["b"][0]
        return Batch(total, 3, [None, (total + 1, "text")]), Pair(total, {"k": [1.5]})

    captured = jit(function)
    for value in (1.0, 2.0):
        batch, pair = captured(Batch(tensor(value), 2), {"a": 1, "b": (tensor(1),)})
        assert batch.inputs.tolist() == [2 * value + 1]
        assert batch.more[0] is None
        assert batch.more[1][0].tolist() == [2 * value + 2]
        assert batch.more[1][1] == "text"
        assert isinstance(pair, Pair)
        assert pair.first is batch.inputs
        assert pair.second == {"k": [1.5]}
    assert len(captured.captures) == 1


# --- sharing between arguments -----------------------------------------------------


def change_first(x: Tensor, y: Tensor) -> Tensor:
    x.add_(1)
    return y * 10


def test_same_tensor_twice() -> None:
    captured = jit(change_first)
    for _ in range(2):
        assert captured(tensor(1), tensor(1)).tolist() == [10.0]
        both = tensor(1)
        assert captured(both, both).tolist() == [20.0]
        base = tensor(1, 1)
        assert captured(base[:1], base[1:]).tolist() == [10.0]
        assert base.tolist() == [2.0, 1.0]
        assert captured(base[:1], base[:1]).tolist() == [30.0]


def test_equal_values_are_not_one_tensor() -> None:
    x = tensor(1, 2)
    captured = jit(lambda x, y: x * y)
    assert captured(x, x.clone()).tolist() == [1.0, 4.0]
    assert captured(tensor(1, 2), tensor(3, 4)).tolist() == [3.0, 8.0]
    assert captured(Tensor.zeros(2), Tensor.zeros(2)).tolist() == [0.0, 0.0]
    assert captured(tensor(5, 6), tensor(1, 2)).tolist() == [5.0, 12.0]


def test_argument_that_is_also_read_as_a_global() -> None:
    weight = tensor(1)
    captured = jit(lambda x: x * 10 + weight)
    assert captured(weight).tolist() == [11.0]
    for _ in range(2):
        assert captured(tensor(2)).tolist() == [21.0]
        assert captured(weight).tolist() == [11.0]

    def change(x: Tensor) -> Tensor:
        x.add_(1)
        return weight * 1

    captured = jit(change)
    assert captured(tensor(1)).tolist() == [1.0]
    assert captured(weight).tolist() == [2.0]
    assert captured(weight).tolist() == [3.0]


# --- state -----------------------------------------------------


def test_globals(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = jit(lambda x: x * SCALE)
    assert captured(tensor(1)).tolist() == [2.0]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert captured(tensor(1)).tolist() == [3.0]
    monkeypatch.setitem(globals(), "SCALE", True)
    assert captured(tensor(1)).tolist() == [1.0]


def test_global_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Tensor) -> Tensor:
        for layer in CONFIG["layers"]:  # type: ignore[union-attr]
            x = x * layer
        return x * CONFIG["scale"]

    captured = jit(function)
    assert captured(tensor(1)).tolist() == [4.0]
    monkeypatch.setitem(CONFIG, "scale", 1.0)
    assert captured(tensor(1)).tolist() == [2.0]
    monkeypatch.setitem(CONFIG, "layers", [1, 2, 3])
    assert captured(tensor(1)).tolist() == [6.0]
    CONFIG["layers"].append(4)  # type: ignore[attr-defined]
    assert captured(tensor(1)).tolist() == [24.0]


def test_global_array() -> None:
    captured = jit(lambda x: x + Tensor(TABLE))
    try:
        assert captured(tensor(0, 0)).tolist() == [1.0, 2.0]
        TABLE[0] = 5
        assert captured(tensor(0, 0)).tolist() == [5.0, 2.0]
    finally:
        TABLE[0] = 1


def test_closures() -> None:
    scale = 2

    def helper(x: Tensor) -> Tensor:
        return x * scale

    captured = jit(lambda x: helper(x) + 1)
    assert captured(tensor(1)).tolist() == [3.0]
    scale = 5
    assert captured(tensor(1)).tolist() == [6.0]


def test_replaced_helper() -> None:
    def helper(x: Tensor) -> Tensor:
        return x * 2

    captured = jit(lambda x: helper(x))
    assert captured(tensor(1)).tolist() == [2.0]

    def helper(x: Tensor) -> Tensor:  # noqa: F811
        return x * 3

    assert captured(tensor(1)).tolist() == [3.0]


class Scaled:
    factor = 1

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.parts = [SimpleNamespace(bias=1.0)]
        self.calls = 0

    @jit
    def apply(self, x: Tensor) -> Tensor:
        return x * self.scale * self.factor + self.parts[0].bias

    def by_name(self, x: Tensor) -> Tensor:
        return x * getattr(self, "sc" + "ale")


def test_attributes() -> None:
    scaled = Scaled(2)
    assert scaled.apply(tensor(1)).tolist() == [3.0]
    scaled.scale = 4
    assert scaled.apply(tensor(1)).tolist() == [5.0]
    scaled.parts[0].bias = 0.0
    assert scaled.apply(tensor(1)).tolist() == [4.0]
    scaled.parts.insert(0, SimpleNamespace(bias=7.0))
    assert scaled.apply(tensor(1)).tolist() == [11.0]
    scaled.factor = 2
    assert scaled.apply(tensor(1)).tolist() == [15.0]


def test_class_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = Scaled(2)
    assert scaled.apply(tensor(1)).tolist() == [3.0]
    monkeypatch.setattr(Scaled, "factor", 3)
    assert scaled.apply(tensor(1)).tolist() == [7.0]


def test_replaced_method() -> None:
    class Model:
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    model = Model()
    captured = jit(lambda x: model.forward(x))
    assert captured(tensor(1)).tolist() == [2.0]
    model.forward = lambda x: x * 3  # type: ignore[method-assign]
    assert captured(tensor(1)).tolist() == [3.0]
    del model.forward
    Model.forward = lambda self, x: x * 4  # type: ignore[method-assign]
    assert captured(tensor(1)).tolist() == [4.0]


def test_names_that_are_computed() -> None:
    scaled = Scaled(2)
    captured = jit(scaled.by_name)
    assert captured(tensor(1)).tolist() == [2.0]
    scaled.scale = 3
    assert captured(tensor(1)).tolist() == [3.0]


def test_unread_attributes_do_not_matter() -> None:
    scaled = Scaled(2)
    for _ in range(20):
        scaled.apply(tensor(1))
        scaled.calls += 1
    assert len(scaled.apply.captures) == 1


def test_attribute_that_appears() -> None:
    class Model:
        pass

    model = Model()
    captured = jit(lambda x: x * 2 if hasattr(model, "double") else x)
    assert captured(tensor(1)).tolist() == [1.0]
    model.double = True  # type: ignore[attr-defined]
    assert captured(tensor(1)).tolist() == [2.0]


def test_slots_and_properties() -> None:
    class Model:
        __slots__ = ("hidden",)

        def __init__(self) -> None:
            self.hidden = 2

        @property
        def scale(self) -> int:
            return self.hidden

    model = Model()
    captured = jit(lambda x: x * model.scale)
    assert captured(tensor(1)).tolist() == [2.0]
    model.hidden = 3
    assert captured(tensor(1)).tolist() == [3.0]


def test_two_instances() -> None:
    one, other = Scaled(2), Scaled(3)
    for _ in range(3):
        assert one.apply(tensor(1)).tolist() == [3.0]
        assert other.apply(tensor(1)).tolist() == [4.0]
    assert len(one.apply.captures) == len(other.apply.captures) == 1


def test_instance_as_argument() -> None:
    captured = jit(lambda model, x: x * model.scale)
    one, other = Scaled(2), Scaled(3)
    for _ in range(2):
        assert captured(one, tensor(1)).tolist() == [2.0]
        assert captured(other, tensor(1)).tolist() == [3.0]
    one.scale = 5
    assert captured(one, tensor(1)).tolist() == [5.0]


def test_copied_and_pickled_instances() -> None:
    one = Scaled(2)
    one.apply(tensor(1))
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        other.scale = 3
        assert other.apply(tensor(1)).tolist() == [4.0]
        assert one.apply(tensor(1)).tolist() == [3.0]


def test_hidden_tensors() -> None:
    weight = tensor(2)
    captured = jit(lambda x: x * weight)
    assert captured(tensor(1)).tolist() == [2.0]
    weight.add_(1)
    assert captured(tensor(1)).tolist() == [3.0]
    weight = tensor(7)
    assert captured(tensor(1)).tolist() == [7.0]


def test_modes() -> None:
    captured = jit(lambda x: x * (2 if tetragrad.is_grad_enabled() else 3))
    for _ in range(2):
        assert captured(tensor(1)).tolist() == [2.0]
        with no_grad():
            assert captured(tensor(1)).tolist() == [3.0]


def test_settings() -> None:
    from tetragrad.core.settings import override

    captured = jit(lambda x: x * 2)
    captured(tensor(1))
    with override(fuse=False):
        assert captured(tensor(1)).tolist() == [2.0]
    assert len(captured.captures) == 2
    with override(jit=False):
        assert captured(tensor(1, 2)).tolist() == [2.0, 4.0]
    assert len(captured.captures) == 2


def test_context_variables_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=1)
    captured = jit(lambda x: x * variable.get() * int(os.environ["TETRAGRAD_TEST"]))
    monkeypatch.setenv("TETRAGRAD_TEST", "2")
    assert captured(tensor(1)).tolist() == [2.0]
    monkeypatch.setenv("TETRAGRAD_TEST", "3")
    assert captured(tensor(1)).tolist() == [3.0]
    variable.set(5)
    assert captured(tensor(1)).tolist() == [15.0]


def test_weak_references() -> None:
    first, second = Scaled(2), Scaled(3)
    holder = [weakref.ref(first)]
    captured = jit(lambda x: x * holder[0]().scale)
    assert captured(tensor(1)).tolist() == [2.0]
    first.scale = 4
    assert captured(tensor(1)).tolist() == [4.0]
    holder[0] = weakref.ref(second)
    assert captured(tensor(1)).tolist() == [3.0]


def test_replaced_defaults() -> None:
    def helper(x: Tensor, scale: float = 2) -> Tensor:
        return x * scale

    captured = jit(lambda x: helper(x))
    assert captured(tensor(1)).tolist() == [2.0]
    helper.__defaults__ = (3,)
    assert captured(tensor(1)).tolist() == [3.0]


def test_attributes_of_tensors() -> None:
    class Marked(Tensor):
        scale: float

    captured = jit(lambda x: x * x.scale)
    one = Marked([1.0])
    one.scale = 2
    assert captured(one).tolist() == [2.0]
    one.scale = 3
    assert captured(one).tolist() == [3.0]
    other = Marked([1.0])
    other.scale = 5
    assert captured(other).tolist() == [5.0]


def test_gradient_of_another_dtype() -> None:
    weight = tensor(1).requires_grad_()
    captured = jit(lambda: weight.grad * 2)
    weight.grad = tensor(3)
    assert captured().tolist() == [6.0]
    weight.grad = tensor(4)
    assert captured().tolist() == [8.0]
    assert len(captured.captures) == 1
    weight.grad = tensor(5).double()
    assert captured().tolist() == [10.0]
    weight.grad = Tensor([[5.0, 6.0]])
    assert captured().tolist() == [[10.0, 12.0]]


# --- use -----------------------------------------------------


def test_nested_and_recursive() -> None:
    inner = jit(lambda x: x * SCALE)

    @jit
    def outer(x: Tensor, depth: int) -> Tensor:
        return outer(inner(x), depth - 1) if depth else x

    for _ in range(2):
        assert outer(tensor(1), 3).tolist() == [8.0]
    assert len(inner.captures) == 0
    assert inner(tensor(1)).tolist() == [2.0]


def test_nested_function_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = jit(lambda x: x * SCALE)
    outer = jit(lambda x: inner(x) + 1)
    assert outer(tensor(1)).tolist() == [3.0]
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert outer(tensor(1)).tolist() == [6.0]


def test_threads() -> None:
    weight = tensor(2)
    captured = jit(lambda x: x * weight)
    wrong: list[Any] = []

    def work(start: int) -> None:
        for value in range(start, start + 20):
            if captured(tensor(value)).tolist() != [2.0 * value]:
                wrong.append(value)
            if (tensor(value) + 1).tolist() != [value + 1.0]:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(captured.captures) == 1


def test_too_many_captures() -> None:
    model = Scaled(2)

    @jit
    def function(x: Tensor) -> Tensor:
        model.calls += 1
        return x * model.calls

    for call in range(8):
        assert function(tensor(1)).tolist() == [call + 1.0]
    with pytest.warns(RuntimeWarning, match=r"captured 8 times.*model\.calls was 7"):
        function(tensor(1))
    for _ in range(7):
        function(tensor(1))
    with pytest.raises(CaptureError, match=r"captured 16 times.*\n.*model\.calls"):
        function(tensor(1))
    function.clear()
    assert function(tensor(1)).tolist() == [17.0]


def test_flag_that_alternates_is_replayed() -> None:
    class Model:
        flag = False

    model = Model()
    model.flag = False

    @jit
    def function(x: Tensor) -> Tensor:
        model.flag = not model.flag
        return x * (2 if model.flag else 3)

    results = [function(tensor(1)).item() for _ in range(12)]
    assert results == [2.0, 3.0] * 6
    assert model.flag is False
    assert len(function.captures) == 2


def test_explain_names_launches_and_guards() -> None:
    captured = jit(lambda x: x * SCALE)
    captured(tensor(1))
    text = captured.explain()
    assert "1 captures" in text
    assert "1 launches" in text
    assert "SCALE = 2.0" in text


def test_arrays_that_nobody_can_change_are_not_compared() -> None:
    fixed = np.frombuffer(np.arange(3.0).tobytes()).reshape(3, 1)
    changing = np.arange(3.0)
    step = tetragrad.jit(lambda x: x + Tensor(fixed[:, 0]) + Tensor(changing))
    for _ in range(2):
        np.testing.assert_array_equal(step(Tensor(np.zeros(3))).numpy(), [0, 2, 4])
    contents = [
        place
        for place, _ in step.captures[0].guards.comparison.expected
        if place.kind is Kind.CONTENT
    ]
    assert len(contents) == 1
    changing[0] = 5
    np.testing.assert_array_equal(step(Tensor(np.zeros(3))).numpy(), [5, 2, 4])
