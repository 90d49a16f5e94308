"""Programs whose sizes grow from step to step: compiled for all of them, and right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.backends.backend import Device
from tetragrad.core.errors import IndexingError, OutOfMemoryError
from tetragrad.engine import growing, realize, varying
from tetragrad.engine.affine_sizes import Forms, forms_of, values_of
from tetragrad.nn import functional as F

#: Two graphs of their own, one for all up to 16, and one up to 64; and one more where
#: the first has something that is known later.
LENGTHS = (5, 7, 6, 9, 12, 3, 4, 11, 40, 29, 60)
COMPILED = 5

Program = Callable[[int, np.random.Generator], Tensor]


def rows(random: np.random.Generator, *shape: int) -> Tensor:
    return Tensor(random.standard_normal(shape).astype(np.float32))


def tokens(random: np.random.Generator, below: int, *shape: int) -> Tensor:
    return Tensor(random.integers(0, below, shape))


def with_gradient(function: Callable[[Tensor], Tensor]) -> Program:
    """The gradient of the sum of a function's squares."""

    def program(n: int, random: np.random.Generator) -> Tensor:
        x = rows(random, n, 8).requires_grad_()
        (function(x) ** 2).sum().backward()
        assert x.grad is not None
        return x.grad

    return program


def written(n: int, random: np.random.Generator) -> Tensor:
    x = rows(random, n, 8)
    x[n - 1] = 1.0
    x[:, 2] = 0.5
    x[1 : n - 1, 3:5] *= 2
    return x


def masked_means(n: int, random: np.random.Generator) -> Tensor:
    x, lengths = rows(random, 2, n, 8), Tensor([n, n - 1])
    mask = tetragrad.arange(n)[None, :] < lengths[:, None]
    return (x * mask.unsqueeze(-1)).sum(1) / lengths[:, None]


def loss_of_tokens(n: int, random: np.random.Generator) -> Tensor:
    weight = rows(random, 8, 5).requires_grad_()
    scores = rows(random, 3, n, 8) @ weight
    targets = tokens(random, 5, 3, n)
    F.cross_entropy(scores.reshape(-1, 5), targets.reshape(-1)).backward()
    assert weight.grad is not None
    return weight.grad


WEIGHT = rows(np.random.default_rng(0), 8, 8)
FILTERS = rows(np.random.default_rng(1), 6, 8, 3)
LAYER = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

PROGRAMS: dict[str, Program] = {
    "elementwise": lambda n, r: rows(r, n, 8) * 2 + 1,
    "of the inner dimension": lambda n, r: rows(r, 3, n, 4) * 2 + 1,
    "sum": lambda n, r: rows(r, 4, n).sum(1),
    "variance": lambda n, r: rows(r, n, 8).var(0),
    "largest place": lambda n, r: rows(r, 4, n).argmax(1),
    "softmax": lambda n, r: rows(r, 4, n).softmax(1),
    "running sum": lambda n, r: rows(r, 4, n).cumsum(1),
    "flip": lambda n, r: rows(r, 3, n).flip(1),
    "roll": lambda n, r: rows(r, n, 3).roll(1, 0),
    "concatenation": lambda n, r: tetragrad.cat([rows(r, n, 3), rows(r, 2, 3)]),
    "rows times weights": lambda n, r: rows(r, 3, n, 8) @ WEIGHT,
    "sum over rows": lambda n, r: rows(r, 8, n) @ rows(r, n, 5),
    "square": lambda n, r: rows(r, 3, n, 8) @ rows(r, 3, 8, n),
    "attention": lambda n, r: F.scaled_dot_product_attention(
        *(rows(r, 2, 2, n, 8) for _ in range(3)), is_causal=True
    ),
    "convolution": lambda n, r: F.conv1d(rows(r, 2, 8, n), FILTERS, padding=1),
    "image": lambda n, r: F.conv2d(rows(r, 1, 3, n + 2, n + 2), rows(r, 4, 3, 3, 3)),
    "transformer": lambda n, r: LAYER(rows(r, 2, n, 8)).detach(),
    "reshape": lambda n, r: (rows(r, 3, n, 8) + 1).reshape(-1, 8).exp(),
    "reshape of what is short": lambda n, r: (rows(r, n, 8) + 1).reshape(8, n).sum(1),
    "bools": lambda n, r: (rows(r, 3, n) > 0).reshape(-1),
    "triangle": lambda n, r: tetragrad.tril(rows(r, n, n)),
    "one of each row": lambda n, r: rows(r, 3, n).gather(1, tokens(r, n, 3, 2)),
    "embedding": lambda n, r: WEIGHT[tokens(r, 8, 2, n)].mean(1),
    "scatter": lambda n, r: tetragrad.zeros(n, 3).scatter_add(
        0, tokens(r, n, 4, 3), rows(r, 4, 3)
    ),
    "histogram": lambda n, r: tetragrad.zeros(5).index_add(
        0, tokens(r, 5, n), rows(r, n)
    ),
    "last row": lambda n, r: rows(r, 2, n, 8)[:, -1] * 2,
    "differences": lambda n, r: (lambda x: x[1:] - x[:-1])(rows(r, n, 3)),
    "written": written,
    "masked": masked_means,
    "windows": lambda n, r: rows(r, n + 4).unfold(0, 3, 1).sum(-1),
    "gradient of a softmax": with_gradient(lambda x: x.softmax(0)),
    "gradient of a norm": with_gradient(lambda x: F.layer_norm(x, (8,))),
    "gradient of a running sum": with_gradient(lambda x: x.cumsum(0)),
    "gradient of a maximum": with_gradient(lambda x: x.amax(0)),
    "gradient of a convolution": with_gradient(
        lambda x: F.conv1d(x.T[None], FILTERS, padding=1)
    ),
    "gradient of a reshape": with_gradient(lambda x: x.reshape(8, -1).exp().sum(1)),
    "loss": loss_of_tokens,
}


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    # Earlier tests may have run graphs of the same families.
    varying.forget()
    growing.forget()
    # What is still pending elsewhere, as the layer's weights, would run with the first.
    (LAYER.linear1.weight + WEIGHT.sum()).detach().numpy()
    yield
    growing.forget()


