"""Read the weights in files that ``torch.save`` wrote, without torch.

There are two containers. Since 1.6, a zip archive: ``<name>/data.pkl`` describes the
structure and ``<name>/data/<key>`` holds the elements of one storage. Before, five
pickles in a row (magic number, version, system, structure, storage keys) and then
each storage with its length. The pickles run on :class:`PickleMachine`, which knows
no code to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.state.bytes_source import (
    BytesSource,
    PathOrBytes,
    is_possible_shape,
    little_endian,
    open_source,
)
from tetragrad.state.formats import LEGACY_TORCH_NUMBER, Format, detect
from tetragrad.state.pickle_machine import PickleMachine
from tetragrad.state.torch_globals import (
    NumpyArray,
    Storage,
    StorageType,
    StoredTensor,
    allowed_globals,
)
from tetragrad.state.zip_records import ZipRecords, open_zip

LEGACY_VERSION = 1001
COUNT_BYTES = 8
MAX_DEPTH = 100
# Sets are plain because the machine admits only plain members.
PLAIN_TYPES = (str, bytes, bytearray, int, float, complex, set, frozenset, DType)

# Tensors may share or expand a storage and so be larger than the file, within reason.
MAX_GROWTH = 16
FREE_GROWTH_BYTES = 64 * 2**20


def read_torch(path_or_bytes: PathOrBytes, convert: Callable[[np.ndarray], Any]) -> Any:
    """The saved structure, with ``convert`` applied to the array of each tensor."""
    source = open_source(path_or_bytes)
    format = detect(source.data)
    if format is Format.ZIP:
        structure, storages = _read_zip(source)
    elif format is Format.LEGACY_TORCH:
        structure, storages = _read_legacy(source)
    else:
        raise source.error(
            "this is not a torch checkpoint: it starts with "
            f"{bytes(source.data[:8])!r}",
            hint="checkpoints of torch before 0.1.10 (tar archives) are not read",
        )
    return _Finisher(source, storages, convert).finish(structure)


def _read_zip(source: BytesSource) -> tuple[Any, Mapping[str, memoryview]]:
    records = open_zip(source)
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise source.error(
            f"a torch checkpoint has one data.pkl; this archive has {len(pickles)}",
            hint="this is a zip archive of something else",
        )
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in records:
        raise source.error(
            "this is a TorchScript archive: it holds a program, not only weights",
            hint="load it with torch.jit.load and save its state_dict() instead",
        )
    if f"{folder}byteorder" in records:
        order = bytes(records.read(f"{folder}byteorder")[:10])
        if order != b"little":
            raise source.error(f"the elements are stored in {order!r} byte order")
    pickled = BytesSource(records.read(pickles[0]), source.name)
    machine = PickleMachine(
        pickled,
        0,
        len(pickled.data),
        allowed=allowed_globals(),
        persistent_load=lambda identifier: _storage(source, identifier),
    )
    structure = machine.run()
    return structure, _ZipStorages(records, folder)


class _ZipStorages(Mapping[str, memoryview]):
    """Storage key to bytes, read from the archive when asked for."""

    def __init__(self, records: ZipRecords, folder: str) -> None:
        self._records = records
        self._folder = f"{folder}data/"

    def __getitem__(self, key: str) -> memoryview:
        return self._records.read(self._folder + key)

    def __iter__(self) -> Iterator[str]:
        inside = (name for name in self._records if name.startswith(self._folder))
        return (name.removeprefix(self._folder) for name in inside)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _storage(source: BytesSource, identifier: Any) -> Storage:
    """``('storage', type, key, device, count)``, in older files with a view."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6):
        raise source.error("a reference to a storage is malformed")
    kind, type_, key, _, count = identifier[:5]
    well_formed = (
        kind == "storage"
        and isinstance(type_, StorageType)
        and isinstance(key, str)
        and type(count) is int
        and count >= 0
    )
    if not well_formed:
        raise source.error(
            "a reference to a storage is malformed",
            hint="the file holds whole modules or unsupported storages; save "
            "model.state_dict() instead",
        )
    view = identifier[5] if len(identifier) == 6 else None
    if view is None:
        return Storage(key, type_, count, first=0, root_count=count)
    return _storage_view(source, Storage(key, type_, count, root_count=count), view)


def _storage_view(source: BytesSource, root: Storage, view: Any) -> Storage:
    """``(key, first, count)``: storages that torch before 0.4 cut out of others."""
    valid = isinstance(view, tuple) and len(view) == 3
    if not valid or not all(type(item) is int and item >= 0 for item in view[1:]):
        raise source.error("a view of a storage is malformed")
    _, first, count = view
    if first + count > root.count:
        raise source.error(
            f"a view of elements [{first}, {first + count}) leaves storage "
            f"{root.key[:80]!r}, which has {root.count}"
        )
    return Storage(root.key, root.type, count, first, root.count)


def _read_legacy(source: BytesSource) -> tuple[Any, Mapping[str, memoryview]]:
    types: dict[str, StorageType] = {}

    def persistent_load(identifier: Any) -> Storage:
        storage = _storage(source, identifier)
        known = types.setdefault(storage.key, storage.type)
        if known != storage.type:
            raise source.error(f"storage {storage.key[:80]!r} has two dtypes")
        return storage

    position = 0

    def next_pickle() -> Any:
        nonlocal position
        machine = PickleMachine(
            source,
            position,
            len(source.data),
            allowed=allowed_globals(),
            persistent_load=persistent_load,
        )
        result = machine.run()
        position = machine.position
        return result

    if next_pickle() != LEGACY_TORCH_NUMBER:
        raise source.error("the magic number of a torch checkpoint is damaged")
    version = next_pickle()
    if version != LEGACY_VERSION:
        raise source.error(f"the version is not {LEGACY_VERSION}")
    _check_system(source, next_pickle())
    structure = next_pickle()
    keys = next_pickle()
    return structure, _legacy_storages(source, position, keys, types)


