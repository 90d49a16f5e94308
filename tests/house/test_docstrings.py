"""Every example in a docstring runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import tetragrad


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
    from tetragrad import Tensor, nn, optim, xp

    return {
        "Tensor": Tensor,
        "nn": nn,
        "np": np,
        "optim": optim,
        "tetragrad": tetragrad,
        "xp": xp,
    }


@pytest.mark.parametrize("name", ["tetragrad", *modules_with_examples()])
def test_examples_print_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in doctest.DocTestFinder().find(module, name):
        test.globs = vars(module) | namespace() | {"__name__": "__main__"}
        tetragrad.manual_seed(0)
        runner.run(test, out=report.append)
    assert not report, "".join(report)
