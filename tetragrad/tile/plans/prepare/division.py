"""One kernel as two: one that runs first, and the rest, which reads what that stored.

A plan is made of divisions, and of grids for what they leave. Each kind says in a file
of its own what it is worth, and how it is done.
"""

from __future__ import annotations

from tetragrad.kernel.ir import Kernel


class Division:
    """A way to divide a kernel; what differs from kind to kind are its fields."""

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that runs first, and the rest."""
        raise NotImplementedError
