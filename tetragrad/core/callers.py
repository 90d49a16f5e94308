"""Which line of the user's is running: the innermost that is not the package's."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

#: Code of ours that was met on the way to the user's, by its identity: a code's own
#: hash is that of its contents.
_own_code: dict[int, CodeType] = {}


def user_code() -> tuple[CodeType, int] | None:
    """The user's code object and line that are running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if id(code) not in _own_code:
            if not frame.f_globals.get("__name__", "").startswith("tetragrad."):
                return code, frame.f_lineno
            _own_code[id(code)] = code
        frame = frame.f_back
    return None
