"""From the bytes of an ONNX file to protobuf messages, and to arrays.

Protobuf itself is read by the ``onnx`` package, which is imported when the first file
is opened. A file is not trusted: sizes are compared with what is there before memory
is asked for, and data beside the file must be in the file's own folder.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tetragrad.core.errors import DataError, FileFormatError, TetragradError
from tetragrad.onnx.values import STRING, element_type

#: Protobuf cannot read a message of more bytes.
LARGEST_FILE = 2**31 - 1

#: A sparse constant becomes a dense array of at most so many elements.
LARGEST_SPARSE = 2**28

#: How many elements of a sub-byte type a byte holds.
_PACKED = {"uint4": 2, "int4": 2, "float4_e2m1fn": 2, "uint2": 4, "int2": 4}


def onnx_package() -> ModuleType:
    """The ``onnx`` package, or an error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise TetragradError(
            "reading ONNX files needs the package 'onnx'",
            hint='pip install "tetragrad[onnx]"',
        ) from error
    return onnx


def read_model(source: Any) -> tuple[Any, Path | None]:
    """The ModelProto of a path, of bytes or of a message; and the file's folder."""
    onnx = onnx_package()
    if isinstance(source, onnx.ModelProto):
        return source, None
    if isinstance(source, bytes | bytearray | memoryview):
        return _parsed(onnx, bytes(source), "the bytes"), None
    path = Path(os.fspath(source))
    if not path.is_file():
        raise DataError(f"there is no ONNX file {str(path)!r}")
    if path.stat().st_size > LARGEST_FILE:
        raise FileFormatError(
            f"{path.name} has {path.stat().st_size:,} bytes; protobuf holds 2 GiB",
            hint="save the weights beside the model, as external data",
        )
    return _parsed(onnx, path.read_bytes(), path.name), path.resolve().parent


def _parsed(onnx: ModuleType, data: bytes, title: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise FileFormatError(
            f"{title} is no ONNX model: {error}",
            hint="the file may be truncated, or of another format",
        ) from error
    if not model.HasField("graph"):
        raise FileFormatError(f"{title} is no ONNX model: it has no graph")
    return model


def array_of(tensor: Any, folder: Path | None) -> np.ndarray:
    """The array that a TensorProto holds, or names beside the file."""
    title = f"tensor {tensor.name!r}"
    dtype = element_type(tensor.data_type)
    numel = _numel(title, tensor.dims)
    if tensor.data_location == 1:
        tensor = _with_external_data(tensor, folder, _nbytes(dtype, numel))
    _check_data(title, tensor, dtype, numel)
    helper: Any = onnx_package().numpy_helper
    try:
        array = np.asarray(helper.to_array(tensor))
    except Exception as error:
        raise FileFormatError(f"{title} cannot be read: {error}") from error
    if dtype == STRING:
        return _strings(array)
    # Elements in a bytes object need not be compared at each call of a captured model.
    elements = array.astype(dtype, copy=False).tobytes()
    return np.frombuffer(elements, dtype).reshape(array.shape)


def _strings(array: np.ndarray) -> np.ndarray:
    """Text as Python strings in an array of objects."""
    result = np.empty(array.shape, object)
    for place, entry in np.ndenumerate(array):
        is_bytes = isinstance(entry, bytes)
        result[place] = entry.decode("utf-8", "replace") if is_bytes else str(entry)
    return result


def _numel(title: str, dims: Any) -> int:
    if min(dims, default=0) < 0:
        raise FileFormatError(f"{title} has a negative size: {list(dims)}")
    return math.prod(dims)


def _nbytes(dtype: np.dtype, numel: int) -> int:
    """Bytes that so many elements take in a file."""
    return -(-numel // _PACKED.get(dtype.name, 1)) * dtype.itemsize


def _check_data(title: str, tensor: Any, dtype: np.dtype, numel: int) -> None:
    """Raise unless the tensor brings as many elements as its shape says."""
    if tensor.HasField("raw_data"):
        found, wanted = len(tensor.raw_data), _nbytes(dtype, numel)
        unit = "bytes"
    else:
        fields = ("float", "int32", "string", "int64", "double", "uint64")
        found = max(len(getattr(tensor, f"{name}_data")) for name in fields)
        wanted = -(-numel // _PACKED.get(dtype.name, 1))
        wanted *= 2 if dtype.kind == "c" else 1
        unit = "elements"
    if found != wanted:
        raise FileFormatError(
            f"{title} of {dtype.name}{list(tensor.dims)} needs {wanted:,} {unit} of "
            f"data and has {found:,}"
        )


def _with_external_data(tensor: Any, folder: Path | None, wanted: int) -> Any:
    """A copy of the message with the bytes that it names in another file."""
    title = f"tensor {tensor.name!r}"
    said = {entry.key: entry.value for entry in tensor.external_data}
    if folder is None:
        raise FileFormatError(
            f"{title} lies beside the model, whose folder is not known",
            hint="load the model by its path",
        )
    path = _inside(title, folder, said.get("location", ""))
    size = path.stat().st_size
    offset = _whole(title, "offset", said.get("offset", "0"))
    length = _whole(title, "length", said.get("length", str(size - offset)))
    if offset + length > size or length != wanted:
        raise FileFormatError(
            f"{title} needs {wanted:,} bytes and names {length:,} from {offset:,} on "
            f"in {path.name}, which has {size:,}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    filled = type(tensor)()
    filled.CopyFrom(tensor)
    filled.ClearField("external_data")
    filled.ClearField("data_location")
    filled.raw_data = data
    return filled


def _inside(title: str, folder: Path, location: str) -> Path:
    """The file that a location names, if it is in the model's own folder."""
    path = (folder / location).resolve() if location and "\0" not in location else None
    if path is None or Path(location).is_absolute() or folder not in path.parents:
        raise FileFormatError(
            f"{title} names its data at {location!r}, outside of the model's folder"
        )
    if not path.is_file():
        raise DataError(f"{title} names its data at {location!r}, which is not there")
    return path


def _whole(title: str, key: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise FileFormatError(f"{title} names external data with {key} {text!r}")
    return int(text)


def sparse_array_of(sparse: Any, folder: Path | None) -> np.ndarray:
    """The dense array of a SparseTensorProto."""
    title = f"sparse tensor {sparse.values.name!r}"
    numel = _numel(title, sparse.dims)
    if numel > LARGEST_SPARSE:
        raise FileFormatError(f"{title} would have {numel:,} elements when dense")
    values = array_of(sparse.values, folder)
    places = array_of(sparse.indices, folder)
    if places.ndim == 2 and places.shape[1] == len(sparse.dims):
        limits = np.asarray(sparse.dims)
        is_inside = bool(((places >= 0) & (places < limits)).all())
        strides = np.asarray(
            [math.prod(sparse.dims[dim + 1 :]) for dim in range(len(limits))], np.int64
        )
        places = places @ strides if is_inside else np.asarray([-1])
    is_vector = values.ndim == 1 and places.shape == values.shape
    if not is_vector or (places.size and not 0 <= places.min() <= places.max() < numel):
        raise FileFormatError(f"{title} has indices outside of {list(sparse.dims)}")
    dense = np.zeros(numel, values.dtype)
    dense[places] = values
    return dense.reshape(tuple(sparse.dims))
