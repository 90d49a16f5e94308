"""Every setting, in one frozen object; this file alone reads the environment.

>>> from tetragrad.core.settings import override, settings
>>> with override(debug=2):
...     settings().debug
2
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import SettingError
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path


def _setting(
    default: Any,
    variable: str,
    text: str,
    *,
    code: bool = False,
    accepted: Container[Any] | None = None,
) -> Any:
    """Declare one setting; ``code`` marks those that change generated code."""
    metadata = {"variable": variable, "text": text, "code": code, "accepted": accepted}
    return field(default=default, metadata=metadata)


_COUNTS = range(1 << 16)


class _Folders:
    """Names of folders: anything but a switch, which was meant for another variable."""

    def __contains__(self, value: object) -> bool:
        return str(value).lower() not in _BOOLS


@frozen
class Settings:
    """What a user may set, from the environment or with :func:`override`."""

    device: str = _setting(
        "cpu",
        "TETRAGRAD_DEVICE",
        "where new tensors live; by default a GPU if there is one that can be used",
    )
    debug: int = _setting(
        0,
        "DEBUG",
        "2: a line a kernel; 4: tile programs; 5: target text",
        accepted=_COUNTS,
    )
    graph: bool = _setting(False, "GRAPH", "write a DOT picture of what fused")
    data: str = _setting("", "TETRAGRAD_DATA", "folder with data sets and weights")
    cache: str = _setting(
        "",
        "TETRAGRAD_CACHE",
        "folder of the disk cache; TETRAGRAD_DISK_CACHE=0 keeps nothing",
        accepted=_Folders(),
    )
    disk_cache: bool = _setting(True, "TETRAGRAD_DISK_CACHE", "keep compiled kernels")
    disk_cache_megabytes: int = _setting(
        512,
        "TETRAGRAD_DISK_CACHE_MEGABYTES",
        "how much to keep; what was not used for longest goes first",
        accepted=range(1, 1 << 24),
    )
    threads: int = _setting(
        0, "TETRAGRAD_THREADS", "CPU threads; 0 means all cores", accepted=_COUNTS
    )
    jit: bool = _setting(True, "TETRAGRAD_JIT", "replay captured functions")
    keep_packed: bool = _setting(
        True,
        "TETRAGRAD_KEEP_PACKED",
        "keep weights of small batches as products read them, beside the weights",
    )
    fuse: bool = _setting(True, "TETRAGRAD_FUSE", "join kernels", code=True)
    tune: bool = _setting(
        False, "TETRAGRAD_TUNE", "measure other plans when a kernel is compiled"
    )
    tune_milliseconds: int = _setting(
        1000,
        "TETRAGRAD_TUNE_MILLISECONDS",
        "how long to measure the plans of one kernel",
        accepted=range(1, 1 << 24),
    )
    verify: bool = _setting(False, "TETRAGRAD_VERIFY", "check between all stages")
    fma: bool = _setting(
        True, "TETRAGRAD_FMA", "contract a product and a sum", code=True
    )
    tf32: bool = _setting(
        False,
        "TETRAGRAD_TF32",
        "let a GPU multiply float32 matrices with 11 binary digits",
        code=True,
    )
    winograd: bool = _setting(
        True,
        "TETRAGRAD_WINOGRAD",
        "let convolutions on a CPU multiply transformed tiles, which takes less",
        code=True,
    )
    vector_bytes: int = _setting(
        0,
        "TETRAGRAD_VECTOR_BYTES",
        "CPU vector width: 16, 32 or 64; 0 means the chip's",
        code=True,
        accepted=(0, 16, 32, 64),
    )

    def code_key(self) -> tuple[Any, ...]:
        """The values that generated code depends on, for cache keys."""
        return self._code_values

    @cached_property
    def _code_values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in _CODE_SETTINGS])


_CODE_SETTINGS = [entry.name for entry in fields(Settings) if entry.metadata["code"]]
_BOOLS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _parse(entry: Any, text: str) -> Any:
    """A variable's value; an empty one is as good as none."""
    kind = type(entry.default)
    if not text.strip():
        return entry.default
    if kind is str:
        return text
    value = _BOOLS.get(text.strip().lower()) if kind is bool else _whole(text)
    if value is None:
        wanted = "1 or 0" if kind is bool else "a whole number"
        raise _refusal(entry, f"{entry.metadata['variable']}={text!r}", wanted)
    return value


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _refusal(entry: Any, given: str, wanted: str) -> SettingError:
    variable = entry.metadata["variable"]
    return SettingError(
        f"{given} is not {wanted}", hint=f"{variable} means: {entry.metadata['text']}"
    )


