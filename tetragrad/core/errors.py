"""Every error that a user can meet, as one small tree.

An error says three things: what was asked, with the values; why it cannot be; what
to write instead. The last part is passed as ``hint`` and printed on its own line.
"""

from __future__ import annotations

from collections.abc import Iterable


class TetragradError(Exception):
    """The root of the tree; catch it to catch everything raised on purpose.

    >>> issubclass(tetragrad.ShapeError, tetragrad.TetragradError)
    True
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")


class ShapeError(TetragradError, ValueError):
    """Sizes that do not fit one another or the operation.

    >>> try:
    ...     Tensor([1, 2]) + Tensor([1, 2, 3])
    ... except tetragrad.ShapeError as error:
    ...     print(str(error).splitlines()[0])
    shapes (2,) and (3,) do not broadcast: they differ in dimension -1
    """


class DTypeError(TetragradError, TypeError):
    """A dtype that the operation does not accept.

    >>> issubclass(tetragrad.DTypeError, TypeError)
    True
    """


class IndexingError(TetragradError, IndexError):
    """An index outside its dimension, or of a kind that cannot index.

    >>> issubclass(tetragrad.IndexingError, IndexError)
    True
    """


class DeviceError(TetragradError, RuntimeError):
    """A device that is unknown, closed, or different from the other operand's.

    >>> issubclass(tetragrad.DeviceError, tetragrad.TetragradError)
    True
    """


class OutOfMemoryError(DeviceError, MemoryError):
    """An allocation that cannot fit, found before anything was allocated."""


class GradientError(TetragradError, RuntimeError):
    """A gradient that was asked for and does not exist.

    >>> issubclass(tetragrad.GradientError, RuntimeError)
    True
    """


class ExchangeError(TetragradError, BufferError, ValueError):
    """Memory that cannot be handed to, or taken from, another library as it is."""


class LinAlgError(TetragradError, RuntimeError):
    """A matrix for which what was asked does not exist: singular, not definite.

    >>> issubclass(tetragrad.linalg.LinAlgError, ValueError)
    False
    """


class CaptureError(TetragradError, RuntimeError):
    """Something inside a captured function that a replay could not repeat.

    >>> issubclass(tetragrad.CaptureError, tetragrad.TetragradError)
    True
    """


class FileFormatError(TetragradError, ValueError):
    """A file whose bytes contradict its format."""


class DataError(TetragradError, FileNotFoundError):
    """A data set or model file that could not be found anywhere."""


class SettingError(TetragradError, ValueError):
    """A setting with a value it does not accept."""


class CompileError(TetragradError, RuntimeError):
    """Target text that the assembler refused: a mistake of ours, with the text."""


class VerifyError(TetragradError, AssertionError):
    """A program that breaks an invariant of its level: a mistake of ours."""


class UnsupportedError(TetragradError, NotImplementedError):
    """Something that is meaningful but not built yet; the message says what."""


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
