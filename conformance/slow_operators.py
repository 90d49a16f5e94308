"""The list of operators that are slow beside PyTorch's, for ``docs/conformance.md``.

The figures are those of ``benchmarks/operators.py``. Why an operator is slow is not in
them, so the reasons are here; one without a reason is listed as such.
"""

from __future__ import annotations

from typing import Any

#: An operator that takes this many times PyTorch's time is listed.
SLOW = 3.0

# What a call spends its time on: FFTs and small linear algebra profiled on the machine
# of the figures, the others from reading what is run.
_LAUNCH = (
    "a replayed call takes 0.04 ms, most of it to compare what the function depends on"
)
_HOST = (
    "NumPy calls LAPACK for each matrix, which is two thirds of the time; the rest is "
    "Python around that call, in every replay"
)
_TRIANGULAR = (
    "0.45 ms in NumPy, which has no routine for triangular matrices: blocks of 32 are "
    "inverted together and multiplied; the rest is Python"
)
_FOURIER = (
    "two products with dense matrices of about 32 rows, at 40 to 60 GFLOP/s: ten times "
    "the arithmetic of the fast transform that PyTorch calls, and a kernel for each"
)
_SCATTER = (
    "added up from zeros, then added to the tensor in a pass of its own; each element "
    "checks its index before it is added"
)
_COUNT = (
    "elements are added one after the other by one thread, as their places may meet"
)

#: Why, by the beginning of an operator's name.
REASONS = {
    "gcd": "Euclid's steps are written out for the worst case, and skipped where all "
    "lanes are done",
    "erfinv": "a first guess and two of Newton's steps, each with an error function",
    "logcumsumexp": "sums powers with a shift for each place in blocks of 32, where "
    "PyTorch carries one shift along the row",
    "inv": _HOST,
    "det": _HOST,
    "solve": _HOST,
    "solve_triangular": _TRIANGULAR,
    "cholesky": _HOST,
    "lu": "elimination is written in NumPy, which has no routine for it: about ten "
    "calls for each column",
    "fft": _FOURIER,
    "rfft": _FOURIER,
    "rfft of 64": "one product with a dense matrix, which is five times the arithmetic "
    "of a fast transform",
    "irfft": _FOURIER,
    "take": _LAUNCH,
    "diagonal": _LAUNCH,
    "scatter_add": _SCATTER,
    "index_add": _SCATTER,
    "bincount": _COUNT,
    "histc": _COUNT,
    "conj_physical": "whether a lane holds an imaginary part is worked out from its "
    "index, in 64 bits",
    "add (complex)": "complex sums are sums of pairs; half of the time is memory",
    "searchsorted": "a kernel for each bit of a place, seventeen here",
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
