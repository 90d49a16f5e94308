"""``vmap`` gives what a loop over the elements gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.core.errors import (
    CaptureError,
    GradientError,
    IndexingError,
    ShapeError,
    UnsupportedError,
)
from tetragrad.core.settings import override
from tetragrad.func import functional_call, grad, stack_module_state, vmap

GENERATOR = np.random.default_rng(3)
BATCH = 3


def random(*shape: int) -> Tensor:
    return Tensor(GENERATOR.uniform(0.1, 2.0, shape).astype(np.float32))


#: Functions of an element [4, 5], one for each kind of op that a graph is made of.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elementwise": lambda x: (x.exp() + x.log()).sin() * 2,
    "where": lambda x: tetragrad.where(x > 1, x, -x),
    "cast": lambda x: (x * 10).long() % 3,
    "reduce": lambda x: x.sum(0) + x.amax() - x.prod(-1).mean(),
    "softmax": lambda x: x.softmax(-1),
    "reshape": lambda x: x.reshape(2, 10).transpose(0, 1).flatten(),
    "slices": lambda x: x[1:, ::2].flip(0),
    "pad": lambda x: nn.functional.pad(x, (1, 2)),
    "scan": lambda x: x.cumsum(1),
    "sort": lambda x: x.sort(1).values + x.argsort(0),
    "gather": lambda x: x[Tensor([2, 0]), Tensor([1, 4])],
    "index by itself": lambda x: x[x[:, 0].argmax()],
    "scatter": lambda x: x.zeros_like().index_add(0, Tensor([1, 1, 0, 3]), x),
    "matmul": lambda x: x @ x.T,
    "matvec": lambda x: x @ x[0],
    "convolution": lambda x: nn.functional.conv1d(x[None], Tensor(WEIGHTS), padding=1),
    "pool": lambda x: nn.functional.max_pool2d(x[None, None], 2),
    "norm": lambda x: nn.functional.layer_norm(x, (5,)),
    "cholesky": lambda x: tetragrad.linalg.cholesky(x @ x.T + Tensor.eye(4) * 3),
    "solve": lambda x: tetragrad.linalg.solve(x @ x.T + Tensor.eye(4) * 3, x),
    "constant": lambda x: Tensor([1.0, 2.0]),
    "in place": lambda x: x.clone().add_(1).mul_(x),
    "complex": lambda x: (tetragrad.fft.fft(x) * 1j).abs(),
}
WEIGHTS = random(2, 4, 3).numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_like_a_loop(name: str) -> None:
    function = FUNCTIONS[name]
    elements = random(BATCH, 4, 5).numpy()
    with override(device="reference"):
        x = Tensor(elements)
        wanted = np.stack([function(x[number]).numpy() for number in range(BATCH)])
        found = vmap(function)(x).numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_dimensions_of_arguments_and_results() -> None:
    x, y = random(4, BATCH), random(BATCH, 2)

    def outer(first: Tensor, second: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return first[:, None] * second["y"], first.sum()

    product, total = vmap(outer, in_dims=(1, {"y": 0}), out_dims=(-1, 0))(x, {"y": y})
    wanted = np.einsum("ib,bj->ijb", x.numpy(), y.numpy())
    np.testing.assert_allclose(product.numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(total.numpy(), x.numpy().sum(0), rtol=1e-6)
    scaled = vmap(lambda value, *, by, power: (value * by) ** power, in_dims=(1,))
    assert scaled(x, by=random(BATCH), power=2).shape == (BATCH, 4)
    shared = vmap(lambda value: (value, y), out_dims=(0, None))(y)
    assert shared[1] is y


def test_in_chunks() -> None:
    x = random(7, 4)
    whole = vmap(lambda value: value.softmax(0))(x)
    parts = vmap(lambda value: value.softmax(0), chunk_size=3)(x)
    np.testing.assert_allclose(parts.numpy(), whole.numpy(), rtol=1e-6)


def test_maps_nest() -> None:
    x, y = random(BATCH, 4), random(5, 4)
    distances = vmap(vmap(lambda a, b: (a - b).square().sum(), (None, 0)), (0, None))
    wanted = ((x.numpy()[:, None] - y.numpy()) ** 2).sum(-1)
    np.testing.assert_allclose(distances(x, y).numpy(), wanted, rtol=1e-5)


def test_gradients_flow_through_a_map() -> None:
    x, w = random(BATCH, 4).requires_grad_(), random(4).requires_grad_()
    vmap(lambda value: (value * w).sigmoid().sum())(x).sum().backward()
    x2, w2 = x.detach().requires_grad_(), w.detach().requires_grad_()
    (x2 * w2).sigmoid().sum().backward()
    for mine, wanted in ((x.grad, x2.grad), (w.grad, w2.grad)):
        assert mine is not None and wanted is not None
        np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=1e-5)


def test_a_gradient_for_each_sample() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.LayerNorm(3), nn.Linear(3, 2))
    x, labels = random(BATCH, 4), Tensor([0, 1, 1])
    params = {name: value.detach() for name, value in model.named_parameters()}

    def loss(params: Any, sample: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, params, (sample[None],))
        return nn.functional.cross_entropy(logits, label[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, labels)
    assert not found["0.weight"].requires_grad
    for number in range(BATCH):
        model.zero_grad()
        loss({}, x[number], labels[number]).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(
                found[name][number].numpy(),
                parameter.grad.numpy(),
                rtol=1e-4,
                atol=1e-6,
            )


def test_an_ensemble() -> None:
    models = [nn.Linear(4, 2) for _ in range(BATCH)]
    params, buffers = stack_module_state(models)
    x = random(6, 4)
    call = vmap(lambda p, b, x: functional_call(models[0], (p, b), x), (0, 0, None))
    found = call(params, buffers, x)
    for number, model in enumerate(models):
        np.testing.assert_allclose(
            found[number].detach().numpy(), model(x).detach().numpy(), rtol=1e-5
        )
    found.sum().backward()
    assert params["weight"].grad is not None


def test_functions_with_gradients_of_their_own() -> None:
    class Cube(tetragrad.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return upstream * 30 * x**2

    x = random(BATCH)
    found = vmap(grad(lambda value: Cube.apply(value)))(x)
    np.testing.assert_allclose(found.numpy(), 30 * x.numpy() ** 2, rtol=1e-5)


def test_arguments_changed_in_place() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])

    def change(row: Tensor) -> Tensor:
        row[0] = row.sum()
        return row * 2

    assert vmap(change)(x).tolist() == [[6.0, 4.0], [14.0, 8.0]]
    assert x.tolist() == [[3.0, 2.0], [7.0, 4.0]]


def test_random_numbers() -> None:
    x = Tensor.zeros(BATCH)

    def noisy(value: Tensor) -> Tensor:
        return value + Tensor.rand(4)

    with pytest.raises(UnsupportedError, match="randomness='different'"):
        vmap(noisy)(x)
    tetragrad.manual_seed(0)
    same = vmap(noisy, randomness="same")(x).numpy()
    assert (same == same[0]).all()
    different = vmap(noisy, randomness="different")(x).numpy()
    assert len(np.unique(different)) == BATCH * 4
    nested = vmap(vmap(noisy, randomness="different"), randomness="different")
    assert len(np.unique(nested(Tensor.zeros(2, 3)).numpy())) == 24
    with pytest.raises(ValueError, match="randomness is one of"):
        vmap(noisy, randomness="some")


def test_captured_steps_contain_maps() -> None:
    step = tetragrad.jit(lambda x: vmap(grad(lambda value: value.exp().sum()))(x))
    for _ in range(3):
        x = random(BATCH, 4)
        np.testing.assert_allclose(step(x).numpy(), np.exp(x.numpy()), rtol=1e-5)
    assert len(step.captures) == 1


def test_values_cannot_be_read() -> None:
    with pytest.raises(CaptureError, match="vmap") as caught:
        vmap(lambda x: x if x.sum() > 0 else -x)(random(BATCH, 2))
    assert "tetragrad.where()" in str(caught.value)
    leaked: list[Tensor] = []
    vmap(lambda x: leaked.append(x * 2) or x)(random(BATCH, 2))
    with pytest.raises(CaptureError, match="vmap"):
        leaked[0].numpy()
    # Others can be read, inside as well.
    assert vmap(lambda x: x * Tensor([2.0]).item())(Tensor([1.0])).tolist() == [2.0]


def test_outside_tensors_cannot_be_written() -> None:
    norm = nn.BatchNorm1d(2)
    with pytest.raises(UnsupportedError, match="from outside in place"):
        vmap(norm)(random(BATCH, 4, 2))


def test_indices_are_checked() -> None:
    rows = random(4, 2)
    index = Tensor([0, 3, 1])
    found = vmap(lambda place: rows[place])(index)
    np.testing.assert_array_equal(found.numpy(), rows.numpy()[[0, 3, 1]])
    with pytest.raises(IndexingError, match="index 4 is out of range"):
        vmap(lambda place: rows[place])(index + 1).numpy()


MISTAKES = [
    (lambda: vmap(lambda x: x, 2)(random(3)), IndexingError, "over dimension 2"),
    (lambda: vmap(lambda x: x, None)(random(3)), ShapeError, "nothing to map over"),
    (
        lambda: vmap(lambda x, y: x)(random(3), random(4)),
        ShapeError,
        r"different sizes: \[3, 4\]",
    ),
    (lambda: vmap(lambda x: 1.0)(random(3)), GradientError, "returned float 1.0"),
    (
        lambda: vmap(lambda x: x, (0, 0))(random(3)),
        ValueError,
        "does not have the form",
    ),
    (
        lambda: vmap(lambda x: x, out_dims=None)(random(3)),
        ShapeError,
        "differs from element to element",
    ),
    (lambda: vmap(lambda x: x, (1,))(2.0), IndexingError, "of a float"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_arrays_of_numpy_may_be_read_inside() -> None:
    memory = np.ones(3, dtype=np.float32)
    weight, rows = tetragrad.from_numpy(memory), Tensor([[1.0, 2.0, 3.0]] * 2)

    def loss(weight: Tensor, row: Tensor) -> Tensor:
        return (weight * row).square().sum()

    def after_a_step(weight: Tensor, row: Tensor) -> Tensor:
        return loss(weight - 0.1 * grad(loss)(weight, row), row)

    result = vmap(after_a_step, in_dims=(None, 0))(weight, rows)
    memory[:] = 0
    step = 1 - 0.2 * np.array([1, 4, 9], dtype=np.float32)
    expected = np.sum((step * np.array([1, 2, 3])) ** 2)
    np.testing.assert_allclose(result.numpy(), [expected] * 2, rtol=1e-6)