@pytest.fixture
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands beyond a size, or was not written yet, is NaN, -1 or true."""
    on = realize.device("cpu")
    allocate = type(on).allocate

    def poisoned(self: Device, nbytes: int) -> Any:
        memory = allocate(self, nbytes)
        memory.data[:nbytes] = 0xFF
        return memory

    monkeypatch.setattr(type(on), "allocate", poisoned)


@pytest.mark.usefixtures("_poisoned")
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_length_is_right_and_few_are_compiled(name, compiled, monkeypatch):
    program = PROGRAMS[name]

    def results(lengths: tuple[int, ...]) -> list[np.ndarray]:
        return [program(n, np.random.default_rng(n)).numpy() for n in lengths]

    found = results(LENGTHS)
    assert len(compiled) <= COMPILED
    with monkeypatch.context() as alone:
        alone.setattr(growing, "grown_schedule", lambda *arguments: None)
        wanted = results(LENGTHS[2:6])
    for got, want in zip(found[2:6], wanted, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_text_that_grows_token_by_token(compiled):
    """As PyTorch programs write it: each new token is joined to those before."""
    embedding, head = nn.Embedding(11, 8), nn.Linear(8, 11)
    text = tetragrad.tensor([[1, 2]])
    with tetragrad.no_grad():
        for _ in range(20):
            scores = head(LAYER(embedding(text)))[:, -1]
            text = tetragrad.cat((text, scores.argmax(-1, keepdim=True)), dim=1)
            assert text.numpy().shape == text.shape
        written = len(compiled)
        for length in range(2, text.shape[1]):
            scores = head(LAYER(embedding(text[:, :length])))[:, -1]
            assert scores.argmax(-1).item() == text[0, length].item()
    assert written <= 7


def test_what_comes_back_often_gets_kernels_of_its_own(compiled):
    x = {n: rows(np.random.default_rng(n), n, 8) for n in (5, 6, 7)}
    for _ in range(growing.OFTEN):
        for value in x.values():
            (value @ WEIGHT).softmax(0).numpy()
            growing_again = len(compiled)
    for _ in range(3):
        (x[7] @ WEIGHT).softmax(0).numpy()
    assert growing_again == 3 and len(compiled) == 4


def test_what_would_not_fit_at_its_maximum_runs_as_it_is(monkeypatch):
    on = realize.device("cpu")

    def check_fits(self: object, nbytes: int, purpose: str) -> None:
        if nbytes > 40_000:
            raise OutOfMemoryError(purpose)

    monkeypatch.setattr(type(on), "check_fits", check_fits)
    for n in (5, 6, 7, 8):
        x = np.full((n, 1000), n, np.float32)
        np.testing.assert_array_equal((Tensor(x) * 2 + 1).numpy(), x * 2 + 1)


def test_indices_are_checked_at_every_length():
    table = rows(np.random.default_rng(0), 10, 4)
    for n in (5, 6, 7, 8):
        places = np.arange(n)
        np.testing.assert_array_equal(table[Tensor(places)], table.numpy()[places])
    places[-1] = 10
    with pytest.raises(IndexingError, match="10"):
        table[Tensor(places)].numpy()


def test_two_sizes_that_change_apart():
    random = np.random.default_rng(0)
    for one, other in ((3, 9), (4, 7), (6, 12), (5, 5), (9, 3), (12, 30)):
        x, y = random.standard_normal((one, 8)), random.standard_normal((other, 8))
        got = (Tensor(x) @ Tensor(y).T).sum(1) + Tensor(y).sum()
        np.testing.assert_allclose(got.numpy(), (x @ y.T).sum(1) + y.sum(), rtol=1e-9)


def test_sizes_follow_from_few():
    seen = [(5, 6, 5, 320), (6, 7, 6, 384), (7, 8, 7, 448)]
    forms = forms_of(seen[-1], seen)
    one = ((0, 1),)
    assert forms == Forms(((one, 0), (one, 1), (one, 0), (((0, 64),), 0)), (0,))
    assert values_of(forms, (9, 10, 9, 576)) == (9,)
    assert values_of(forms, (9, 11, 9, 576)) is None


def test_two_graphs_are_no_rule():
    assert forms_of((6, 7), [(5, 6), (6, 7)]) is None
    # 25, 36 and 49 are no multiples of what changes less: a size of its own.
    squares = forms_of((7, 49), [(5, 25), (6, 36), (7, 49)])
    assert squares is not None and len(squares.symbols) == 2


def test_a_shorter_batch_stands_apart():
    seen = [(64, 5), (64, 9), (17, 4), (64, 7)]
    forms = forms_of(seen[-1], seen)
    assert forms is not None and forms.all[0] == ((), 64)
