"""Values that have run are given at once, and nothing is walked for them."""

from __future__ import annotations

from tetragrad import Generator, Tensor, rand
from tetragrad.tensor import pending


def test_a_generator_that_waits_for_nothing_does_not_matter(monkeypatch):
    """Its state must advance with whatever runs, but only if it is still to be."""
    generator = Generator().manual_seed(0)
    rand(2, generator=generator).realize()
    tensor = Tensor([1.0, 2.0]).realize()
    pending.realize_tensors([tensor])

    def refuse(storages):
        raise AssertionError("the engine is asked")

    monkeypatch.setattr(pending, "_realize", refuse)
    (buffer,) = pending.realize_tensors([tensor])
    assert buffer is tensor.storage.value
