"""Windows summed back: against the sum itself, element by element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.backends.reference.graph import evaluate
from tetragrad.graph.folding import fold


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6])
def test_every_window_is_added_where_it_was(stride: int) -> None:
    for dilation, size, count in itertools.product(
        range(1, 8), (1, 2, 3, 5, 8), (1, 4)
    ):
        reach = stride * (count - 1) + dilation * (size - 1) + 1
        for length in (reach, reach + 3, max(1, reach - 2)):
            check(count, size, (stride, dilation), length)


def check(count: int, size: int, steps: tuple[int, int], length: int) -> None:
    """Fold so many windows of a size, both ways."""
    stride, dilation = steps
    values = np.arange(1.0, 1 + 2 * count * size).reshape(2, count, size)
    expected = np.zeros((2, stride * count + dilation * size + length))
    for window, place in itertools.product(range(count), range(size)):
        expected[:, stride * window + dilation * place] += values[:, window, place]
    source = Tensor(values, device="reference").realize().node
    (found,) = evaluate([fold(source, 1, *steps, length)], lambda _: values)
    np.testing.assert_array_equal(found, expected[:, :length])
