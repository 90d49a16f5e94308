"""Weights in and out: safetensors, torch checkpoints, NumPy files, training state::

    save_safetensors(model.state_dict(), "model.safetensors")
    model.load_state_dict(load("model.safetensors"))

No file runs code when it is loaded, and no file is ever left half-written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tetragrad.state.bytes_source import BytesSource, PathOrBytes, open_source
from tetragrad.state.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tetragrad.state.convert import to_array, to_tensor
from tetragrad.state.formats import Format, detect
from tetragrad.state.safetensors import (
    SafetensorsFile,
    open_safetensors,
    write_safetensors,
)
from tetragrad.tensor import Tensor

__all__ = [
    "Checkpoint",
    "SafetensorsFile",
    "load",
    "load_checkpoint",
    "load_safetensors",
    "load_torch",
    "open_safetensors",
    "save_checkpoint",
    "save_safetensors",
]


def load(path_or_bytes: PathOrBytes) -> Any:
    """Read a file of any known format; its contents decide, not its name.

    safetensors and ``.npz`` give a dictionary of tensors, ``.npy`` one tensor, a
    torch checkpoint the structure that was saved.

    >>> import os, tempfile
    >>> from tetragrad import state
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1.0, 2.0])}, path)
    >>> state.load(path)
    {'w': tensor([1., 2.])}
    """
    source = open_source(path_or_bytes)
    match detect(source.data):
        case Format.SAFETENSORS:
            return load_safetensors(path_or_bytes)
        case Format.LEGACY_TORCH:
            return load_torch(path_or_bytes)
        case Format.ZIP | Format.NPY as format:
            arrays = _load_numpy(source, format)
            return load_torch(path_or_bytes) if arrays is None else arrays
    raise source.error(
        f"the format is unknown: the file starts with {bytes(source.data[:8])!r}",
        hint="known formats: safetensors, torch checkpoints, .npy and .npz",
    )


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
    >>> from tetragrad import state
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> state.save_safetensors({"w": Tensor([1.0, 2.0])}, path)
    >>> state.load_safetensors(path)
    {'w': tensor([1., 2.])}
    """
    file = open_safetensors(path_or_bytes)
    return {name: to_tensor(array) for name, array in file.items()}


def save_safetensors(
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors to a safetensors file; a crash leaves the old file whole.

    >>> import os, tempfile
    >>> from tetragrad import state
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
