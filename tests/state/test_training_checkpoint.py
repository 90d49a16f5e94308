"""Everything a training run consists of survives a checkpoint exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tetragrad.core.errors import DTypeError, FileFormatError
from tetragrad.state import load_checkpoint, save_checkpoint
from tetragrad.state.safetensors import open_safetensors, write_safetensors
from tetragrad.state.tree import join, split
from tetragrad.tensor import Tensor


class Holder:
    """Anything with a state_dict."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def tensor(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float32))


def test_everything_comes_back(tmp_path: Path) -> None:
    optimizer_state = {
        "state": {0: {"step": 3, "exp_avg": tensor(0.1, 0.2)}},
        "param_groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.999), "params": [0]}],
    }
    save_checkpoint(
        tmp_path / "run.safetensors",
        model=Holder({"layer.weight": tensor(1, 2)}),
        optimizer=Holder(optimizer_state),
        scheduler=Holder({"last_epoch": 4}),
        loader=Holder({"epoch": 1, "batch": 7}),
        step=1007,
        extra={"losses": [1.5, math.inf], "note": "ä"},
        rng={"key": np.array([1, 2], np.uint64), "counter": 5},
    )
    model, optimizer, scheduler, loader = (Holder(None) for _ in range(4))
    checkpoint = load_checkpoint(
        tmp_path / "run.safetensors",
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        loader=loader,
    )
    assert model.state["layer.weight"].numpy().tolist() == [1, 2]
    restored = optimizer.state["state"][0]
    assert isinstance(restored["exp_avg"], Tensor)
    assert restored["step"] == 3
    assert optimizer.state["param_groups"] == optimizer_state["param_groups"]
    assert scheduler.state == {"last_epoch": 4}
    assert loader.state == {"epoch": 1, "batch": 7}
    assert checkpoint.step == 1007
    assert checkpoint.extra == {"losses": [1.5, math.inf], "note": "ä"}
    assert checkpoint.rng["key"].dtype == np.uint64
    assert checkpoint.rng["counter"] == 5


def test_weights_can_be_read_as_safetensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", model=Holder({"layer.weight": tensor(1, 2)}))
    file = open_safetensors(tmp_path / "run")
    assert list(file) == ["model.layer.weight"]


def test_parts_that_were_not_saved_are_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", step=3)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.step == 3
    assert checkpoint.model is None
    model = Holder("untouched")
    with pytest.raises(FileFormatError, match="holds no optimizer"):
        load_checkpoint(tmp_path / "run", optimizer=model)
    assert model.state == "untouched"


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_safetensors({"a": np.zeros(1)}, path)
    with pytest.raises(FileFormatError, match="not a tetragrad checkpoint"):
        load_checkpoint(path)
    write_safetensors({}, path, {"format": "tetragrad checkpoint", "version": "99"})
    with pytest.raises(FileFormatError, match="version '99'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        '{"tensor": "absent"}',
        '{"tensor": {}}',
        '{"spell": 1}',
        '{"a": 1, "b": 2}',
        "{}",
        '{"dict": [[1]]}',
        '{"dict": [[[], 1]]}',
        '{"dict": 3}',
        '{"tuple": 3}',
        '{"float": "x"}',
    ],
)
def test_a_damaged_structure_is_refused(text: str) -> None:
    with pytest.raises(FileFormatError, match="structure of a checkpoint is damaged"):
        join(text, {})


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match=r"'extra\.model' is a Holder"):
        save_checkpoint(tmp_path / "run", extra={"model": Holder(None)})
    with pytest.raises(DTypeError, match="which JSON cannot hold"):
        save_checkpoint(tmp_path / "run", extra={(1, 2): 3})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(DTypeError, match="levels deep"):
        save_checkpoint(tmp_path / "run", extra=endless)
    assert not (tmp_path / "run").exists()


def test_paths_that_read_the_same_do_not_collide() -> None:
    value = {"a.b": np.zeros(1), "a": {"b": np.ones(2)}}
    text, arrays = split(value, "x")
    assert set(arrays) == {"x.a.b", "x.a.b#2"}
    assert join(text, arrays)["a"]["b"].tolist() == [1, 1]


keys = st.one_of(st.text(max_size=4), st.integers(), st.booleans(), st.none())
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_plain_values_survive_exactly(value: Any) -> None:
    text, arrays = split(value, "x")
    json.loads(text, parse_constant=pytest.fail)
    assert repr(join(text, arrays)) == repr(value)


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int8(-3), np.uint64(2**63)])
def test_numpy_scalars_keep_their_type(scalar: np.generic) -> None:
    text, arrays = split([scalar], "x")
    (restored,) = join(text, arrays)
    assert restored == scalar
    assert type(restored) is type(scalar)
