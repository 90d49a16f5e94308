"""Cases at the edges that random comparison with PyTorch has found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional

torch = pytest.importorskip("torch")


def assert_same(mine: Any, theirs: Any) -> None:
    assert str(mine.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert mine.shape == tuple(theirs.shape)
    np.testing.assert_allclose(
        mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6
    )


def both(array: Any) -> tuple[Any, Any]:
    return Tensor(np.asarray(array)), torch.from_numpy(np.asarray(array))


ROWS = np.array([1, 0, 2])
SINGLE = np.array(1)
KEYS = [
    (3, slice(0, 2), ROWS, -2),
    (-2, slice(None), slice(1, 3), np.array([True, False, True])),
    (SINGLE, Ellipsis, ROWS),
    (slice(None), ROWS, 0, ROWS),
    (slice(None), ROWS, SINGLE, ROWS),
    (slice(None), ROWS, None, ROWS),
    (slice(None), ROWS, Ellipsis, ROWS),
    (slice(None), SINGLE, ROWS),
    (SINGLE, slice(None), SINGLE),
    (ROWS, slice(None), SINGLE),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_numbers_among_arrays_are_taken_first(key: tuple[Any, ...]) -> None:
    array = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
    mine, theirs = both(array)

    def converted(make: Any) -> tuple[Any, ...]:
        return tuple(
            make(entry) if isinstance(entry, np.ndarray) else entry for entry in key
        )

    my_key, their_key = converted(Tensor), converted(torch.from_numpy)
    assert_same(mine[my_key], theirs[their_key])
    mine[my_key], theirs[their_key] = -1.0, -1.0
    assert_same(mine, theirs)


def test_the_deviation_of_equal_values_has_gradient_zero() -> None:
    equal = [[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]]
    mine = Tensor(equal, requires_grad=True)
    theirs = torch.tensor(equal, requires_grad=True)
    mine.std(1).sum().backward()
    theirs.std(1).sum().backward()
    assert_same(mine.grad, theirs.grad)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(9, 5), (4, 2), (7, 3)], ids=str)
def test_filtered_images_whose_corners_stay(mode: str, size: tuple[int, int]) -> None:
    mine, theirs = both(np.random.default_rng(0).normal(size=(1, 1, 5, 4)))
    options = {"size": size, "mode": mode, "align_corners": True, "antialias": True}
    expected = torch.nn.functional.interpolate(theirs, **options)
    assert_same(functional.interpolate(mine, **options), expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "sizes", [(-1, 2), (2, -3), (-2, -1), (1, -1), (0, 0), (-3, 2)], ids=str
)
def test_padding_that_cuts(mode: str, sizes: tuple[int, int]) -> None:
    mine, theirs = both(np.arange(5.0).reshape(1, 5))
    expected = torch.nn.functional.pad(theirs, sizes, mode)
    assert_same(functional.pad(mine, sizes, mode), expected)


def test_padding_that_cuts_everything_off() -> None:
    mine, theirs = both(np.arange(2.0).reshape(1, 2))
    expected = torch.nn.functional.pad(theirs, (-3, 4), "replicate")
    assert_same(functional.pad(mine, (-3, 4), "replicate"), expected)
    with pytest.raises(ShapeError, match="something must be left"):
        functional.pad(mine, (-3, 1), "replicate")


def test_windows_that_do_not_overlap_can_be_written_to() -> None:
    mine, theirs = both(np.arange(12.0).reshape(3, 4))
    mine.unfold(1, 2, 2).add_(100)
    theirs.unfold(1, 2, 2).add_(100)
    assert_same(mine, theirs)
    with pytest.raises(ShapeError, match="several of its elements are one"):
        mine.unfold(1, 2, 1).add_(1)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_nothing(name: str) -> None:
    mine, theirs = both(np.zeros((3, 0), np.float32))
    assert_same(getattr(mine, name)(1), getattr(theirs, name)(1))


@pytest.mark.parametrize("name", ["all", "any"])
def test_truth_of_bytes_is_bytes(name: str) -> None:
    for array in (np.array([[0, 2]], np.uint8), np.zeros((2, 0), np.uint8)):
        mine, theirs = both(array)
        assert_same(getattr(mine, name)(1), getattr(theirs, name)(1))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
@pytest.mark.parametrize("exponent", [np.int32, np.float32, np.float64])
def test_ldexp_dtypes(dtype: Any, exponent: Any) -> None:
    mine, theirs = both(np.array([3, 5], dtype))
    power, their_power = both(np.array([2, 3], exponent))
    assert_same(mine.ldexp(power), theirs.ldexp(their_power))


def test_blocks_of_numbers_and_rows() -> None:
    pairs = [both(np.array(value)) for value in (1.0, [2.0, 3.0], [[4.0], [5.0]])]
    mine, theirs = zip(*pairs, strict=True)
    assert_same(tetragrad.block_diag(*mine), torch.block_diag(*theirs))
    with pytest.raises(ShapeError, match="block_diag"):
        tetragrad.block_diag(Tensor.zeros(1, 1, 1))


def test_product_of_bools_as_bool() -> None:
    mine, theirs = both(np.array([[True, False], [True, True]]))
    assert_same(mine.prod(1, dtype="bool"), theirs.prod(1, dtype=torch.bool))
    number, their_number = both(np.array(True))
    assert_same(number.sum_to_size(()), their_number.sum_to_size(()))


def test_batches_without_elements() -> None:
    mine, theirs = both(np.zeros((0, 3), np.float32))
    statistics = [both(np.zeros(3, np.float32)) for _ in range(2)]
    for training in (True, False):
        expected = torch.nn.functional.batch_norm(
            theirs, *(entry for _, entry in statistics), training=training
        )
        found = functional.batch_norm(
            mine, *(entry for entry, _ in statistics), training=training
        )
        assert_same(found, expected)


@pytest.mark.parametrize("right", [False, True])
def test_not_a_number_is_searched_for_and_in(right: bool) -> None:
    edges, their_edges = both([1.0, 2.0, np.nan])
    values, theirs = both([0.0, 1.0, 1.5, 2.0, 3.0, np.nan])
    assert_same(
        tetragrad.searchsorted(edges, values, right=right),
        torch.searchsorted(their_edges, theirs, right=right),
    )


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize(("shape", "dim"), [((0, 2), 0), ((2, 0), 1), ((0, 2), 1)])
def test_logsumexp_of_nothing(shape: Any, dim: int, keepdim: bool) -> None:
    mine, theirs = both(np.zeros(shape, np.float32))
    assert_same(mine.logsumexp(dim, keepdim), theirs.logsumexp(dim, keepdim))


def test_gradient_of_an_angle_at_the_origin() -> None:
    sine, their_sine = both(np.array([0.0, 0.0, 1.0]))
    cosine, their_cosine = both(np.array([0.0, 1.0, 0.0]))
    mine, theirs = [sine, cosine], [their_sine, their_cosine]
    for entry in mine + theirs:
        entry.requires_grad_()
    sine.atan2(cosine).sum().backward()
    their_sine.atan2(their_cosine).sum().backward()
    for entry, wanted in zip(mine, theirs, strict=True):
        assert_same(entry.grad, wanted.grad)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_nothing_stays_as_it_is(training: bool) -> None:
    mine, theirs = both(np.zeros((0,), np.float32))
    found = functional.batch_norm(mine, mine, mine, training=training)
    wanted = torch.nn.functional.batch_norm(theirs, theirs, theirs, training=training)
    assert_same(found, wanted)
