"""Changes of what is counted: every way to change such a dict counts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from tetragrad.core.changes import CountedDict, changes


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries.__setitem__("b", 2),
        lambda entries: entries.__delitem__("a"),
        lambda entries: entries.__ior__({"b": 2}),
        lambda entries: entries.clear(),
        lambda entries: entries.pop("a"),
        lambda entries: entries.popitem(),
        lambda entries: entries.setdefault("b", 2),
        lambda entries: entries.update(b=2),
    ],
)
def test_every_change_is_counted(change: Callable[[CountedDict], object]) -> None:
    entries, plain = CountedDict(a=1), {"a": 1}
    before = changes.latest
    change(entries)
    change(plain)  # type: ignore[arg-type]
    assert changes.latest != before
    assert entries == plain


def test_a_change_that_fails_halfway_is_counted() -> None:
    entries = CountedDict(a=1)
    before = changes.latest
    with pytest.raises(ValueError, match="sequence"):
        entries.update([("b", 2), ("too", "many", "parts")])  # type: ignore[list-item]
    assert "b" in entries
    assert changes.latest != before


def test_reading_is_no_change() -> None:
    entries = CountedDict(a=1)
    before = changes.latest
    assert entries["a"] == entries.get("a") == 1
    assert [*entries.items()] == [("a", 1)]
    assert changes.latest == before


@pytest.mark.parametrize(
    "duplicate",
    [
        CountedDict.copy,
        copy.copy,
        copy.deepcopy,
        lambda e: pickle.loads(pickle.dumps(e)),
    ],
)
def test_copies_are_counted_too(
    duplicate: Callable[[CountedDict], CountedDict],
) -> None:
    made = duplicate(CountedDict(a=[1]))
    assert type(made) is CountedDict
    assert made == {"a": [1]}
