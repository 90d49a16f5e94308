"""Square brackets and views against NumPy, also through aliases and in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tetragrad
from tetragrad import IndexingError, ShapeError, Tensor


def count_up(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, int(np.prod(shape)) + 1).reshape(shape)


@st.composite
def index_items(draw: Any, size: int) -> Any:
    """An index of one dimension: number, slice, list."""
    kind = draw(st.sampled_from(["slice", "slice", "number", "list", "array"]))
    if kind == "slice":
        bound = st.none() | st.integers(-size - 2, size + 2)
        step = st.none() | st.integers(-3, 3).filter(bool)
        return slice(draw(bound), draw(bound), draw(step))
    if size == 0:
        return []
    position = st.integers(-size, size - 1)
    if kind == "number":
        return draw(position)
    if kind == "list":
        return draw(st.lists(position, min_size=3, max_size=3))
    return np.array(draw(st.lists(position, min_size=2, max_size=2)))[:, None]


@st.composite
def shapes_and_indices(draw: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    count = draw(st.integers(0, len(shape)))
    front = draw(st.integers(0, count))
    items: list[Any] = [draw(index_items(size)) for size in shape[:front]]
    if count < len(shape) or draw(st.booleans()):
        items.append(Ellipsis)
        back = shape[len(shape) - (count - front) :] if count > front else ()
    else:
        back = shape[front:]
    items += [draw(index_items(size)) for size in back]
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), None)
    return shape, tuple(items)


def plain(item: Any) -> Any:
    """Lists of bools and numbers mean the same to both."""
    return np.array(item, np.int64) if isinstance(item, list) else item


@settings(max_examples=120)
@given(shapes_and_indices())
def test_reading_is_numpys(case: tuple[tuple[int, ...], tuple[Any, ...]]) -> None:
    shape, index = case
    array = count_up(shape)
    expected = array[tuple(plain(item) for item in index)]
    got = Tensor(array)[index]
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.numpy(), expected)


@settings(max_examples=80)
@given(shapes_and_indices(), st.booleans())
def test_assigning_is_numpys(
    case: tuple[tuple[int, ...], tuple[Any, ...]], with_array: bool
) -> None:
    shape, index = case
    array = count_up(shape)
    key = tuple(plain(item) for item in index)
    value: Any = -7
    if with_array:
        value = -count_up(array[key].shape)
    mine = Tensor(array)
    mine[index] = Tensor(value) if with_array else value
    array[key] = value
    np.testing.assert_array_equal(mine.numpy(), array)


VIEWS = [
    lambda x: x[1:],
    lambda x: x[::-1],
    lambda x: x[..., 0],
    lambda x: x.T,
    lambda x: x.reshape(-1),
    lambda x: x[None],
    lambda x: x[0, ...],
    lambda x: x[::2],
    lambda x: x.reshape(2, -1) if x.size % 2 == 0 else x,
]


def both(view: Any, array: np.ndarray, tensor: Tensor) -> tuple[np.ndarray, Tensor]:
    """A view of both; ``size`` means another thing in either library."""
    try:
        made = view(array)
    except IndexError:
        return array, tensor
    if view is VIEWS[-1]:
        return made, tensor.reshape(2, -1) if array.size % 2 == 0 else tensor
    return made, view(tensor)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, len(VIEWS) - 1), min_size=1, max_size=4),
    st.lists(st.integers(0, len(VIEWS) - 1), min_size=0, max_size=3),
)
def test_writing_reaches_every_alias(first: list[int], second: list[int]) -> None:
    array, tensor = np.arange(24).reshape(4, 6), Tensor(np.arange(24).reshape(4, 6))
    array_views, tensor_views = [array], [tensor]
    for number in first:
        one, other = both(VIEWS[number], array_views[-1], tensor_views[-1])
        array_views.append(one)
        tensor_views.append(other)
    one, other = array, tensor
    for number in second:
        one, other = both(VIEWS[number], one, other)
    one, other = np.asarray(one), other
    if one.ndim:
        one[...] = one * 2 + 1
        other[...] = other * 2 + 1
    array_views[-1][...] -= 100
    tensor_views[-1][...] -= 100
    for have, want in zip(tensor_views, array_views, strict=True):
        np.testing.assert_array_equal(have.numpy(), want)


def test_masks() -> None:
    array = count_up((3, 4))
    mask = array % 3 == 0
    tensor = Tensor(array)
    np.testing.assert_array_equal(tensor[mask].numpy(), array[mask])
    np.testing.assert_array_equal(tensor[Tensor(mask)].numpy(), array[mask])
    rows = np.array([True, False, True])
    np.testing.assert_array_equal(tensor[rows].numpy(), array[rows])
    np.testing.assert_array_equal(tensor[rows, 1:].numpy(), array[rows, 1:])
    np.testing.assert_array_equal(tensor[:, mask[0]].numpy(), array[:, mask[0]])
    np.testing.assert_array_equal(tensor[True].numpy(), array[True])
    tensor[tensor > 5] = 0
    array[array > 5] = 0
    np.testing.assert_array_equal(tensor.numpy(), array)
    tensor[Tensor(rows)] = Tensor([[7], [8]])
    array[rows] = np.array([[7], [8]])
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_repeated_indices_keep_the_last_value() -> None:
    tensor = tetragrad.zeros(3)
    tensor[[1, 1, 1]] = Tensor([1.0, 2.0, 3.0])
    assert tensor.tolist() == [0.0, 3.0, 0.0]
    tensor.index_put_((Tensor([1, 1]),), Tensor([1.0, 1.0]), accumulate=True)
    assert tensor.tolist() == [0.0, 5.0, 0.0]


def test_index_tensors_count_negative_from_the_end() -> None:
    tensor = Tensor([10, 20, 30])
    assert tensor[Tensor([-1, 0])].tolist() == [30, 10]
    assert tensor[Tensor(-1)].item() == 30
    # The values are not known when they are used: out of range gives 0.
    assert tensor[Tensor([2]) + 1].tolist() == [0]


def test_gradient_of_indexing() -> None:
    x = tetragrad.zeros(4, requires_grad=True)
    x[[0, 2, 2]].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 2.0, 0.0]


def test_gradient_through_assignment() -> None:
    x = tetragrad.ones(3, requires_grad=True)
    y = tetragrad.zeros(2, 3)
    y[0] = x * 2
    assert y.requires_grad
    y[1, 1:] = y[0, 1:] * 3
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 8.0, 8.0]


def test_assignment_is_bit_exact() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    x[0] = -0.0
    x[1] = float("nan")
    assert np.signbit(x.numpy()[0])
    assert np.isnan(x.numpy()[1])
    joined = tetragrad.cat([x[:1], Tensor([float("inf")])])
    assert np.signbit(joined.numpy()[0])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (5, "index 5 is out of range: dimension 0 of shape (3, 4) has 3 elements"),
        ((0, -5), "index -5 is out of range"),
        ([0, 3], "index 3 is out of range: dimension 0 has 3 elements"),
        ((0, 0, 0), "3 indices for a tensor of shape (3, 4) with 2 dimensions"),
        (1.5, "float 1.5 cannot index a tensor"),
        ("a", "str 'a' cannot index a tensor"),
        ([1.5], "an array of float64 cannot index"),
        ((..., ...), "more than one Ellipsis"),
        (slice(None, None, 0), "a slice with step 0 never moves"),
        (np.ones(2, bool), "a mask of shape (2,) for dimensions (3,)"),
    ],
)
def test_mistakes(index: Any, message: str) -> None:
    with pytest.raises(IndexingError) as caught:
        tetragrad.zeros(3, 4)[index]
    assert message in str(caught.value)


def test_mistakes_of_assignment() -> None:
    x = tetragrad.zeros(3, 4)
    with pytest.raises(ShapeError, match="cannot"):
        x[0] = Tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match="cannot assign a value of shape"):
        x[[0, 1]] = Tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match="expanded view"):
        tetragrad.zeros(1).expand(3)[:] = 1
