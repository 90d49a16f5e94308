"""Weights in and out: safetensors, torch checkpoints, NumPy files, training state::

    save(model.state_dict(), "model.pt")
    model.load_state_dict(load("model.pt"))

No file runs code when it is loaded, and no file is ever left half-written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tetragrad.core.errors import DTypeError
from tetragrad.core.settings import override
from tetragrad.state.atomic import atomic_write
from tetragrad.state.bytes_source import BytesSource, PathOrBytes, open_source
from tetragrad.state.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tetragrad.state.convert import to_array, to_tensor
from tetragrad.state.formats import Format, describe, detect
from tetragrad.state.safetensors import (
    SafetensorsFile,
    open_safetensors,
    write_safetensors,
)
from tetragrad.tensor import Tensor
from tetragrad.tensor.devices import device_name

#: What ``save`` and ``load`` accept: also an open binary file.
PathOrFile = Any

__all__ = [
    "Checkpoint",
    "SafetensorsFile",
    "load",
    "load_checkpoint",
    "load_gguf",
    "load_safetensors",
    "load_torch",
    "open_safetensors",
    "save",
    "save_checkpoint",
    "save_safetensors",
]


def save(obj: Any, f: PathOrFile) -> None:
    """Write tensors, and plain values around them, to a file that PyTorch reads too.

    The format is that of ``torch.save``, or safetensors where the file's name ends in
    ``.safetensors``. A file at a path is replaced as a whole or not at all.

    Args:
        obj: numbers, texts, tensors, and lists, tuples and dictionaries of them, such
            as what ``state_dict()`` returns.
        f: a path, or a binary file that is open for writing.

    Raises:
        DTypeError: something that only code could bring back, such as a module.

    >>> import io
    >>> file = io.BytesIO()
    >>> tetragrad.save({"step": 3, "w": Tensor([1.0, 2.0])}, file)
    >>> tetragrad.load(file)
    {'step': 3, 'w': tensor([1., 2.])}
    """
    if not isinstance(f, str | os.PathLike):
        _save_torch(obj, f)
    elif os.fspath(f).endswith(".safetensors"):
        _check_named_tensors(obj)
        save_safetensors(obj, f)
    else:
        with atomic_write(f) as file:
            _save_torch(obj, file)


def _save_torch(value: Any, file: Any) -> None:
    # Slow to import for a program that only computes.
    from tetragrad.state.torch_writer import write_torch

    write_torch(value, file)


def _check_named_tensors(value: Any) -> None:
    """Raise unless a value is what a safetensors file holds."""
    if not isinstance(value, Mapping):
        raise DTypeError(
            f"a safetensors file holds tensors by name, not a {type(value).__name__}",
            hint="save model.state_dict(), or use another ending, such as .pt",
        )
    for name, entry in value.items():
        if not isinstance(entry, Tensor):
            raise DTypeError(
                f"a safetensors file holds tensors only; {name!r} is a "
                f"{type(entry).__name__}",
                hint="use another ending, such as .pt, or save_checkpoint()",
            )


def load(
    f: PathOrFile,
    map_location: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
) -> Any:
    """Read a file of any known format; its contents decide, not its name.

    safetensors, GGUF and ``.npz`` give a dictionary of tensors, ``.npy`` one tensor, a
    torch checkpoint the structure that was saved. No file runs code.

    Args:
        f: a path, the contents of a file, or a binary file.
        map_location: the device for all tensors; the default device if left out.
        weights_only: no more than weights and plain values is ever read, so this
            changes nothing.
        mmap: files are mapped into memory anyway.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1.0, 2.0])}, path)
    >>> state.load(path)
    {'w': tensor([1., 2.])}
    """
    if map_location is None:
        return _load_any(_contents(f))
    if callable(map_location) or isinstance(map_location, Mapping):
        raise DTypeError(
            "load(): map_location is the name of one device here",
            hint='write map_location="cpu"; saved tensors do not say where they were',
        )
    with override(device=device_name(map_location)):
        return _load_any(_contents(f))


def _contents(f: PathOrFile) -> PathOrBytes:
    """A path or bytes; those of an open file are read from its start."""
    if not hasattr(f, "read"):
        return f
    f.seek(0)
    contents: bytes = f.read()
    return contents


def _load_any(path_or_bytes: PathOrBytes) -> Any:
    source = open_source(path_or_bytes)
    match detect(source.data):
        case Format.SAFETENSORS:
            return load_safetensors(path_or_bytes)
        case Format.LEGACY_TORCH:
            return load_torch(path_or_bytes)
        case Format.ZIP | Format.NPY as format:
            arrays = _load_numpy(source, format)
            return load_torch(path_or_bytes) if arrays is None else arrays
        case Format.GGUF:
            return load_gguf(path_or_bytes)
    message, hint = describe(source.data)
    raise source.error(message, hint=hint)


def _load_numpy(source: BytesSource, format: Format) -> Any:
    """The tensors in a NumPy file; None if a zip archive is something else."""
    # Readers of other formats than our own are imported when one is read: archives
    # pull in a tenth of the standard library.
    from tetragrad.state.numpy_files import is_npz, read_npy, read_npz

    if format is Format.NPY:
        return to_tensor(read_npy(source))
    if not is_npz(source):
        return None
    return {name: to_tensor(array) for name, array in read_npz(source).items()}


def load_safetensors(path_or_bytes: PathOrBytes) -> dict[str, Tensor]:
    """All tensors of a safetensors file, by name.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1.0, 2.0])}, path)
    >>> state.load_safetensors(path)
    {'w': tensor([1., 2.])}
    """
    file = open_safetensors(path_or_bytes)
    return {name: to_tensor(array) for name, array in file.items()}


def load_gguf(path_or_bytes: PathOrBytes) -> dict[str, Tensor]:
    """All tensors of a GGUF file, by name; what is quantised becomes float32.

    ``tetragrad.state.gguf.open_gguf`` also gives the file's metadata, and one tensor
    at a time.

    >>> state.load_gguf(b"GGUF" + bytes([3, 0, 0, 0]) + bytes(16))
    {}
    """
    from tetragrad.state.gguf import open_gguf

    return {name: to_tensor(array) for name, array in open_gguf(path_or_bytes).items()}


def save_safetensors(
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors to a safetensors file; a crash leaves the old file whole.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1, 2])}, path)
    >>> list(state.load_safetensors(path))
    ['w']
    """
    arrays = {name: to_array(tensor, name) for name, tensor in tensors.items()}
    write_safetensors(arrays, path, metadata)


def load_torch(path_or_bytes: PathOrBytes) -> Any:
    """The structure in a file of ``torch.save``, with tensors; no code is run.

    Parameters become tensors, ``torch.Size`` a tuple, ``torch.device`` a text and
    NumPy scalars plain numbers. Anything that is not plain data is refused by name.
    """
    from tetragrad.state.torch_checkpoint import read_torch

    return read_torch(path_or_bytes, to_tensor)
