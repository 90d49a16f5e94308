"""Tensors whose descriptions lie about their storage, in a checkpoint made by hand."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from tetragrad.core.errors import FileFormatError
from tetragrad.state.formats import LEGACY_TORCH_MAGIC
from tetragrad.state.torch_checkpoint import read_torch


def integer(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor_program(
    *,
    offset: int = 0,
    size: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    count: int = 4,
    key: str = "0",
    view: bytes = b"N",
) -> bytes:
    """The pickle of one float32 tensor, as torch before 1.6 wrote it."""
    reference = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    storage = b"(" + reference + integer(count) + view + b"tQ"
    arguments = storage + integer(offset) + integers(size) + integers(stride)
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"\x80\x02" + call + arguments + b"\x89}tR."


def read_tensor(
    *, stored: int = 4, keys: Any = ("0",), cut: int = 0, **tensor: Any
) -> Any:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    elements = np.arange(stored, dtype=np.float32).tobytes()
    content = b"".join(
        [
            LEGACY_TORCH_MAGIC + b".",
            pickle.dumps(1001, protocol=2),
            pickle.dumps(system, protocol=2),
            tensor_program(**tensor),
            pickle.dumps(list(keys), protocol=2),
            stored.to_bytes(8, "little"),
            elements,
        ]
    )
    return read_torch(content[: len(content) - cut], np.array)


def test_an_honest_tensor() -> None:
    assert read_tensor().tolist() == [0, 1, 2, 3]
    assert read_tensor(size=(2, 2), stride=(1, 2)).tolist() == [[0, 2], [1, 3]]
    assert read_tensor(offset=3, size=(), stride=()) == 3


def test_a_view_of_a_storage() -> None:
    view = b"(" + text("1") + integer(1) + integer(2) + b"t"
    assert read_tensor(size=(2,), view=view).tolist() == [1, 2]
    with pytest.raises(FileFormatError, match="reaches element 2"):
        read_tensor(size=(3,), view=view)
    past = b"(" + text("1") + integer(3) + integer(2) + b"t"
    with pytest.raises(FileFormatError, match="leaves storage"):
        read_tensor(view=past)


def test_a_dimension_of_size_one_may_have_any_stride() -> None:
    assert read_tensor(size=(1, 4), stride=(2**62, 1)).tolist() == [[0, 1, 2, 3]]


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "too long": ({"size": (5,)}, "reaches element 4"),
    "offset": ({"offset": 1}, "reaches element 4"),
    "stride": ({"stride": (2,)}, "reaches element 6"),
    "huge stride": ({"stride": (2**62,)}, "reaches element"),
    "negative stride": ({"stride": (-1,)}, "whole numbers"),
    "negative size": ({"size": (-4,)}, "whole numbers"),
    "negative offset": ({"offset": -1}, "whole numbers"),
    "huge size": ({"size": (2**70,)}, "impossible shape"),
    "huge product": ({"size": (2**40, 2**40), "stride": (0, 0)}, "impossible shape"),
    "expanded": ({"size": (2**30,), "stride": (0,)}, "expand to more than"),
    "ranks differ": ({"size": (2, 2)}, "2 sizes and 1 strides"),
    "many dimensions": ({"size": (1,) * 99, "stride": (1,) * 99}, "whole numbers"),
    "count": ({"count": 5}, "should have 5 elements"),
    "negative count": ({"count": -4}, "malformed"),
    "absent storage": ({"keys": ()}, "not in the file"),
    "unknown storage": ({"keys": ("1",)}, "never used"),
    "storage twice": ({"keys": ("0", "0")}, "listed twice"),
    "keys not texts": ({"keys": (0,)}, "malformed"),
    "truncated": ({"cut": 3}, "the file has"),
}


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused(case: str) -> None:
    arguments, message = LIES[case]
    with pytest.raises(FileFormatError, match=message):
        read_tensor(**arguments)
