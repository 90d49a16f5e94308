"""A replay must change, return and keep exactly what the function itself would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import CaptureError, Tensor, jit, no_grad
from tetragrad.core.settings import override


def tensor(*values: float) -> Tensor:
    return Tensor([float(value) for value in values])


# --- results -----------------------------------------------------


def test_kept_results_keep_their_values() -> None:
    captured = jit(lambda x: x + 1)
    kept = [captured(tensor(value)) for value in range(10)]
    assert [entry.item() for entry in kept] == list(range(1, 11))


def test_kept_views_and_pending_uses_keep_their_values() -> None:
    captured = jit(lambda x: x + 1)
    views = [captured(tensor(value, 5))[:1] for value in range(6)]
    pending = [captured(tensor(value)) * 2 for value in range(6)]
    for value in range(6):
        captured(tensor(100 + value, 5))
        captured(tensor(100 + value))
    assert [entry.item() for entry in views] == [value + 1 for value in range(6)]
    assert [entry.item() for entry in pending] == [2 * value + 2 for value in range(6)]


def test_result_changed_in_place_by_the_caller() -> None:
    captured = jit(lambda x: x + 1)
    for value in range(5):
        result = captured(tensor(value))
        result.mul_(10)
        assert captured(tensor(0)).item() == 1
        assert result.item() == 10 * (value + 1)


def test_result_as_next_argument() -> None:
    captured = jit(lambda x: x * 2)
    x = tensor(1)
    history = []
    for _ in range(10):
        x = captured(x)
        history.append(x)
    assert [entry.item() for entry in history] == [2.0**n for n in range(1, 11)]
    assert len(captured.captures) == 1


def test_returned_argument_and_views_of_it() -> None:
    def function(x: Tensor) -> Any:
        return x, x[1:], x * 1

    captured = jit(function)
    for value in range(4):
        x = tensor(value, value + 1)
        same, view, copy = captured(x)
        assert same is x
        x.add_(10)
        assert view.tolist() == [value + 11.0]
        assert copy.tolist() == [value, value + 1.0]


def test_two_results_that_share_values() -> None:
    def function(x: Tensor) -> Any:
        y = x + 1
        return y, y[:1], y

    captured = jit(function)
    for value in range(4):
        y, view, again = captured(tensor(value, 7))
        assert again is y
        y.zero_()
        assert view.tolist() == [0.0]


def test_returned_parameter() -> None:
    weight = tensor(1)
    captured = jit(lambda x: (x + weight, weight))
    for _ in range(3):
        assert captured(tensor(1))[1] is weight


def test_results_without_tensors_or_launches() -> None:
    captured = jit(lambda x: {"shape": x.shape, "none": None, "text": "a"})
    for _ in range(3):
        assert captured(tensor(1)) == {"shape": (1,), "none": None, "text": "a"}


def test_constant_results_are_independent() -> None:
    captured = jit(lambda x: Tensor([1.0, 2.0]))
    for _ in range(4):
        result = captured(tensor(1))
        assert result.tolist() == [1.0, 2.0]
        result.add_(1)


def test_empty_tensors() -> None:
    captured = jit(lambda x: (x + 1, x.sum()))
    for _ in range(3):
        empty, total = captured(Tensor.zeros(0, 3))
        assert empty.shape == (0, 3)
        assert total.item() == 0


# --- changes in place -----------------------------------------------------


def test_argument_changed_in_place() -> None:
    @jit
    def function(x: Tensor) -> None:
        x.add_(1)

    for value in range(4):
        x = tensor(value)
        view = x[:1]
        function(x)
        function(view)
        assert x.tolist() == [value + 2.0]
        assert view.tolist() == [value + 2.0]


def test_part_of_an_argument_changed_in_place() -> None:
    @jit
    def function(x: Tensor) -> Tensor:
        x[1:] = x[:1] * 2
        return x.sum()

    for value in range(4):
        x = tensor(value, 0)
        assert function(x).item() == 3 * value
        assert x.tolist() == [value, 2.0 * value]


def test_memory_shared_with_numpy() -> None:
    array, other = np.zeros(2, np.float32), np.ones(2, np.float32)
    weight = tetragrad.from_numpy(other)
    captured = jit(lambda x: x * 2 + weight)
    for value in range(4):
        array[:] = value
        other[0] = value
        result = captured(tetragrad.from_numpy(array))
        assert result.tolist() == [3.0 * value, 2 * value + 1]
    assert len(captured.captures) == 1

    change = jit(lambda x: x.add_(1))
    with pytest.raises(CaptureError, match="shares the memory of a NumPy array"):
        change(tetragrad.from_numpy(array))
    assert array.tolist() == [3.0, 3.0]


def test_hidden_state_and_pending_state() -> None:
    state = tensor(0)

    @jit
    def function(x: Tensor) -> Tensor:
        state.add_(x)
        return state * 10

    results = []
    for value in range(6):
        results.append(function(tensor(value)).item())
        state.add_(100)  # Pending when the next replay begins.
    assert results == [10 * (sum(range(n + 1)) + 100 * n) for n in range(6)]
    assert len(function.captures) == 1


def test_swapped_state() -> None:
    one, other = tensor(1), tensor(2)

    @jit
    def swap() -> None:
        first = one.clone()
        one.copy_(other)
        other.copy_(first)

    for turn in range(6):
        swap()
        expected = (2.0, 1.0) if turn % 2 == 0 else (1.0, 2.0)
        assert (one.item(), other.item()) == expected


def test_snapshot_of_state_survives() -> None:
    state = tensor(0)

    @jit
    def advance() -> None:
        state.add_(1)

    snapshots = []
    for _ in range(8):
        snapshots.append((state.clone(), state.detach().clone() + 0))
        advance()
    assert [first.item() for first, _ in snapshots] == list(range(8))
    assert [second.item() for _, second in snapshots] == list(range(8))


def test_states_that_start_equal_stay_apart() -> None:
    one, other = Tensor.zeros(2), Tensor.zeros(2)

    @jit
    def function(x: Tensor) -> None:
        one.add_(x)
        other.add_(x * 2)

    for _ in range(3):
        function(tensor(1, 2))
    assert one.tolist() == [3.0, 6.0]
    assert other.tolist() == [6.0, 12.0]


def test_attribute_that_takes_a_new_tensor() -> None:
    class Model:
        def __init__(self) -> None:
            self.last: Any = None

        def run(self, x: Tensor) -> Tensor:
            self.last = x * 2
            return x + 1

    model = Model()
    captured = jit(model.run)
    for value in range(4):
        assert captured(tensor(value)).item() == value + 1
        assert model.last.item() == 2 * value


def test_appending_never_gets_lost() -> None:
    losses: list[Tensor] = []

    @jit
    def function(x: Tensor) -> None:
        losses.append(x + 1)

    for value in range(5):
        function(tensor(value))
    assert [entry.item() for entry in losses] == [1.0, 2.0, 3.0, 4.0, 5.0]


# --- gradients -----------------------------------------------------


def run_gradients(captures: bool, forget: bool) -> list[Any]:
    weight = tensor(1, 2).requires_grad_()

    def function(x: Tensor) -> Tensor:
        if forget:
            weight.grad = None
        loss = (weight * x).sum()
        loss.backward()
        return loss.detach()

    call = jit(function) if captures else function
    seen: list[Any] = []
    for step in range(6):
        seen.append(call(tensor(step, 1)).item())
        seen.append(weight.grad.tolist())
        if step == 3:
            weight.grad = None
    return seen


@pytest.mark.parametrize("forget", [True, False])
def test_gradients(forget: bool) -> None:
    assert run_gradients(True, forget) == run_gradients(False, forget)


def test_kept_gradients_keep_their_values() -> None:
    weight = tensor(1).requires_grad_()

    @jit
    def function(x: Tensor) -> None:
        weight.grad = None
        (weight * x).sum().backward()

    kept = []
    for value in range(6):
        function(tensor(value))
        kept.append(weight.grad)
    assert [entry.item() for entry in kept] == list(range(6))


def test_gradient_of_an_argument() -> None:
    @jit
    def function(x: Tensor) -> Tensor:
        (x * x).sum().backward()
        return x.grad

    for value in range(4):
        x = tensor(value).requires_grad_()
        assert function(x).item() == 2 * value
        assert x.grad.item() == 2 * value


# --- random numbers -----------------------------------------------------


def draw(captures: bool) -> list[Any]:
    tetragrad.manual_seed(5)

    def function(x: Tensor) -> Tensor:
        return x + Tensor.rand(3) + Tensor.randn(3)

    call = jit(function) if captures else function
    drawn = [call(Tensor.zeros(3)).tolist() for _ in range(4)]
    drawn.append(Tensor.rand(3).tolist())
    tetragrad.manual_seed(9)
    drawn += [call(Tensor.zeros(3)).tolist() for _ in range(2)]
    return drawn


def test_random_numbers_advance() -> None:
    captured, plain = draw(True), draw(False)
    assert captured == plain
    assert len({str(entry) for entry in plain}) == len(plain)


# --- memory -----------------------------------------------------


def test_memory_stays_bounded() -> None:
    from tetragrad.engine.memory import allocated_bytes

    state = Tensor.zeros(1000)

    @jit
    def function(x: Tensor) -> Tensor:
        state.add_(x)
        return (state * x).sum()

    x = Tensor(np.ones(1000, np.float32))
    for _ in range(10):
        function(x)
    before = allocated_bytes()
    for _ in range(50):
        function(x)
    assert allocated_bytes() == before


def test_captures_die_with_their_function() -> None:
    import gc
    import weakref

    class Model:
        def __init__(self) -> None:
            self.weight = tensor(1)

        @jit
        def run(self, x: Tensor) -> Tensor:
            with no_grad():
                return x * self.weight

    model = Model()
    for _ in range(3):
        model.run(tensor(1))
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_collecting_garbage_is_no_part_of_the_function() -> None:
    import gc
    import time

    def note(phase: str, details: dict[str, int]) -> None:
        time.perf_counter()

    @jit
    def wasteful(x: Tensor) -> Tensor:
        for _ in range(10_000):
            cycle: list[Any] = []
            cycle.append(cycle)
        return x * 2

    gc.callbacks.append(note)
    try:
        assert [wasteful(tensor(value)).item() for value in range(3)] == [0, 2, 4]
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled()


def test_constants_may_name_the_device() -> None:
    @jit
    def shifted(x: Tensor) -> Tensor:
        return x + Tensor.ones(2, device=x.device)

    assert [shifted(tensor(value, 0)).tolist() for value in range(3)] == [
        [1, 1], [2, 1], [3, 1],
    ]  # fmt: skip


def test_the_default_generator_draws_where_tensors_are_made() -> None:
    with override(device="reference"):
        tetragrad.manual_seed(3)
        first = tetragrad.rand(4).numpy()
    tetragrad.manual_seed(3)
    drawn = tetragrad.jit(lambda x: x + tetragrad.rand(4))
    # Neither the draw nor the captured call waits for another device.
    assert np.array_equal(drawn(tetragrad.zeros(4)).numpy(), first)
    assert not np.array_equal(drawn(tetragrad.zeros(4)).numpy(), first)
    assert tetragrad.rand(4).device == tetragrad.zeros(4).device
