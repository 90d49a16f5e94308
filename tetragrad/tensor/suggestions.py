"""What to say about a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def missing(name: str, owner: str, known: Iterable[str]) -> AttributeError:
    """The error for ``owner.name``, with the names that look alike."""
    import difflib  # Only for errors: importing it early would cost every user.

    message = f"{owner} has no {name!r}"
    if name.startswith("_"):
        return AttributeError(message)
    public = [entry for entry in known if not entry.startswith("_")]
    near = difflib.get_close_matches(name, public, n=3, cutoff=0.6)
    if near:
        message += f"; did you mean {' or '.join(map(repr, near))}?"
    return AttributeError(message)
