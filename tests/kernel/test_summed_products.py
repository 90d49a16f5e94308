"""A product of matrices that is summed stays a product."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, without_markers

RNG = np.random.default_rng(0)
LHS, RHS = RNG.standard_normal((40, 24)), RNG.standard_normal((24, 33))


def reductions(tensor: Tensor) -> list[int]:
    """Over how many axes each reduction runs."""
    nodes = without_markers([tensor.node])
    _, lowered = kernels_of(nodes, device("cpu").target, settings())
    return [len(found.axes) for entry in lowered for found in entry.kernel.reductions]


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_the_product_is_computed_before_it_is_summed(dim: int | None) -> None:
    product = Tensor(LHS) @ Tensor(RHS)
    total = product.sum() if dim is None else product.sum(dim)
    assert sorted(reductions(total)) == [1, 2 if dim is None else 1]
    for fuse in (True, False):
        with override(fuse=fuse):
            got = (
                (Tensor(LHS) @ Tensor(RHS)).sum()
                if dim is None
                else (Tensor(LHS) @ Tensor(RHS)).sum(dim)
            )
            np.testing.assert_allclose(got.numpy(), (LHS @ RHS).sum(dim), rtol=1e-10)


def test_sums_over_axes_of_both_factors_are_one() -> None:
    lhs, rhs = Tensor(RNG.standard_normal((5, 4, 3))), Tensor(RNG.standard_normal(3))
    assert reductions((lhs * lhs * rhs).sum(2).sum(0)) == [2]
