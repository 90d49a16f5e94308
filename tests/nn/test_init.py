"""Starting values drawn with a generator of the user's."""

from __future__ import annotations

import pytest

import tetragrad as tg
from tetragrad import nn

DRAWING = [
    nn.init.uniform_,
    nn.init.normal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
    nn.init.trunc_normal_,
    nn.init.orthogonal_,
]


@pytest.mark.parametrize("fill", DRAWING)
def test_a_generator_decides_what_is_drawn(fill) -> None:
    def drawn(seed: int) -> list[list[float]]:
        generator = tg.Generator().manual_seed(seed)
        return fill(tg.zeros(4, 5), generator=generator).tolist()

    before = tg.get_rng_state().tolist()
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert tg.get_rng_state().tolist() == before


def test_zeros_of_a_sparse_matrix_are_the_generators() -> None:
    def drawn() -> list[list[float]]:
        generator = tg.Generator().manual_seed(3)
        return nn.init.sparse_(tg.zeros(6, 5), 0.5, generator=generator).tolist()

    assert drawn() == drawn()
