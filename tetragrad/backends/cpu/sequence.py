"""Launching many programs with one native call, with no Python in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tetragrad.backends.cpu import pool


def prepare(
    rows: Sequence[Sequence[int]], kept: Sequence[np.ndarray], *, uses_threads: bool
) -> Callable[[], None]:
    """A function that calls every row's entry with the arguments at its address.

    ``kept`` is the memory that the arguments lie in.
    """
    run_all = pool.run_all()
    table = np.array(rows, np.uint64)
    address, count = table.ctypes.data, len(rows)

    def launch_all(
        table: np.ndarray = table, kept: Sequence[np.ndarray] = kept
    ) -> None:
        # The pool may have been resized, or be a forked child's, since the last call.
        run_all(pool.state_address() if uses_threads else None, address, count)

    return launch_all
