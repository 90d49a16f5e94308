"""Every example in a docstring runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest

import tetragrad
from tests.house.test_public_names import public_objects
from tetragrad.core.settings import override

#: Public names without an example, and what it would need.
WITHOUT_EXAMPLE = {
    "tetragrad.Tensor.cuda": "a GPU",
    "tetragrad.data.cifar10": "its files",
    "tetragrad.data.digits": "scikit-learn",
    "tetragrad.data.image": "an image's file",
    "tetragrad.data.mnist": "its files",
    "tetragrad.data.mnist_or_digits": "their files",
    "tetragrad.data.read_cifar10": "its files",
    "tetragrad.data.read_data_file": "a data set's file",
    "tetragrad.data.text": "its file",
    "tetragrad.state.load_torch": "a file of PyTorch's",
}


def modules_with_examples() -> list[str]:
    """Every module of the package that has an example anywhere in it."""
    found = []
    for entry in pkgutil.walk_packages(tetragrad.__path__, "tetragrad."):
        spec = importlib.util.find_spec(entry.name)
        assert spec is not None
        assert spec.origin is not None
        with open(spec.origin, encoding="utf-8") as file:
            if ">>> " in file.read():
                found.append(entry.name)
    return found


def namespace() -> dict[str, Any]:
    """What an example may use without importing it."""
    from tetragrad import Tensor, data, nn, optim, state, xp

    return {
        "Tensor": Tensor,
        "data": data,
        "nn": nn,
        "np": np,
        "optim": optim,
        "state": state,
        "tetragrad": tetragrad,
        "xp": xp,
    }


def run_examples(tests: list[doctest.DocTest], names: dict[str, Any]) -> None:
    """Fail with a report if an example does not print what it says."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in tests:
        test.globs = names | namespace() | {"__name__": "__main__"}
        tetragrad.manual_seed(0)
        runner.run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", ["tetragrad", *modules_with_examples()])
def test_examples_print_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    run_examples(doctest.DocTestFinder().find(module, name), vars(module))


def test_public_names_have_examples() -> None:
    bare = {
        name
        for name, value in public_objects()
        if ">>> " not in (inspect.getdoc(value) or "")
    }
    missing = sorted(bare - set(WITHOUT_EXAMPLE))
    assert not missing, f"{len(missing)} without an example:\n" + "\n".join(missing)
    assert sorted(set(WITHOUT_EXAMPLE) - bare) == [], "these have an example"


def is_found(value: Any) -> bool:
    """Whether doctest finds a function's examples in the module they are written in."""
    written = inspect.unwrap(value)
    module = importlib.import_module(written.__module__)
    is_there = written.__globals__ is vars(module) and written.__code__.co_name in (
        written.__name__,
        "<lambda>",
    )
    return is_there and written.__doc__ == value.__doc__


def derived_examples() -> list[doctest.DocTest]:
    """The examples in docstrings that are put together when a function is made."""
    parser = doctest.DocTestParser()
    tests = []
    for name, value in public_objects():
        if inspect.isfunction(value) and not is_found(value):
            text = inspect.getdoc(value) or ""
            tests.append(parser.get_doctest(text, {}, name, None, None))
    return tests


def test_derived_examples_print_what_they_say() -> None:
    # They are mostly in-place forms of functions whose own examples are compiled.
    with override(device="reference"):
        run_examples(derived_examples(), {})
