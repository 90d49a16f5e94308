"""Importing tetragrad is cheap: no compiler, no extra, no work."""

from __future__ import annotations

import subprocess
import sys

import pytest

REPORT = "import sys; print(*sorted(sys.modules))"
#: What ``import tetragrad`` may load beyond NumPy's own modules. It loads some 120;
#: the bound leaves room for growth, not for a package that pulls in others.
MAXIMUM_MODULES = 200


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


def test_few_modules_are_imported(added: set[str]) -> None:
    assert len(added) <= MAXIMUM_MODULES
