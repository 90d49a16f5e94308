"""Run the array API standard's own test suite, with tetragrad.xp as the namespace.

    python -m conformance.array_api                      # 100 examples a test
    python -m conformance.array_api --examples 5 --device reference
    python -m conformance.array_api --only test_linalg --suite ~/array-api-tests

The suite is data-apis/array-api-tests with its submodule array-api; without ``--suite``
both are cloned from GitHub at the revisions named here. It needs pytest, hypothesis,
ndindex and pytest-json-report. A test that is skipped has failed, unless the suite
skips it itself.

``conformance/results/array_api.json`` says what passed. It is written after each of the
suite's modules, and those that do not run keep what they had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "array_api.json"
VERSION = "2025.12"
SUITE = "https://github.com/data-apis/array-api-tests"
SUITE_REVISION = "55fcc60179efa2680ddd6cd926ddf17b83530e2b"

_FLAKY = (
    "the suite skips it itself, as flaky: @pytest.mark.skip(reason='flaky') before "
    "test_remainder in test_operators_and_elementwise_functions.py. Without that mark "
    "all five pass here, with 100 examples"
)

#: Tests that are left out, with the reason.
EXCLUDED: dict[str, str] = {
    f"test_operators_and_elementwise_functions::test_remainder[{call}]": _FLAKY
    for call in (
        "remainder(x1, x2)",
        "__mod__(x1, x2)",
        "__mod__(x, s)",
        "__imod__(x1, x2)",
        "__imod__(x, s)",
    )
}


@dataclass(frozen=True)
class Outcome:
    """What became of one test; no message means that it passed."""

    name: str
    message: str


def cloned_suite() -> Path:
    """A clone of the suite at its revision, made at the first run."""
    place = Path.home() / ".cache" / "tetragrad" / "array-api-tests"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", SUITE, str(place))
    _git("-C", str(place), "checkout", "--quiet", SUITE_REVISION)
    _git("-C", str(place), "submodule", "update", "--init")
    return place


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def modules_of(suite: Path) -> list[str]:
    """The suite's files with tests, without their ending."""
    return sorted(file.stem for file in (suite / "array_api_tests").glob("test_*.py"))


def run(suite: Path, module: str, options: argparse.Namespace, report: Path) -> None:
    """Run one module with pytest, which writes a report of every test."""
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": "tetragrad.xp",
        "ARRAY_API_TESTS_VERSION": VERSION,
        "TETRAGRAD_DEVICE": options.device,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", f"array_api_tests/{module}.py"]
    command += ["--quiet", "--disable-deadline", f"--max-examples={options.examples}"]
    command += ["--tb=line", "-p", "no:cacheprovider", f"--junitxml={report}"]
    if options.workers > 1:
        command += ["-n", str(options.workers)]
    # Failing tests make pytest's exit status nonzero; the report says which.
    subprocess.run(command, cwd=suite, env=environment, check=False)


def outcomes(report: Path) -> Iterator[Outcome]:
    """Every test in pytest's report."""
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.get("classname", "").rpartition(".")[2]
        name = f"{module}::{case.get('name')}"
        found = [case.find(kind) for kind in ("failure", "error", "skipped")]
        message = ""
        for kind in found:
            if kind is not None:
                text = " ".join((kind.get("message") or "").split())
                message = f"{kind.tag}: {text[:400]}"
        yield Outcome(name, message)


def of_module(found: list[Outcome], options: argparse.Namespace) -> dict[str, Any]:
    """What the result file holds of one module."""
    counted = [entry for entry in found if entry.name not in EXCLUDED]
    failures = [entry for entry in counted if entry.message]
    return {
        "date": date.today().isoformat(),
        "device": options.device,
        "examples": options.examples,
        "passed": len(counted) - len(failures),
        "failed": len(failures),
        "failures": [
            {"name": entry.name, "message": entry.message} for entry in failures
        ],
    }


def summary(modules: dict[str, Any]) -> dict[str, Any]:
    """What the result file holds of all modules."""
    return {
        "suite": "data-apis/array-api-tests",
        "version": f"{VERSION} ({SUITE_REVISION[:12]})",
        "date": max(entry["date"] for entry in modules.values()),
        "passed": sum(entry["passed"] for entry in modules.values()),
        "failed": sum(entry["failed"] for entry in modules.values()),
        "excluded": [
            {"name": name, "reason": reason} for name, reason in EXCLUDED.items()
        ],
        "failures": [
            failure for entry in modules.values() for failure in entry["failures"]
        ],
        "modules": dict(sorted(modules.items())),
    }


def known_modules() -> dict[str, Any]:
    """What the result file holds from earlier runs."""
    if not RESULTS.exists():
        return {}
    modules: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))["modules"]
    return modules


def main() -> int:
    """Run the suite, module after module, and say how many tests passed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, help="a checkout of the suite")
    parser.add_argument("--examples", type=int, default=100, help="for each test")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", action="append", help="a module, such as test_fft")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    suite = options.suite or cloned_suite()
    modules = known_modules()
    for module in options.only or modules_of(suite):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            run(suite, module, options, report)
            found = sorted(outcomes(report), key=lambda entry: entry.name)
        modules[module] = of_module(found, options)
        text = json.dumps(summary(modules), indent=1)
        RESULTS.write_text(text + "\n", "utf-8")
    result = summary(modules)
    print(f"{result['passed']} passed, {result['failed']} failed")
    return 0 if not result["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