def _check_system(source: BytesSource, system: Any) -> None:
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise source.error("the elements are not stored in little-endian byte order")


def _legacy_storages(
    source: BytesSource, position: int, keys: Any, types: Mapping[str, StorageType]
) -> dict[str, memoryview]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise source.error("the list of storages is malformed")
    storages: dict[str, memoryview] = {}
    for key in keys:
        if key not in types or key in storages:
            raise source.error(f"storage {key[:80]!r} is listed twice or never used")
        begin = position + COUNT_BYTES
        count = int.from_bytes(source.data[position:begin], "little")
        end = begin + count * types[key].dtype.itemsize
        if end > len(source.data):
            raise source.error(
                f"storage {key[:80]!r} of {count:,} elements ends at byte {end:,}; "
                f"the file has {len(source.data):,}",
                hint="the file is truncated; download or copy it again",
            )
        storages[key] = source.data[begin:end]
        position = end
    return storages


class _Finisher:
    """Replace the descriptions of tensors in a structure by the tensors."""

    def __init__(
        self,
        source: BytesSource,
        storages: Mapping[str, memoryview],
        convert: Callable[[np.ndarray], Any],
    ) -> None:
        self._source = source
        self._storages = storages
        self._convert = convert
        self._budget = MAX_GROWTH * len(source.data) + FREE_GROWTH_BYTES
        # Equal objects stay one object, so a structure that mentions one list many
        # times is walked once; what is still unfinished contains itself.
        self._finished: dict[int, Any] = {}
        self._unfinished: set[int] = set()
        self._opened: dict[str, memoryview] = {}

    def finish(self, value: Any, depth: int = 0) -> Any:
        """Walk a value; containers are rebuilt, plain values kept."""
        key = id(value)
        if key in self._finished:
            return self._finished[key]
        if key in self._unfinished:
            raise self._source.error("the saved structure contains itself")
        if depth > MAX_DEPTH:
            raise self._source.error(
                f"the saved structure is more than {MAX_DEPTH} levels deep"
            )
        self._unfinished.add(key)
        result = self._replace(value, depth + 1)
        self._unfinished.remove(key)
        self._finished[key] = result
        return result

    def _replace(self, value: Any, depth: int) -> Any:
        if isinstance(value, StoredTensor):
            return self._convert(self._tensor(value))
        if isinstance(value, NumpyArray):
            return value.array
        if isinstance(value, dict):
            finished = ((key, self.finish(item, depth)) for key, item in value.items())
            return type(value)(finished)
        if isinstance(value, list):
            return [self.finish(item, depth) for item in value]
        if isinstance(value, tuple):
            return tuple(self.finish(item, depth) for item in value)
        return self._plain(value)

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, PLAIN_TYPES):
            return value
        kind = getattr(value, "name", type(value).__name__)
        raise self._source.error(f"the structure holds {kind}, which is not data")

    def _tensor(self, tensor: StoredTensor) -> np.ndarray:
        self._check_tensor(tensor)
        window = self._window(tensor.storage)
        if 0 in tensor.shape:
            return np.empty(tensor.shape, tensor.dtype.numpy)
        itemsize = tensor.dtype.itemsize
        self._check_range(tensor, len(window) // itemsize)
        # A dimension of size 1 is never stepped along; its stride may be anything.
        strides = [
            stride * itemsize if size > 1 else 0
            for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        ]
        array: np.ndarray = np.ndarray(
            tensor.shape,
            little_endian(tensor.dtype),
            buffer=window,
            offset=tensor.offset * itemsize,
            strides=strides,
        )
        if tensor.is_conjugated:
            array = np.conj(array)
        return np.negative(array) if tensor.is_negated else array

    def _window(self, storage: Storage) -> memoryview:
        itemsize = storage.type.dtype.itemsize
        begin = storage.first * itemsize
        return self._storage_bytes(storage)[begin : begin + storage.count * itemsize]

    def _storage_bytes(self, storage: Storage) -> memoryview:
        name = storage.key[:80]
        if storage.key not in self._opened:
            if storage.key not in self._storages:
                raise self._source.error(f"storage {name!r} is not in the file")
            self._opened[storage.key] = self._storages[storage.key]
        contents = self._opened[storage.key]
        needed = storage.root_count * storage.type.dtype.itemsize
        if len(contents) != needed:
            raise self._source.error(
                f"storage {name!r} should have {storage.root_count:,} elements of "
                f"{storage.type.dtype} ({needed:,} bytes) but has {len(contents):,} "
                "bytes"
            )
        return contents

    def _check_tensor(self, tensor: StoredTensor) -> None:
        if not is_possible_shape(tensor.shape, tensor.dtype):
            raise self._source.error("a tensor has an impossible shape")
        nbytes = prod(tensor.shape) * tensor.dtype.itemsize
        self._budget -= nbytes
        if self._budget < 0:
            raise self._source.error(
                f"the tensors expand to more than {MAX_GROWTH} times the file's "
                f"{len(self._source.data):,} bytes",
                hint="the file is damaged, or expanded tensors were saved; save "
                "contiguous copies",
            )

    def _check_range(self, tensor: StoredTensor, available: int) -> None:
        steps = zip(tensor.shape, tensor.strides, strict=True)
        last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
        if last >= available:
            raise self._source.error(
                f"a tensor of shape {tensor.shape} reaches element {last:,} of storage "
                f"{tensor.storage.key[:80]!r}, which has {available:,}"
            )
