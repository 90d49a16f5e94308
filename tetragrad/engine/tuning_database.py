"""Which plan was the fastest: defaults that come with the package, then the user's own.

A kernel is looked up by its structure, the facts of its target and the settings that
change code. The user's entries are files of their own in the cache folder, written and
checked like kept machine code: writers do not meet, and a damaged entry is none. The
defaults are one file for each target that somebody measured.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings, cache_folder
from tetragrad.core.target import Target
from tetragrad.engine.disk_cache import DiskCache, target_facts
from tetragrad.kernel.digest import kernel_digest
from tetragrad.kernel.ir import Kernel

#: The plan of a kernel that nothing is known about: the model's own choice.
UNKNOWN = "model"
#: A plan replaces the model's if its time is below this share of the model's.
WORTH_CHANGING = 0.95
#: The folder of user's entries in the cache folder, and of the package's defaults.
FOLDER = "tuning"
DEFAULTS = Path(__file__).with_name("tuned")


@frozen
class Entry:
    """The plan to take, and the seconds that each one measured took."""

    plan: str
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, seconds: Mapping[str, float]) -> Entry:
        """The fastest plan, unless the model's is hardly slower."""
        best = min(seconds, key=lambda name: seconds[name])
        pays = seconds[best] < WORTH_CHANGING * seconds[UNKNOWN]
        return cls(best if pays else UNKNOWN, seconds)

    def to_bytes(self) -> bytes:
        """As it is kept."""
        record = {"plan": self.plan, "seconds": dict(self.seconds)}
        return json.dumps(record).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Entry | None:
        """The entry that was kept, or None if this is none."""
        try:
            record = json.loads(content)
            seconds = {
                str(name): float(took) for name, took in record["seconds"].items()
            }
            return cls(str(record["plan"]), seconds)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


class TuningDatabase:
    """What is known about kernels on one target."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self.name = _name(target, settings.code_key())
        self._own = DiskCache(settings, FOLDER)

    def entries(self) -> Mapping[str, Entry]:
        """All of the user's entries by key, whatever target they are for."""
        folder = self._own.folder
        paths = [] if folder is None else sorted(folder.glob("??/*"))
        contents = {path.name: self._own.read(path.name) for path in paths}
        found = {
            key: Entry.from_bytes(content or b"") for key, content in contents.items()
        }
        return {key: entry for key, entry in found.items() if entry is not None}

    def plan_of(self, kernel: Kernel) -> str:
        """The plan to take. Costs nothing where nothing was ever measured."""
        if not self._shipped() and not _exists(cache_folder() / FOLDER):
            return UNKNOWN
        entry = self.read(kernel)
        return UNKNOWN if entry is None else entry.plan

    def read(self, kernel: Kernel) -> Entry | None:
        """The user's entry, else the package's, else None."""
        key = self.key(kernel)
        content = self._own.read(key)
        found = None if content is None else Entry.from_bytes(content)
        if found is not None:
            return found
        plan = self._shipped().get(key)
        return None if plan is None else Entry(plan, {})

    def write(self, kernel: Kernel, entry: Entry) -> None:
        """Remember an entry, for other processes too; failing to is not an error."""
        self._own.write(self.key(kernel), entry.to_bytes())
        _exists.cache_clear()

    def key(self, kernel: Kernel) -> str:
        """What the choice depends on. Not our own source: plans are named by intent."""
        digest = hashlib.sha256(self.name.encode())
        digest.update(kernel_digest(kernel))
        return digest.hexdigest()

    def _shipped(self) -> Mapping[str, str]:
        return _defaults(self.name)


@functools.lru_cache
def _name(target: Target, code_key: tuple[Any, ...]) -> str:
    facts = repr((target_facts(target), code_key))
    return hashlib.sha256(facts.encode()).hexdigest()


@functools.lru_cache
def _exists(folder: Path) -> bool:
    return folder.is_dir()


@functools.lru_cache
def _defaults(target: str) -> Mapping[str, str]:
    """The plans of the package's file for a target, by key; mostly there is no file."""
    try:
        content = (DEFAULTS / f"{target}.json").read_text("utf-8")
    except OSError:
        return {}
    found: Mapping[str, str] = json.loads(content)
    return found
