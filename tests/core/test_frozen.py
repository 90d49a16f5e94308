"""Our frozen dataclasses behave as Python's do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import (
    FrozenInstanceError,
    asdict,
    dataclass,
    field,
    fields,
    is_dataclass,
    replace,
)
from functools import cached_property
from typing import Any, ClassVar

import pytest

from tetragrad.core.frozen import frozen
from tetragrad.core.frozen import replace as frozen_replace


@frozen
class Point:
    """A point, and what it is called."""

    axes: ClassVar[int] = 2
    x: int
    y: int = 0
    names: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def distance(self) -> int:
        return abs(self.x) + abs(self.y)


@frozen(slots=True)
class Small:
    """Without a dictionary."""

    x: int
    y: Any = None


@frozen
class Named(Point):
    """With one field more than its base."""

    name: str = "?"


@frozen(slots=True, refuses=False)
class Quick:
    """Only type checkers see that it must not change."""

    x: int
    y: Any = None
    names: Sequence[str] = field(default_factory=tuple)


@frozen(eq=False)
class Unique:
    """Equal to itself only."""

    x: int


@frozen
class Checked:
    """Refuses what makes no sense."""

    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(f"{self.x} is below 0")


@dataclass(frozen=True)
class Model:
    """What ours are compared with."""

    x: int
    y: int = 0
    names: Sequence[str] = field(default_factory=tuple)


@frozen
class Nothing:
    """No fields at all."""


@pytest.mark.parametrize("kind", [Point, Model])
def test_construction(kind: Any) -> None:
    assert (kind(1).x, kind(1).y, kind(1).names) == (1, 0, ())
    assert kind(1, y=2) == kind(x=1, y=2, names=())
    for wrong in [(), (1, 2, 3, 4)]:
        with pytest.raises(TypeError, match="argument"):
            kind(*wrong)
    with pytest.raises(TypeError, match="'z'"):
        kind(1, z=2)


def test_equality_and_hash_are_by_fields_and_class() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1) != Named(1)
    other: Any = 1
    assert Small(1) != other
    assert len({Small(1), Small(1), Small(2)}) == 2
    assert Unique(1) != Unique(1)
    assert len({Unique(1), Unique(1)}) == 2
    assert Nothing() == Nothing()


@pytest.mark.parametrize("made", [Point(1), Small(1), Named(1), Unique(1)])
def test_nothing_can_be_set(made: Any) -> None:
    with pytest.raises(FrozenInstanceError, match="'x'"):
        made.x = 2
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del made.x
    with pytest.raises(AttributeError):
        made.other = 2


def test_it_is_a_dataclass_to_everybody_else() -> None:
    kind: Any = Point
    assert is_dataclass(kind)
    assert [entry.name for entry in fields(Named)] == ["x", "y", "names", "name"]
    assert replace(Point(1, 2), y=3) == Point(1, 3)
    assert asdict(Small(1, Small(2))) == {"x": 1, "y": {"x": 2, "y": None}}
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert repr(Point(1)) == "Point(x=1, y=0, names=())"
    assert Point(3, -4).distance == 7


@pytest.mark.parametrize("made", [Point(1, 2, ("a",)), Small(1, [2]), Named(1)])
def test_copies_and_pickles(made: Any) -> None:
    assert copy.copy(made) == made
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_the_checks_of_a_class_run() -> None:
    assert Checked(1).x == 1
    with pytest.raises(ValueError, match="below 0"):
        Checked(-1)
    with pytest.raises(ValueError, match="below 0"):
        replace(Checked(1), x=-1)


def test_slots_leave_no_dictionary() -> None:
    assert not hasattr(Small(1), "__dict__")
    assert not hasattr(Quick(1), "__dict__")


def test_what_refuses_nothing_is_made_and_compared_alike() -> None:
    made = Quick(1, names=("a",))
    assert (made.x, made.y, made.names) == (1, None, ("a",))
    assert made == Quick(x=1, y=None, names=("a",)) != Quick(2)
    assert hash(made) == hash(frozen_replace(Quick(2, names=("a",)), x=1))
    assert pickle.loads(pickle.dumps(made)) == made
    assert repr(Quick(1)) == "Quick(x=1, y=None, names=())"


@pytest.mark.parametrize("made", [Point(1, 2, ("a",)), Named(1, name="b"), Unique(2)])
def test_changed_copies_are_those_of_dataclasses(made: Any) -> None:
    _ = getattr(made, "distance", None)
    changed = frozen_replace(made, x=5)
    assert (changed.x, vars(made)["x"]) == (5, made.x)
    assert [getattr(changed, entry.name) for entry in fields(made)] == [
        getattr(replace(made, x=5), entry.name) for entry in fields(made)
    ]
    # What was worked out from the old fields is worked out again.
    assert getattr(changed, "distance", 0) == getattr(replace(made, x=5), "distance", 0)


def test_changed_copies_of_others() -> None:
    assert frozen_replace(Small(1), y=2) == Small(1, 2)
    with pytest.raises(ValueError, match="below 0"):
        frozen_replace(Checked(1), x=-1)


def test_classes_of_equal_form_keep_their_own_names() -> None:
    """What is compiled for one is used by the other."""

    @frozen
    class Place:
        x: int
        y: int = 3

    @frozen
    class Word:
        letters: str
        language: str = "any"

    assert (Place(1), Place(x=1)) == (Place(1, 3),) * 2
    assert vars(Word("a")) == {"letters": "a", "language": "any"}
    assert Word(language="b", letters="a") == Word("a", "b")
    assert replace(Place(1), y=4) == Place(y=4, x=1)
    with pytest.raises(TypeError, match="letters"):
        Word()  # type: ignore[call-arg]


def test_a_field_without_default_cannot_follow_one_with() -> None:
    @frozen
    class Place:
        x: int = 0
        y: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="Place has a field without default"):
        Place(1, 2)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})],
)
def test_arguments_that_do_not_fit(args: Any, kwargs: Any) -> None:
    @frozen
    class Place:
        x: int
        y: int = 3

    with pytest.raises(TypeError, match="Place"):
        Place(*args, **kwargs)
