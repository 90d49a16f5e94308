"""Packed forms of weights: when they are made, and when they are forgotten."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.core.settings import override
from tetragrad.engine.memory import allocated_bytes

# More than half of any second-level cache, or it would be read where it is.
WIDTH, RESULTS = 256, 2100


def random(*shape: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return Tensor(values).realize()


def forms_of(tensor: Tensor) -> int:
    """How many packed forms are kept with a tensor's memory."""
    kept = tensor.storage.value.memory.kept or {}
    return sum(form is not None for form in kept.values())


def product(x: Tensor, w: Tensor) -> np.ndarray:
    return (x @ w).numpy()


def linear() -> nn.Linear:
    layer = nn.Linear(WIDTH, RESULTS, bias=False)
    layer.requires_grad_(False)
    return layer


def test_what_is_computed_again_and_again_is_packed_once():
    x, w = random(16, WIDTH), random(WIDTH, RESULTS)
    results = [product(x, w) for _ in range(4)]
    assert forms_of(w) == 1 and forms_of(x) == 0
    assert all(np.array_equal(result, results[0]) for result in results)


def test_narrow_weights_are_packed_as_they_are():
    x, w = random(16, WIDTH), random(WIDTH, RESULTS)
    x, w = (entry.to(tetragrad.bfloat16).realize() for entry in (x, w))
    results = [product(x, w).astype(np.float32) for _ in range(4)]
    assert forms_of(w) == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_another_matrix_has_another_form():
    x, matrices = random(16, WIDTH), [random(WIDTH, RESULTS, seed=s) for s in (1, 2)]
    wanted = [x.numpy() @ w.numpy() for w in matrices]
    for _ in range(4):
        for w, expected in zip(matrices, wanted, strict=True):
            assert np.allclose(product(x, w), expected, atol=1e-3)
    assert [forms_of(w) for w in matrices] == [1, 1]


def test_a_replay_packs_weights_that_stay():
    layer, x = linear(), random(16, WIDTH)
    captured = tetragrad.jit(lambda x: layer(x).relu())
    results = [captured(x).numpy() for _ in range(6)]
    assert forms_of(layer.weight) == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_a_replay_follows_weights_that_change():
    layer, x = linear(), random(16, WIDTH)
    captured = tetragrad.jit(lambda x: layer(x))
    for scale in (1.0, 2.0, 3.0):
        layer.weight.copy_(random(RESULTS, WIDTH) * scale)
        wanted = x.numpy() @ layer.weight.numpy().T
        for _ in range(5):
            assert np.allclose(captured(x).numpy(), wanted, atol=1e-3)
    assert forms_of(layer.weight) == 1


def test_a_step_in_place_forgets_what_was_packed():
    layer, x = nn.Linear(WIDTH, RESULTS, bias=False), random(16, WIDTH)
    optimizer = tetragrad.optim.SGD(layer.parameters(), lr=0.1)

    def step(x: Tensor) -> None:
        loss = layer(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def forward(x: Tensor) -> np.ndarray:
        with tetragrad.no_grad():
            return layer(x).numpy()

    captured = tetragrad.jit(step)
    for _ in range(4):
        captured(x)
        for _ in range(4):
            wanted = x.numpy() @ layer.weight.detach().numpy().T
            assert np.allclose(forward(x), wanted, atol=1e-3)


def test_a_replay_that_writes_results_again_forgets_what_was_packed():
    double = tetragrad.jit(lambda w: w * 2)
    x = random(16, WIDTH)
    for seed in range(4):
        w = random(WIDTH, RESULTS, seed=seed)
        doubled = double(w)
        for _ in range(4):
            wanted = x.numpy() @ (w.numpy() * 2)
            assert np.allclose(product(x, doubled), wanted, atol=1e-3)
        del doubled


def test_memory_that_others_write_to_has_no_form():
    array = np.random.default_rng(0).standard_normal((WIDTH, RESULTS), dtype=np.float32)
    w, x = tetragrad.from_numpy(array), random(16, WIDTH)
    for number in range(5):
        array[...] = number / 10
        assert np.allclose(product(x, w), x.numpy() @ array, atol=1e-3)
    assert forms_of(w) == 0


def test_a_matrix_that_is_lent_later_has_no_form():
    w, x = random(WIDTH, RESULTS), random(16, WIDTH)
    for _ in range(4):
        product(x, w)
    array = np.from_dlpack(w)
    if not array.flags.writeable:
        pytest.skip("this NumPy takes tensors for reading only")
    array[...] = 1.0
    assert np.allclose(product(x, w), x.numpy() @ array, atol=1e-3)


def test_forms_go_with_the_matrix():
    x, w = random(16, WIDTH), random(WIDTH, RESULTS)
    gc.collect()
    first = allocated_bytes()
    for _ in range(4):
        product(x, w)
    gc.collect()
    assert first < allocated_bytes() <= first + 2 * w.nbytes
    nbytes = w.nbytes
    del w
    gc.collect()
    assert allocated_bytes() <= first - nbytes


def test_the_setting_turns_it_off():
    x, w = random(16, WIDTH), random(WIDTH, RESULTS)
    with override(keep_packed=False):
        for _ in range(4):
            (x @ w + 1).realize()
    assert forms_of(w) == 0
