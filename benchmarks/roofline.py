"""Draw the CPU benchmark's figures below the machine's ceilings.

    python benchmarks/cpu.py --json results/cpu.json --picture docs/roofline.svg

Each row that says how much it computes or moves is a point: to the right, operations
for each byte that must be moved; upwards, how many it did a second. Only caches lift
a point above the roof. A line leads from each of our points to the better one of
PyTorch's and JAX's: one that leads downwards is a row that is ahead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: What is bound by memory alone is drawn at this many operations a byte.
LEFTMOST = 0.125
#: Where the picture ends.
RIGHTMOST = 1000.0
OURS, PEER, ROOF = "#1b6ca8", "#c4622d", "#444444"


def intensity(row: dict[str, Any]) -> float | None:
    """Operations for each byte, as far as the row says; None if it says nothing."""
    if not row["operations"] and not row["nbytes"]:
        return None
    if not row["operations"]:
        return LEFTMOST
    return row["operations"] / (row["nbytes"] or row["touched"])


def rate(row: dict[str, Any], milliseconds: float) -> float:
    """Operations a second; for a row bound by memory, what its bytes would allow."""
    work = max(row["operations"], row["nbytes"] * LEFTMOST)
    return work / (milliseconds / 1e3) / 1e9


def draw(record: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "roofline"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    limits = record["ceilings"]
    span = np.geomspace(LEFTMOST / 1.6, RIGHTMOST * 1.6, 200)
    roof = np.minimum(span * limits["nbytes"], limits["operations"]) / 1e9
    axes.plot(span, roof, color=ROOF, linewidth=1.5, label="measured ceilings")
    rows = [row for row in record["rows"] if intensity(row) is not None]
    # Points of one intensity stand side by side, the slowest first.
    rows.sort(key=lambda row: (intensity(row), rate(row, row["tetragrad"])))
    for row, place in zip(rows, _spread(rows), strict=True):
        peer = min(entry for entry in (row["torch"], row["jax"]) if entry is not None)
        ours, other = rate(row, row["tetragrad"]), rate(row, peer)
        axes.plot([place, place], [other, ours], color=PEER, linewidth=0.7, zorder=1)
        axes.plot(place, other, "_", color=PEER, markersize=6, zorder=2)
        axes.plot(place, ours, "o", color=OURS, markersize=4, zorder=3)
    axes.plot([], [], "o", color=OURS, markersize=4, label="tetragrad")
    axes.plot([], [], "_", color=PEER, label="the better of PyTorch and JAX")
    axes.set(xscale="log", yscale="log", ylim=(0.1, None))
    axes.set_xlabel("operations for each byte that must be moved")
    axes.set_ylabel("billions of operations a second")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _spread(rows: list[dict[str, Any]]) -> list[float]:
    """Where each row's point stands; those of one intensity next to one another."""
    known = [intensity(row) or LEFTMOST for row in rows]
    found = []
    for number, value in enumerate(known):
        same = known.count(value)
        offset = number - known.index(value) - (same - 1) / 2
        found.append(value * 1.5 ** (offset / max(same / 2, 4)))
    return found
