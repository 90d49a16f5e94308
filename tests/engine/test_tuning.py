"""Measured plans: what is tried, how long, and where it is remembered."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check
from tetragrad import Tensor
from tetragrad.backends.cuda.target import target_for
from tetragrad.core.settings import Settings, override, settings
from tetragrad.engine import realize, tuning, tuning_database
from tetragrad.engine.assembly import executables, plan_name
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.tuning_database import Entry, TuningDatabase
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.candidates import CHANGES, MODEL, candidates


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> Iterator[None]:
    with override(cache=str(tmp_path)):
        tuning_database._exists.cache_clear()
        yield
    tuning_database._exists.cache_clear()


def softmax_kernel(columns: int, rows: int = 64) -> Kernel:
    x = Tensor(np.ones((rows, columns), np.float32)).realize()
    node = x.softmax(-1).node
    on = realize.device("cpu")
    _, (lowered,) = kernels_of([node], on.target, settings())
    return lowered.kernel


def database() -> TuningDatabase:
    return TuningDatabase(realize.device("cpu").target, settings())


@pytest.mark.parametrize("target", TARGETS)
def test_every_candidate_is_right(target: str) -> None:
    kernel = softmax_kernel(1000, rows=12)
    found = candidates(kernel, TARGETS[target], settings())
    assert next(iter(found)) == MODEL == tuning_database.UNKNOWN
    assert 1 < len(found) <= len(CHANGES) <= 8
    for plan in found.values():
        check(kernel, TARGETS[target], plan)


def test_a_measured_plan_is_remembered_and_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, on = softmax_kernel(1001), realize.device("cpu")
    wanted = "half the registers"
    entry = Entry(wanted, {MODEL: 2.0, wanted: 1.0})
    monkeypatch.setattr(tuning, "measure", lambda *arguments: entry)
    assert plan_name(kernel, on, settings()) == MODEL
    with override(tune=True):
        assert plan_name(kernel, on, settings()) == wanted
        monkeypatch.undo()
        assert plan_name(kernel, on, settings()) == wanted
    assert plan_name(kernel, on, settings()) == wanted
    assert database().read(kernel) == entry
    assert list(database().entries().values()) == [entry]


def test_tuned_results_are_right_and_the_same_bits_again() -> None:
    x = np.random.default_rng(0).standard_normal((64, 3000)).astype(np.float32)
    with override(tune=True, tune_milliseconds=300):
        tuned = Tensor(x).sum(1).numpy()
        again = Tensor(x).sum(1).numpy()
    later = Tensor(x).sum(1).numpy()
    np.testing.assert_allclose(tuned, x.sum(1), rtol=1e-5, atol=1e-4)
    assert tuned.tobytes() == again.tobytes() == later.tobytes()


def test_the_budget_is_kept() -> None:
    """Each look at this clock takes a second; a candidate needs two and more."""
    seconds = itertools.count()
    kernel, on = softmax_kernel(1002), realize.device("cpu")
    with override(tune_milliseconds=20_000):
        entry = tuning.measure(kernel, on, settings(), lambda: float(next(seconds)))
    assert entry is not None and MODEL in entry.seconds
    assert len(entry.seconds) < len(candidates(kernel, on.target, settings()))
    assert next(seconds) <= 21


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"plan": "model", "seconds": 3}', b"\xff\x00"]
)
def test_damaged_entries_are_none(content: bytes) -> None:
    kernel, known = softmax_kernel(1003), database()
    known.write(kernel, Entry("half the pieces", {}))
    known._own.write(known.key(kernel), content)
    assert known.read(kernel) is None
    path = known._own._path(known.key(kernel))
    path.write_bytes(b"no checksum, and no entry")
    assert database().plan_of(kernel) == MODEL


def test_an_unknown_plan_is_the_models() -> None:
    kernel, on = softmax_kernel(1004), realize.device("cpu")
    database().write(kernel, Entry("a plan of another version", {}))
    assert executables([kernel], on, settings())


def test_the_package_has_defaults_which_the_user_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, known = softmax_kernel(1005), database()
    defaults = {known.key(kernel): "half the cache"}
    (tmp_path / f"{known.name}.json").write_text(json.dumps(defaults))
    monkeypatch.setattr(tuning_database, "DEFAULTS", tmp_path)
    tuning_database._defaults.cache_clear()
    assert known.plan_of(kernel) == "half the cache"
    known.write(kernel, Entry("half the pieces", {}))
    assert known.plan_of(kernel) == "half the pieces"
    tuning_database._defaults.cache_clear()


def test_shipped_defaults_name_plans_that_there_are() -> None:
    for path in tuning_database.DEFAULTS.glob("*.json"):
        plans = json.loads(path.read_text("utf-8")).values()
        # Products by roles are named by their blocks.
        assert all(name in CHANGES or re.match(r"\d+ x \d+", name) for name in plans)


def test_what_ships_is_for_targets_and_settings_of_today() -> None:
    h200 = target_for(9, 0, units=132)
    assert h200 is not None
    # A fact or a setting that is new gives another name: then measure and write again.
    known = {TuningDatabase(h200, Settings()).name}
    assert {path.stem for path in tuning_database.DEFAULTS.glob("*.json")} == known
