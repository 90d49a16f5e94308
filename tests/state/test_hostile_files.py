"""A sample of the hostile files that ``conformance/hostile_files.py`` reads.

The sweep there has 100,000; this one has some for every way to damage every format.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance.hostile_files import (
    Seed,
    guard,
    mutation,
    outcome,
    sweep,
    warm_up,
)
from conformance.hostile_seeds import all_seeds

pytest.importorskip("torch")

MUTATIONS = 1_500


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    made = all_seeds()
    warm_up(made)
    return made


def test_valid_files_are_read(seeds: list[Seed]) -> None:
    for seed in seeds:
        kind, what = outcome(seed, seed.contents)
        is_program = seed.format == "program"
        # One of NumPy's files holds Python objects, which could be programs too.
        holds_objects = b"'|O'" in seed.contents
        expected = "refused" if is_program or holds_objects else "read"
        assert kind == expected, f"{seed.name}: {what}"


def test_damaged_files_are_read_or_refused(seeds: list[Seed]) -> None:
    report = sweep(seeds, range(MUTATIONS))
    assert not report.failures
    kinds = {"idx", "npz", "safetensors", "torch", "program"}
    assert kinds <= {entry.split()[0] for entry in report.counts}


def test_mutations_repeat(seeds: list[Seed]) -> None:
    assert mutation(seeds, 123)[1] == mutation(seeds, 123)[1]


@pytest.mark.parametrize(
    "harm",
    [
        lambda contents: eval("1 + 1"),
        lambda contents: Path("/dev/null").read_bytes(),
        lambda contents: __import__("antigravity_that_does_not_exist"),
        lambda contents: 1 / 0,
        lambda contents: sys.exit(0),
    ],
)
def test_harm_is_noticed(harm: object) -> None:
    seed = Seed("idx", "harmful", b"", harm)  # type: ignore[arg-type]
    assert outcome(seed, b"")[0] == "failed"
    assert not guard().active
