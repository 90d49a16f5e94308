"""The order of contractions: optimal for few operands, sensible for many."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.tensor.contraction_order import OPTIMAL, contraction_order


def work_of(
    steps: tuple[tuple[int, int], ...],
    inputs: list[str],
    output: str,
    sizes: dict[str, int],
) -> int:
    """Multiplications of an order; what only one operand has is summed before."""
    counts = Counter(label for labels in inputs for label in set(labels))
    standing = [
        {label for label in labels if counts[label] > 1 or label in output}
        for labels in inputs
    ]
    work = 0
    for first, second in steps:
        joined = standing[first] | standing[second]
        work += int(np.prod([sizes[label] for label in joined]))
        rest = [e for place, e in enumerate(standing) if place not in (first, second)]
        standing = [*rest, joined & set(output).union(*rest)]
    assert len(standing) == 1
    return work


def every_order(count: int) -> list[tuple[tuple[int, int], ...]]:
    """All ways to multiply so many operands in pairs."""
    if count < 2:
        return [()]
    return [
        (pair, *rest)
        for pair in itertools.combinations(range(count), 2)
        for rest in every_order(count - 1)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_few_operands_are_ordered_optimally(seed: int) -> None:
    generator = random.Random(seed)
    letters = "abcdef"
    sizes = {letter: generator.choice((1, 2, 5, 30)) for letter in letters}
    inputs = [
        "".join(generator.sample(letters, generator.randint(1, 3))) for _ in "four"
    ]
    output = "".join(sorted(set("".join(inputs))))[:2]
    found = work_of(contraction_order(inputs, output, sizes), inputs, output, sizes)
    orders = every_order(len(inputs))
    assert found == min(work_of(steps, inputs, output, sizes) for steps in orders)


def test_many_operands_are_ordered_without_an_explosion() -> None:
    letters = [chr(ord("a") + place) for place in range(26)]
    inputs = [left + right for left, right in itertools.pairwise(letters)]
    sizes = dict.fromkeys(letters, 10)
    assert len(inputs) > OPTIMAL
    steps = contraction_order(inputs, "az", sizes)
    # A chain of matrices takes one product of 10 × 10 matrices for each.
    assert work_of(steps, inputs, "az", sizes) == 1000 * (len(inputs) - 1)


def test_einsum_takes_the_cheap_way() -> None:
    # Left to right this would hold 2 · 10⁹ numbers.
    vector = Tensor.ones(1000)
    found = tetragrad.einsum("i,j,k,i,j,k->", *[vector] * 6)
    assert found.item() == 1e9


def test_chains_in_any_order_give_one_result() -> None:
    generator = np.random.default_rng(0)
    arrays = [
        generator.normal(size=shape) for shape in ((2, 7), (7, 3), (3, 5), (5, 2))
    ]
    found = tetragrad.einsum("ab,bc,cd,de->ae", *map(Tensor, arrays))
    expected = np.linalg.multi_dot(arrays)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_tensordot_repeats_dimensions_of_one() -> None:
    generator = np.random.default_rng(0)
    small, large = generator.normal(size=(3, 1)), generator.normal(size=(4, 2))
    found = tetragrad.tensordot(Tensor(small), Tensor(large), dims=1)
    np.testing.assert_allclose(found.numpy(), small * large.sum(0), rtol=1e-12)
