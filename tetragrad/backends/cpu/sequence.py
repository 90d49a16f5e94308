"""Launching many programs with one native call, with no Python in between.

The driver is one function for all captures: it walks a table of pairs, the address of
an entry and of its arguments, and calls each in turn.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from tetragrad.backends.cpu import compiler, pool
from tetragrad.core.once import once

_NAME = "tetragrad_run_all"
_TEXT = f"""\
define void @{_NAME}(ptr %pool, ptr %table, i64 %count) {{
start:
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %step, label %end
step:
  %index = phi i64 [ 0, %start ], [ %next, %step ]
  %row = getelementptr [2 x ptr], ptr %table, i64 %index
  %entry = load ptr, ptr %row
  %second = getelementptr ptr, ptr %row, i64 1
  %arguments = load ptr, ptr %second
  call void %entry(ptr %pool, ptr %arguments)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %step, label %end
end:
  ret void
}}
"""
_Driver = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


@once
def _driver() -> tuple[compiler.LoadedModule, Callable[[int | None, int, int], None]]:
    """The compiled driver, with the module that keeps it in memory."""
    module = compiler.load(compiler.assemble(_TEXT))
    return module, _Driver(module.address(_NAME))


def prepare(
    rows: Sequence[Sequence[int]], kept: Sequence[np.ndarray], *, uses_threads: bool
) -> Callable[[], None]:
    """A function that calls every row's entry with the arguments at its address.

    ``kept`` is the memory that the arguments lie in.
    """
    _, run_all = _driver()
    table = np.array(rows, np.uint64)
    address, count = table.ctypes.data, len(rows)

    def launch_all(
        table: np.ndarray = table, kept: Sequence[np.ndarray] = kept
    ) -> None:
        # The pool may have been resized, or be a forked child's, since the last call.
        run_all(pool.state_address() if uses_threads else None, address, count)

    return launch_all
