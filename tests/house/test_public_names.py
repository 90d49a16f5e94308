"""The public names are a list: adding or removing one is a decision, seen in a diff.

``public_names.txt`` holds one name a line. After a change on purpose, write it again:

    python tests/house/test_public_names.py
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

LIST = Path(__file__).parent / "public_names.txt"

MODULES = (
    "tetragrad",
    "tetragrad.amp",
    "tetragrad.autograd",
    "tetragrad.autograd.functional",
    "tetragrad.cuda",
    "tetragrad.cuda.amp",
    "tetragrad.data",
    "tetragrad.distributions",
    "tetragrad.fft",
    "tetragrad.func",
    "tetragrad.linalg",
    "tetragrad.nn",
    "tetragrad.nn.functional",
    "tetragrad.nn.init",
    "tetragrad.nn.utils",
    "tetragrad.nn.utils.parametrizations",
    "tetragrad.nn.utils.parametrize",
    "tetragrad.nn.utils.prune",
    "tetragrad.nn.utils.rnn",
    "tetragrad.onnx",
    "tetragrad.optim",
    "tetragrad.optim.lr_scheduler",
    "tetragrad.optim.swa_utils",
    "tetragrad.random",
    "tetragrad.special",
    "tetragrad.state",
    "tetragrad.utils",
    "tetragrad.utils.data",
    "tetragrad.xp",
    "tetragrad.xp.fft",
    "tetragrad.xp.linalg",
)


def names_of(module: ModuleType) -> list[str]:
    """What a module offers: its ``__all__``, else what is defined in it."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    )


def tensor_names() -> list[str]:
    """The methods and attributes of tensors."""
    from tetragrad import Tensor

    return sorted(name for name in dir(Tensor) if not name.startswith("_"))


def public_names() -> list[str]:
    """Every public name, in full."""
    names = [
        f"{module}.{name}"
        for module in MODULES
        for name in names_of(importlib.import_module(module))
    ]
    return names + [f"tetragrad.Tensor.{name}" for name in tensor_names()]


def public_objects() -> Iterator[tuple[str, Any]]:
    """Public functions and classes, with their public methods."""
    seen: set[int] = set()
    for name in public_names():
        module, _, last = name.rpartition(".")
        if module == "tetragrad.Tensor":
            owner: Any = importlib.import_module("tetragrad").Tensor
        else:
            owner = importlib.import_module(module)
        value = inspect.getattr_static(owner, last, None) or getattr(owner, last)
        if id(value) not in seen and (callable(value) or isinstance(value, property)):
            seen.add(id(value))
            yield name, value


def test_public_names_are_listed() -> None:
    listed = set(LIST.read_text("utf-8").split())
    found = set(public_names())
    message = f"run python {Path(__file__).name}, and say so in CHANGELOG.md"
    assert sorted(found - listed) == [], f"new names; {message}"
    assert sorted(listed - found) == [], f"names that are gone; {message}"


@pytest.mark.parametrize("module", MODULES)
def test_every_listed_name_exists(module: str) -> None:
    loaded = importlib.import_module(module)
    assert [name for name in names_of(loaded) if not hasattr(loaded, name)] == []


def test_public_names_have_docstrings() -> None:
    bare = [name for name, value in public_objects() if not inspect.getdoc(value)]
    assert not bare, f"{len(bare)} without a docstring:\n" + "\n".join(bare)


if __name__ == "__main__":
    LIST.write_text("\n".join(public_names()) + "\n", "utf-8")
