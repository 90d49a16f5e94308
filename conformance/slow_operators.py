"""The list of operators that are slow beside PyTorch's, for ``docs/conformance.md``.

The figures are those of ``benchmarks/operators.py``. Why an operator is slow is not in
them, so the reasons are here; one without a reason is listed as such.
"""

from __future__ import annotations

from typing import Any

#: An operator that takes this many times PyTorch's time is listed.
SLOW = 3.0

_LAUNCH = (
    "so little to do that a replayed call's own 0.1 to 0.3 ms count, most of it to "
    "compare what the function depends on"
)
_HOST = (
    "computed by NumPy on the host, which solves with a general matrix, and a plain "
    "call costs 0.2 ms of Python"
)
_FOURIER = (
    "made of products with small dense matrices and a kernel between each two, where "
    "PyTorch has one routine for the whole transform"
)

#: Why, by the beginning of an operator's name.
REASONS = {
    "fmod": "exact for any quotient, by long division bit by bit; most elements need "
    "few of the steps, but all lanes of a vector take them together",
    "remainder": "as fmod",
    "floor_divide": "as fmod, by which the exact quotient is found",
    "gcd": "Euclid's steps are unrolled for the worst case, whatever the numbers are",
    "erfinv": "two more steps of Newton's method than PyTorch takes, for errors below "
    "two units in the last place",
    "logcumsumexp": "sums powers with a shift for each place within blocks of 32, "
    "where PyTorch carries one shift along the row",
    "solve_triangular": _HOST,
    "lu": _HOST,
    "fft": _FOURIER,
    "rfft": _FOURIER,
    "irfft": _FOURIER,
    "take": _LAUNCH,
    "matmul (complex)": "four products of real matrices and two sums",
}


def slow_operators(record: dict[str, Any]) -> list[str]:
    """The section: how many were timed, and a table of the slow ones."""
    operators: dict[str, dict[str, Any]] = record["operators"]
    times = {
        name: entry["milliseconds"]
        for name, entry in operators.items()
        if "milliseconds" in entry
    }
    slow = {name: _ratio(took) for name, took in times.items() if _ratio(took) > SLOW}
    lines = [
        "## Slow operators",
        "",
        f"{len(times)} common operators at one normal size each (a million elements, "
        "for most), with values that agree with PyTorch's; "
        f"{record['threads']} threads, PyTorch {record['torch']}, {record['date']}. "
        f"{_count_faster(times)} take less time than in PyTorch's eager mode, "
        f"{len(slow)} take more than {SLOW:.0f} times as long. Ours is the captured "
        "function, or a plain call where that is faster or nothing can be captured.",
        "",
        "```sh",
        "python benchmarks/operators.py",
        "```",
        "",
    ]
    if slow:
        lines += ["| operator | ours, ms | PyTorch, ms | times | why |"]
        lines += ["|---|---:|---:|---:|---|"]
    for name, ratio in sorted(slow.items(), key=lambda item: -item[1]):
        took = times[name]
        lines.append(
            f"| {name} | {_ours(took):.2f} | {took['torch']:.2f} | {ratio:.1f} "
            f"| {reason_of(name)} |"
        )
    failures = sorted(set(operators) - set(times))
    if failures:
        listed = ", ".join(
            f"{name} ({operators[name]['failure']})" for name in failures
        )
        lines += ["", f"Not timed: {listed}."]
    return [*lines, ""]


def reason_of(name: str) -> str:
    """Why an operator is slow, as far as somebody has found out."""
    found = [start for start in REASONS if name.startswith(start)]
    return REASONS[max(found, key=len)] if found else "not looked into yet"


def _ours(took: dict[str, float]) -> float:
    return min(took["plain"], took.get("captured", took["plain"]))


def _ratio(took: dict[str, float]) -> float:
    return _ours(took) / took["torch"]


def _count_faster(times: dict[str, dict[str, float]]) -> int:
    return sum(_ratio(took) < 1 for took in times.values())
