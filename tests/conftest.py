"""What holds for every test: verifiers are on, runs repeat, and no skip is silent.

Nothing is kept from one run for the next, and nothing of the user's is touched.

A skip must have a reason that is true on this machine and listed here. Any other
skip is a failure, so a test cannot fall out of the suite unnoticed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings as hypothesis_settings

from tetragrad.core.settings import settings

os.environ["TETRAGRAD_VERIFY"] = "1"
# A machine with a GPU runs the same tests as one without.
os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
hypothesis_settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis_settings.load_profile("repeatable")

CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """One cache for all workers, empty at first: no kernel escapes verification."""
    if not hasattr(config, "workerinput"):
        config.stash[CACHE] = tempfile.mkdtemp(prefix="tetragrad-tests-")
        os.environ["TETRAGRAD_CACHE"] = config.stash[CACHE]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the cache."""
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)


def _is_missing(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is None


#: A pattern of skip reasons, and whether such a reason holds here.
ACCEPTED_SKIPS: dict[str, Callable[..., bool]] = {
    r"could not import '([\w.]+)'": _is_missing,
    r"TETRAGRAD_DATA is not set": lambda: not settings().data,
    r"Windows has no \w+": lambda: sys.platform == "win32",
    r".* is POSIX's|.* are POSIX's": lambda: os.name == "nt",
    r"reads /proc": lambda: sys.platform != "linux",
}


def is_accepted(reason: str) -> bool:
    """Whether a skip with this reason is listed, and the reason is true."""
    for pattern, holds in ACCEPTED_SKIPS.items():
        match = re.match(pattern, reason)
        if match:
            return holds(*match.groups())
    return False


def _refuse_unlisted_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not is_accepted(reason):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped: {reason!r}, which tests/conftest.py does not accept here"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Turn unlisted skips of tests into failures."""
    report = yield
    _refuse_unlisted_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """Turn unlisted skips of whole modules into failures."""
    report = yield
    _refuse_unlisted_skip(report)
    return report