def _checked(changed: Settings, given: str = "{variable}={value!r}") -> Settings:
    """Settings whose values all make sense, or SettingError."""
    for entry in fields(Settings):
        value, accepted = getattr(changed, entry.name), entry.metadata["accepted"]
        said = given.format(value=value, name=entry.name, **entry.metadata)
        kind = type(entry.default)
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise _refusal(entry, said, f"of type {kind.__name__}")
        if accepted is not None and value not in accepted:
            raise _refusal(entry, said, "a value that it accepts")
    return changed


def from_environment() -> Settings:
    """Read every setting's variable; a wrong value raises SettingError."""
    entries = {entry.metadata["variable"]: entry for entry in fields(Settings)}
    _refuse_misspelt(set(entries))
    values = {
        entry.name: _parse(entry, os.environ[variable])
        for variable, entry in entries.items()
        if variable in os.environ
    }
    return _checked(Settings(**values))


def _refuse_misspelt(known: set[str]) -> None:
    """A variable that is almost one of ours would otherwise do nothing, silently."""
    unknown = [name for name in os.environ if name.startswith("TETRAGRAD_")]
    for name in sorted(set(unknown) - known):
        # Imported here because hardly any program needs it.
        from difflib import get_close_matches

        meant = get_close_matches(name, known, n=1, cutoff=0.85)
        if meant:
            raise SettingError(
                f"there is no setting {name!r} in the environment",
                hint=f"did you mean {meant[0]}?",
            )


def _only_device() -> str:
    return "cpu"


#: Says where tensors live when nobody does; replaced by who knows of other devices.
find_device: Callable[[], str] = _only_device
_process_settings: Settings | None = None
_override: ContextVar[Settings | None] = ContextVar("tetragrad_settings", default=None)


def settings() -> Settings:
    """The settings in force here: an override's, else the environment's."""
    global _process_settings
    active = _override.get()
    if active is not None:
        return active
    if _process_settings is None:
        _process_settings = _with_device(from_environment())
    return _process_settings


def _with_device(read: Settings) -> Settings:
    """The settings, with a device even if the environment names none."""
    if os.environ.get("TETRAGRAD_DEVICE", "").strip():
        return read
    return replace(read, device=find_device())


@contextmanager
def override(**values: Any) -> Iterator[Settings]:
    """Use other values inside a ``with`` block, in this thread or task only."""
    unknown = set(values) - {entry.name for entry in fields(Settings)}
    if unknown:
        known = ", ".join(entry.name for entry in fields(Settings))
        raise SettingError(
            f"there is no setting {sorted(unknown)[0]!r}", hint=f"known: {known}"
        )
    changed = _checked(replace(settings(), **values), "{name}={value!r}")
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


def cache_folder() -> Path:
    """The folder for what can be made or fetched again, kernels and downloads."""
    # Slow to import, and most of what imports the package never gets here.
    from pathlib import Path

    if settings().cache:
        return Path(settings().cache).expanduser()
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():
        # A user without a home has no cache: nothing can be kept below this.
        return Path(os.devnull)
    if sys.platform == "win32":
        usual, variable = home / "AppData" / "Local", "LOCALAPPDATA"
    elif sys.platform == "darwin":
        usual, variable = home / "Library" / "Caches", ""
    else:
        usual, variable = home / ".cache", "XDG_CACHE_HOME"
    # A relative path in the variable would mean another folder in every program.
    configured = Path(os.environ.get(variable, ""))
    return (configured if configured.is_absolute() else usual) / "tetragrad"
