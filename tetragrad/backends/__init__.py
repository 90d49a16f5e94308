"""Backends: one folder per kind of device, each with everything that device needs.

``backend.py`` says what the engine needs of one; ``reference`` is the smallest.
``switches.py`` has what programs turn under PyTorch's names.
"""

from __future__ import annotations

from typing import Any

from tetragrad.backends.switches import cudnn, mps
from tetragrad.core.errors import missing

__all__ = ["cudnn", "mps"]


def __getattr__(name: str) -> Any:
    if name == "cuda":
        # Nobody pays for its import who does not ask for it.
        import importlib

        return importlib.import_module("tetragrad.backends.cuda")
    raise missing(name, "tetragrad.backends", [*__all__, "cuda"])
