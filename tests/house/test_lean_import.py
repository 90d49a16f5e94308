"""Importing tetragrad is cheap: no compiler, no extra, no work."""

from __future__ import annotations

import subprocess
import sys

import pytest

REPORT = "import sys; print(*sorted(sys.modules))"
#: What ``import tetragrad`` may load beyond NumPy's own modules. It loads some 120;
#: the bound leaves room for growth, not for a package that pulls in others.
MAXIMUM_MODULES = 130


def modules_after(statement: str) -> set[str]:
    """Every module that a fresh interpreter has loaded after a statement."""
    command = [sys.executable, "-c", f"{statement}; {REPORT}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def added() -> set[str]:
    return modules_after("import tetragrad") - modules_after("import numpy, ml_dtypes")


def test_only_the_core_is_imported(added: set[str]) -> None:
    late = {"llvmlite", "torch", "rich", "PIL", "matplotlib", "sklearn", "safetensors"}
    assert not late & added
    backends = "tetragrad.backends.cpu", "tetragrad.backends.reference"
    assert not [name for name in added if name.startswith(backends)]


def test_the_compiler_is_imported_when_it_is_needed(added: set[str]) -> None:
    # The package ``tile`` itself is bound early, and holds nothing.
    compiler = "tetragrad.kernel", "tetragrad.tile.", "tetragrad.engine.pipeline"
    assert not [name for name in added if name.startswith(compiler)]


def test_packages_are_found_when_they_are_asked_for() -> None:
    loaded = modules_after("from tetragrad import data, nn, optim, random, state")
    assert {"tetragrad.data", "tetragrad.nn", "tetragrad.state"} <= loaded


def test_few_modules_are_imported(added: set[str]) -> None:
    assert len(added) <= MAXIMUM_MODULES
