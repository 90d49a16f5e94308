"""The parts of ``torch.utils`` that programs import, under the same names."""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import missing
from tetragrad.utils import checkpoint, data

__all__ = ["checkpoint", "data"]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.utils", __all__)
