"""A few of PyTorch's own samples of each function that is not covered elsewhere.

All samples of all operators are run by ``python -m conformance.op_db``; this keeps a
mistake from getting that far.
"""

from __future__ import annotations

import itertools

import pytest

import tetragrad

pytest.importorskip("expecttest")
pytest.importorskip("torch")

from conformance.op_db_exclusions import EXCLUSIONS
from conformance.op_db_samples import operators, redirect, run_sample, samples

#: How many samples of a name are run, spread over all of them.
EACH = 2

NAMES = """
    addbmm addmv addr arange atleast_2d bincount bucketize cartesian_prod cdist
    column_stack combinations constant_pad_nd corrcoef cov cumulative_trapezoid
    diag_embed diagflat diagonal_scatter diff digamma dist dsplit dstack fill flip frexp
    gather gcd gradient histogram histogramdd hsplit i0 igamma index_add
    index_fill index_put index_reduce inner isclose lcm ldexp lgamma linspace logspace
    masked.amax masked.mean masked.softmax masked.var masked_scatter meshgrid
    mode nanmedian nanquantile narrow nextafter nonzero_static norm
    permute_copy polygamma put quantile renorm scatter scatter_reduce searchsorted
    select_scatter signal.windows.gaussian signal.windows.kaiser slice_scatter
    special.bessel_y0 special.entr special.erfcx
    special.hermite_polynomial_he special.i1e
    special.ndtri special.xlog1py special.zeta squeeze_copy
    std_mean sum_to_size tensor_split trapezoid tril_indices unique_consecutive
    unravel_index vdot vsplit __rmatmul__ __rpow__
    nn.functional.adaptive_max_pool2d nn.functional.avg_pool2d
    nn.functional.cosine_similarity nn.functional.fractional_max_pool2d
    nn.functional.grid_sample nn.functional.hinge_embedding_loss
    nn.functional.huber_loss nn.functional.interpolate
    nn.functional.linear_cross_entropy nn.functional.max_unpool2d
    nn.functional.multi_margin_loss nn.functional.pdist
""".split()


@pytest.fixture(autouse=True)
def _redirected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of PyTorch that are given a tensor of ours call ours."""
    monkeypatch.setattr(
        tetragrad.Tensor, "__torch_function__", staticmethod(redirect), raising=False
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_samples_agree_with_torch(name: str) -> None:
    found = list(itertools.islice(samples(name), 200))
    step = max(1, len(found) // EACH)
    for entry, sample in found[::step][:EACH]:
        run_sample(entry, sample)


def test_every_exclusion_is_of_a_name_that_exists() -> None:
    assert set(EXCLUSIONS) <= set(operators())
