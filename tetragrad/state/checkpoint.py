"""Save and restore everything that a training run needs to go on as if uninterrupted.

A checkpoint is one safetensors file, so other programs can read the weights in it:
the model's tensors are called ``model.<name>``. What is not a tensor (learning
rates, step counts, the position in the data) is JSON in the file's metadata.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tetragrad.core.errors import FileFormatError
from tetragrad.core.frozen import frozen
from tetragrad.state.bytes_source import PathOrBytes
from tetragrad.state.safetensors import (
    SafetensorsFile,
    open_safetensors,
    write_safetensors,
)
from tetragrad.state.tree import join, split
from tetragrad.tensor import Tensor
from tetragrad.tensor.generator import default_generator

FORMAT = "tetragrad checkpoint"
VERSION = 1
PARTS = (
    "model", "optimizer", "scheduler", "loader", "step", "extra", "rng", "random",
)  # fmt: skip


class Stateful(Protocol):
    """What models, optimisers, schedules and loaders have in common."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@frozen
class Checkpoint:
    """The contents of a checkpoint; a part that was not saved is None.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> state.save_checkpoint(path, model=nn.Linear(2, 1))
    >>> state.load_checkpoint(path).optimizer is None
    True
    """

    model: Any = None
    optimizer: Any = None
    scheduler: Any = None
    loader: Any = None
    step: int | None = None
    extra: Any = None
    rng: Any = None
    random: Any = None


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: Stateful | None = None,
    optimizer: Stateful | None = None,
    scheduler: Stateful | None = None,
    loader: Stateful | None = None,
    step: int | None = None,
    extra: Any = None,
    rng: Mapping[str, Any] | None = None,
) -> None:
    """Write the state of a training run to one file, atomically.

    ``extra`` takes any nesting of numbers, texts, tensors, arrays, lists, tuples and
    dictionaries; ``rng`` the state of random generators of your own. That of
    ``tetragrad.random`` is saved without being asked for.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> state.save_checkpoint(path, model=nn.Linear(2, 1))
    >>> sorted(state.load_checkpoint(path).model)
    ['bias', 'weight']
    """
    objects = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "loader": loader,
    }
    parts: dict[str, Any] = {"step": step, "extra": extra, "rng": rng}
    generator = default_generator()
    # Numbers, not a tensor: other programs that read the file find weights only.
    words = generator.get_state().tolist()
    parts["random"] = {"seed": generator.seed, "state": words}
    for name, value in objects.items():
        parts[name] = None if value is None else value.state_dict()
    metadata = {"format": FORMAT, "version": str(VERSION)}
    arrays: dict[str, np.ndarray] = {}
    for name in PARTS:
        text, part_arrays = split(parts[name], name)
        metadata[name] = text
        arrays.update(part_arrays)
    metadata["checksum"] = _checksum(arrays, metadata)
    write_safetensors(arrays, path, metadata)


def load_checkpoint(
    path: PathOrBytes,
    *,
    model: Stateful | None = None,
    optimizer: Stateful | None = None,
    scheduler: Stateful | None = None,
    loader: Stateful | None = None,
    random: bool = True,
) -> Checkpoint:
    """Read a checkpoint and restore the objects that are given.

    ``tetragrad.random`` continues where it was, too, unless ``random`` is false. The
    whole file is read and checked before the first object changes.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> state.save_checkpoint(path, model=nn.Linear(2, 1))
    >>> model = nn.Linear(2, 1)
    >>> sorted(state.load_checkpoint(path, model=model).model)
    ['bias', 'weight']
    """
    file = open_safetensors(path)
    checkpoint = _read(file)
    objects = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "loader": loader,
    }
    wanted = {name: value for name, value in objects.items() if value is not None}
    for name in wanted:
        if getattr(checkpoint, name) is None:
            raise FileFormatError(
                f"{file.name}: the checkpoint holds no {name}",
                hint=f"pass {name}= to save_checkpoint as well",
            )
    for name, value in wanted.items():
        value.load_state_dict(getattr(checkpoint, name))
    if random and checkpoint.random is not None:
        generator = default_generator()
        generator.seed = checkpoint.random["seed"]
        generator.set_state(Tensor(checkpoint.random["state"], dtype="uint32"))
    return checkpoint


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Tells a damaged disk or copy; it is no protection from an enemy."""
    total = 0
    for name in PARTS:
        total = zlib.crc32(metadata.get(name, "").encode(), total)
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        elements = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        total = zlib.crc32(elements.data, total)
    return f"{total:08x}"


def _read(file: SafetensorsFile) -> Checkpoint:
    if file.metadata.get("format") != FORMAT:
        raise FileFormatError(
            f"{file.name}: this safetensors file is not a tetragrad checkpoint",
            hint="read plain weights with load_safetensors",
        )
    version = file.metadata.get("version")
    if version != str(VERSION):
        raise FileFormatError(
            f"{file.name}: the checkpoint has version {version!r}; this program reads "
            f"version {VERSION}",
            hint="update tetragrad, or write the checkpoint again",
        )
    # Files of before there were checksums have none.
    expected = file.metadata.get("checksum")
    if expected is not None and _checksum(file, file.metadata) != expected:
        raise FileFormatError(
            f"{file.name}: the checkpoint is damaged: its contents have changed since "
            "it was written",
            hint="use an earlier checkpoint, or copy the file again",
        )
    parts = {name: join(file.metadata.get(name, "null"), file) for name in PARTS}
    return Checkpoint(**parts)
