"""Write ``docs/conformance.md`` from the result files of all suites.

    python -m conformance.report

The counts in that page are never typed by hand: each suite's script writes a file in
``conformance/results``, and this one turns them into tables.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.slow_operators import slow_operators

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "conformance" / "results"
PAGE = ROOT / "docs" / "conformance.md"

#: Failures of a suite that are listed one by one.
LISTED = 60


@dataclass(frozen=True)
class Suite:
    """A suite whose result file has counts of tests."""

    file: str
    title: str
    about: str
    command: str


SUITES = (
    Suite(
        "array_api.json",
        "Python array API standard",
        "`tetragrad.xp` against the standard's own tests.",
        "python conformance/array_api.py",
    ),
    Suite(
        "op_db_cpu.json",
        "PyTorch's operator samples, device `cpu`",
        "The sample inputs of `torch.testing._internal.common_methods_invocations`, "
        "compared by value, dtype, shape and gradient.",
        "python -m conformance.op_db --device cpu "
        "--output conformance/results/op_db_cpu.json",
    ),
    Suite(
        "op_db_cuda.json",
        "PyTorch's operator samples, device `cuda`",
        "The first samples of each operator on an H200, as a GPU's time is short.",
        "python -m conformance.op_db --device cuda --processes 15 --most 8 "
        "--output conformance/results/op_db_cuda.json",
    ),
    Suite(
        "op_db.json",
        "PyTorch's operator samples, device `reference`",
        "The same samples on the device that defines what operations mean.",
        "python -m conformance.op_db",
    ),
    Suite(
        "onnx.json",
        "ONNX backend tests, device `cpu`",
        "Every test that the `onnx` package brings for backends, but the nine whose "
        "models it would have to download.",
        "python conformance/onnx_backend.py",
    ),
    Suite(
        "onnx_reference.json",
        "ONNX backend tests, device `reference`",
        "The same tests on the device that defines what operations mean.",
        "python conformance/onnx_backend.py --device reference",
    ),
)

HEAD = """\
# Conformance

How far tetragrad passes suites that others wrote. This page is made by
`python -m conformance.report` from the files in `conformance/results`; the suites come
from the packages that carry them, and nothing of them is copied into this repository.
"""


def read(name: str) -> dict[str, Any] | None:
    """A suite's result file; None before its first run."""
    path = RESULTS / name
    if not path.exists():
        return None
    contents: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return contents


def overview(found: Sequence[tuple[Suite, dict[str, Any]]]) -> list[str]:
    """One line a suite."""
    lines = [
        "| suite | version | passed | failed | left out | run on |",
        "|---|---|---:|---:|---:|---|",
    ]
    for suite, result in found:
        cells = (
            suite.title,
            result.get("version", ""),
            f"{result['passed']:,}",
            f"{result['failed']:,}",
            f"{len(result.get('excluded', ())):,}",
            result.get("date", ""),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def section(suite: Suite, result: dict[str, Any]) -> list[str]:
    """What was left out, why, and what failed."""
    lines = [f"## {suite.title}", "", suite.about, ""]
    lines += ["```sh", suite.command, "```", "", *_how_it_ran(result)]
    reasons: dict[str, list[str]] = defaultdict(list)
    for entry in result.get("excluded", ()):
        reasons[entry["reason"]].append(entry["name"])
    if reasons:
        lines += ["Left out:", ""]
        for reason, names in sorted(reasons.items()):
            listed = ", ".join(f"`{name}`" for name in sorted(names))
            lines.append(f"- {listed}: {reason}.")
        lines.append("")
    return lines + _failures(result.get("failures", ()))


def _how_it_ran(result: dict[str, Any]) -> list[str]:
    """The devices and numbers of examples, and what was not run at all."""
    ran: dict[str, list[str]] = defaultdict(list)
    for name, module in result.get("modules", {}).items():
        ran[f"`{module['device']}`, {module['examples']} examples"].append(name)
    lines = [
        f"- Device {how}: {', '.join(f'`{name}`' for name in names)}."
        for how, names in sorted(ran.items())
    ]
    if not ran and "device" in result:
        most = result.get("samples_of_a_name")
        some = f", the first {most} samples of each name" if most else ""
        lines.append(f"- Device `{result['device']}`{some}.")
    if result.get("not_run"):
        lines.append(f"- Not run, and so not counted: {len(result['not_run'])} names.")
    return [*lines, ""] if lines else []


def _failures(failures: Sequence[dict[str, str]]) -> list[str]:
    if not failures:
        return ["Nothing failed.", ""]
    lines = ["Failed:", ""]
    for entry in failures[:LISTED]:
        message = " ".join(entry["message"].split()).replace("|", "\\|")
        lines.append(f"- `{entry['name']}`: {message[:160]}")
    if len(failures) > LISTED:
        lines.append(f"- and {len(failures) - LISTED} more, in the result file")
    return [*lines, ""]


def hostile_files() -> list[str]:
    """How damaged files of every format were met."""
    result = read("hostile_files.json")
    if result is None:
        return []
    lines = [
        "## Hostile files",
        "",
        f"{result['mutations']:,} damaged copies of {result['seeds']} valid files were "
        f"read; the slowest took {result['slowest_seconds']:.2f} seconds. Each was "
        "either still valid or refused with one of the errors in "
        "`tetragrad/core/errors.py`.",
        "",
        "| format and outcome | files |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {count:,} |" for name, count in result["counts"].items()]
    return [*lines, "", *_failures(result["failures"])]


def page() -> str:
    """The whole document."""
    found = [(suite, read(suite.file)) for suite in SUITES]
    present = [(suite, result) for suite, result in found if result is not None]
    lines = [HEAD, *overview(present), ""]
    for suite, result in present:
        lines += section(suite, result)
    lines += hostile_files()
    speed = read("operators.json")
    if speed is not None:
        lines += slow_operators(speed)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Write the document, or the file that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="another file")
    options = parser.parse_args(arguments)
    options.output.write_text(page(), "utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
