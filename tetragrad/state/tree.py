"""Split nested Python values into a JSON text and named arrays, and join them again.

>>> text, arrays = split({"lr": 0.1, "momentum": np.zeros(2)}, "optimizer")
>>> text
'{"dict": [["lr", 0.1], ["momentum", {"array": "optimizer.momentum"}]]}'
>>> join(text, arrays)
{'lr': 0.1, 'momentum': array([0., 0.])}

Numbers, texts, None and lists are themselves in JSON; everything else is an object
with one key that says what it is. Floats survive exactly: JSON keeps the shortest
text that reads back as the same number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tetragrad.core.errors import DTypeError, FileFormatError
from tetragrad.state.convert import to_array, to_tensor
from tetragrad.tensor import Tensor

MAX_DEPTH = 100


def split(value: Any, name: str) -> tuple[str, dict[str, np.ndarray]]:
    """JSON for the structure, and the arrays in it by their paths below ``name``."""
    splitter = _Splitter()
    structure = splitter.encode(value, name, 0)
    return json.dumps(structure, allow_nan=False), splitter.arrays


def join(text: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that :func:`split` took apart; tensors are tensors again."""
    try:
        return _decode(json.loads(text), arrays)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise FileFormatError(
            f"the structure of a checkpoint is damaged: {error}"
        ) from error


class _Splitter:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise DTypeError(f"{path[:200]!r} is more than {MAX_DEPTH} levels deep")
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, list):
            return self._items(value, path, depth)
        if isinstance(value, tuple):
            return {"tuple": self._items(value, path, depth)}
        if isinstance(value, Mapping):
            return {"dict": self._pairs(value, path, depth)}
        return self._array(value, path)

    def _items(self, values: list[Any] | tuple[Any, ...], path: str, depth: int) -> Any:
        return [
            self.encode(value, f"{path}.{index}", depth + 1)
            for index, value in enumerate(values)
        ]

    def _pairs(self, values: Mapping[Any, Any], path: str, depth: int) -> Any:
        pairs = []
        for key, value in values.items():
            if not isinstance(key, str | int | float | bool | None):
                raise DTypeError(
                    f"{path!r} has the key {key!r}, which JSON cannot hold"
                )
            pairs.append([key, self.encode(value, f"{path}.{key}", depth + 1)])
        return pairs

    def _array(self, value: Any, path: str) -> dict[str, str]:
        if isinstance(value, Tensor):
            kind = "tensor"
        elif isinstance(value, np.ndarray):
            kind = "array"
        elif isinstance(value, np.generic):
            kind = "scalar"
        else:
            raise DTypeError(
                f"{path!r} is a {type(value).__name__}, which a checkpoint cannot hold",
                hint="use numbers, texts, tensors, arrays, and lists, tuples and "
                "dictionaries of them",
            )
        name = self._unused(path)
        self.arrays[name] = to_array(value, path)
        return {kind: name}

    def _unused(self, path: str) -> str:
        """Keys with dots in them can make two paths read the same."""
        name = path
        count = 1
        while name in self.arrays:
            count += 1
            name = f"{path}#{count}"
        return name


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "tensor":
            return to_tensor(arrays[content])
        case "array":
            return np.array(arrays[content])
        case "scalar":
            return arrays[content][()]
        case "float":
            return float(content)
        case "tuple":
            return tuple(_decode(item, arrays) for item in content)
        case "dict":
            return {key: _decode(item, arrays) for key, item in content}
    raise ValueError(f"there is no kind of value called {kind!r}")
