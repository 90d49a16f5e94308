"""PyTorch's switches under its names, and what they mean for products of float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tetragrad
from tetragrad.backends import switches
from tetragrad.core.settings import configure, settings


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(switches, "_turned", {})
    before = settings().tf32
    yield
    configure(tf32=before)


def test_either_switch_allows_fewer_digits() -> None:
    assert not tetragrad.backends.cuda.matmul.allow_tf32
    tetragrad.backends.cudnn.allow_tf32 = True
    assert settings().tf32
    assert tetragrad.backends.cuda.matmul.allow_tf32
    assert tetragrad.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("allowing", ["convolutions", "products"])
def test_a_switch_that_forbids_counts_whatever_the_other_says(allowing: str) -> None:
    """Products and convolutions are the same kernels, so neither may lose digits."""
    both = {
        "products": tetragrad.backends.cuda.matmul,
        "convolutions": tetragrad.backends.cudnn,
    }
    allows = both.pop(allowing)
    (forbids,) = both.values()
    forbids.allow_tf32 = False
    allows.allow_tf32 = True
    assert not settings().tf32
    forbids.allow_tf32 = True
    assert settings().tf32


def test_the_precision_of_products_is_their_switch() -> None:
    tetragrad.set_float32_matmul_precision("high")
    assert tetragrad.backends.cuda.matmul.allow_tf32
    tetragrad.backends.cuda.matmul.allow_tf32 = False
    assert tetragrad.get_float32_matmul_precision() == "highest"


def test_switches_of_what_is_not_there() -> None:
    tetragrad.backends.cudnn.benchmark = True
    assert not tetragrad.backends.mps.is_available()
    assert tetragrad.backends.cuda.is_built()
    with pytest.raises(AttributeError, match="backends has no"):
        _ = tetragrad.backends.cudnnn
