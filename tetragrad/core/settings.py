"""Every setting, in one frozen object; this file alone reads the environment.

>>> from tetragrad.core.settings import override, settings
>>> with override(debug=2):
...     settings().debug
2
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tetragrad.core.errors import SettingError


def _setting(default: Any, variable: str, text: str, *, code: bool = False) -> Any:
    """Declare one setting; ``code`` marks those that change generated code."""
    metadata = {"variable": variable, "text": text, "code": code}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What a user may set, from the environment or with :func:`override`."""

    device: str = _setting("cpu", "TETRAGRAD_DEVICE", "where new tensors live")
    debug: int = _setting(
        0, "DEBUG", "2: a line a kernel; 4: tile programs; 5: target text"
    )
    graph: bool = _setting(False, "GRAPH", "write a DOT picture of what fused")
    data: str = _setting("", "TETRAGRAD_DATA", "folder with data sets and weights")
    cache: str = _setting("", "TETRAGRAD_CACHE", "folder of the disk cache")
    disk_cache: bool = _setting(True, "TETRAGRAD_DISK_CACHE", "keep compiled kernels")
    threads: int = _setting(0, "TETRAGRAD_THREADS", "CPU threads; 0 means all cores")
    jit: bool = _setting(True, "TETRAGRAD_JIT", "replay captured functions")
    fuse: bool = _setting(True, "TETRAGRAD_FUSE", "join kernels", code=True)
    verify: bool = _setting(False, "TETRAGRAD_VERIFY", "check between all stages")
    fma: bool = _setting(
        True, "TETRAGRAD_FMA", "contract a product and a sum", code=True
    )
    vector_bytes: int = _setting(
        0, "TETRAGRAD_VECTOR_BYTES", "CPU vector width; 0 means the chip's", code=True
    )

    def code_key(self) -> tuple[Any, ...]:
        """The values that generated code depends on, for cache keys."""
        return tuple(
            getattr(self, entry.name)
            for entry in fields(self)
            if entry.metadata["code"]
        )


def _parse(entry: Any, text: str) -> Any:
    kind = type(entry.default)
    variable = entry.metadata["variable"]
    if kind is str:
        return text
    try:
        number = int(text)
    except ValueError:
        raise SettingError(
            f"{variable}={text!r} is not a whole number",
            hint=f"{variable} means: {entry.metadata['text']}",
        ) from None
    return bool(number) if kind is bool else number


def from_environment() -> Settings:
    """Read every setting's variable; a wrong value raises SettingError."""
    values = {
        entry.name: _parse(entry, os.environ[entry.metadata["variable"]])
        for entry in fields(Settings)
        if entry.metadata["variable"] in os.environ
    }
    return Settings(**values)


_process_settings: Settings | None = None
_override: ContextVar[Settings | None] = ContextVar("tetragrad_settings", default=None)


def settings() -> Settings:
    """The settings in force here: an override's, else the environment's."""
    global _process_settings
    active = _override.get()
    if active is not None:
        return active
    if _process_settings is None:
        _process_settings = from_environment()
    return _process_settings


@contextmanager
def override(**values: Any) -> Iterator[Settings]:
    """Use other values inside a ``with`` block, in this thread or task only."""
    unknown = set(values) - {entry.name for entry in fields(Settings)}
    if unknown:
        known = ", ".join(entry.name for entry in fields(Settings))
        raise SettingError(
            f"there is no setting {sorted(unknown)[0]!r}", hint=f"known: {known}"
        )
    changed = replace(settings(), **values)
    token = _override.set(changed)
    try:
        yield changed
    finally:
        _override.reset(token)


def configure(**values: Any) -> None:
    """Change settings for the whole process from now on."""
    global _process_settings
    with override(**values) as changed:
        _process_settings = changed
