"""Where the elements of a tile are: choices that caches care about."""

from __future__ import annotations

CACHE_LINE_BYTES = 64


def odd_lines(size: int, line: int) -> int:
    """Round up to an odd number of cache lines, so that rows spread over the sets."""
    if size <= line:
        return size
    lines = -(-size // line)
    return (lines + 1 - lines % 2) * line
