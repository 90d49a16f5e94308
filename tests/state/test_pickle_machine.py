"""Pickles written by hand: every refusal, and bounded cost on hostile programs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tetragrad.core.errors import FileFormatError
from tetragrad.state import pickle_machine, torch_globals
from tetragrad.state.bytes_source import BytesSource
from tetragrad.state.formats import LEGACY_TORCH_MAGIC
from tetragrad.state.pickle_machine import PickleMachine
from tetragrad.state.torch_checkpoint import read_torch
from tetragrad.state.torch_globals import allowed_globals


def run(program: bytes) -> object:
    source = BytesSource(memoryview(program), "test")
    return PickleMachine(source, 0, len(program), allowed=allowed_globals()).run()


def read_structure(program: bytes) -> object:
    """Read an old checkpoint with no storages whose structure is ``program``."""
    system = {"protocol_version": 1001, "little_endian": True}
    parts = [
        LEGACY_TORCH_MAGIC + b".",
        pickle.dumps(1001, protocol=2),
        pickle.dumps(system, protocol=2),
        program,
        pickle.dumps([], protocol=2),
    ]
    return read_torch(b"".join(parts), np.array)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_reads_as_pickle_reads_it(protocol: int) -> None:
    shared = ["shared"]
    value = {
        "numbers": [0, 1, 255, 2**16, -5, 2**31, -(2**63), 0.5, True, None],
        "texts": ["", "é", "x" * 300],
        "nested": [(1, (2, [3])), {"a": {"b": ()}}],
        "shared": [shared, shared],
    }
    assert run(pickle.dumps(value, protocol=protocol)) == value


REFUSED = {
    "empty": (b"", "ends early"),
    "no stop": (b"N", "ends early"),
    "stop on nothing": (b".", "takes more"),
    "unknown opcode": (b"N\xff.", "opcode"),
    "old text protocol": (b"I1\n.", "opcode"),
    "instance": (b"(ios\nsystem\n.", "opcode"),
    "extension registry": (b"\x82\x01.", "opcode"),
    "newer protocol": (b"\x80\x09N.", "newer than"),
    "unknown global": (b"cos\nsystem\n.", "'os.system'"),
    "unknown stack global": (b"\x8c\x02os\x8c\x06system\x93.", "'os.system'"),
    "dotted escape": (
        b"\x8c\x05torch\x8c\x0c_utils.sys.x\x93.",
        "'torch._utils.sys.x'",
    ),
    "global without end": (b"cabc", "no end"),
    "global of numbers": (b"K\x01K\x02\x93.", "not a string"),
    "call of a number": (b"K\x01)R.", "calls a int"),
    "call without tuple": (b"ccollections\nOrderedDict\n]R.", "calls a"),
    "wrong arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "cannot be rebuilt"),
    "unknown memo entry": (b"h\x05.", "recalls entry 5"),
    "no mark": (b"t.", "no mark"),
    "memo of nothing": (b"q\x00.", "empty stack"),
    "append to a number": (b"K\x01K\x02a.", "appends to a int"),
    "odd number of items": (b"}(K\x01u.", "sets 1 keys"),
    "list as key": (b"}]K\x01s.", "list as a key"),
    "huge integer as key": (b"}\x8a\x0a" + b"\x01" * 10 + b"Ns.", "int as a key"),
    "tuple of tuples as key": (b"})\x85\x85Ns.", "tuple as a key"),
    "list in a set": (b"\x8f(]\x90.", "list as a key"),
    "items for a list": (b"](K\x01\x90.", "adds members to a list"),
    "attributes of a number": (b"K\x01}b.", "sets attributes"),
    "bad utf-8": (b"X\x01\x00\x00\x00\xff.", "not valid UTF-8"),
    "string past the end": (b"X\xff\xff\xff\x7fabc.", "ends early"),
    "8-byte length": (b"\x8e" + b"\xff" * 8 + b".", "ends early"),
    "huge integer": (b"\x8b\xff\x00\x00\x00" + b"\x01" * 255 + b".", "255 bytes"),
    "storage reference": (b"NQ.", "where none can be"),
    "device of a list": (b"ctorch\ndevice\n]\x85R.", "not a name"),
    "object array": (b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "plain number"),
    "bytes in another encoding": (
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "encoded in a way",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    program, message = REFUSED[case]
    with pytest.raises(FileFormatError, match=message):
        run(program)


def test_a_structure_that_contains_itself_is_refused() -> None:
    with pytest.raises(FileFormatError, match="contains itself"):
        read_structure(b"]q\x00h\x00a.")


def test_a_structure_that_is_too_deep_is_refused() -> None:
    with pytest.raises(FileFormatError, match="levels deep"):
        read_structure(b")" + b"\x85" * 100_000 + b".")


def test_callables_left_in_the_structure_are_refused() -> None:
    with pytest.raises(FileFormatError, match="not data"):
        read_structure(b"ccollections\nOrderedDict\n.")


def test_lists_within_lists_do_not_multiply() -> None:
    """Thirty levels of [x, x] are 2**30 leaves but only 30 lists."""
    program = b"]q\x00"
    for level in range(30):
        program += b"](" + b"h" + bytes([level]) + b"h" + bytes([level]) + b"e"
        program += b"q" + bytes([level + 1])
    result = read_structure(program + b".")
    assert isinstance(result, list)
    assert result[0] is result[1]


def test_opcodes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "MAX_OPCODES", 100)
    with pytest.raises(FileFormatError, match="more than 100 opcodes"):
        run(b"N0" * 100 + b"N.")


def test_copies_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 1,000 items, made into a set again and again."""
    monkeypatch.setattr(torch_globals, "MAX_COPIED_ELEMENTS", 100_000)
    items = b"](" + b"N" * 1000 + b"eq\x00"
    copy = b"c__builtin__\nset\nh\x00\x85R0"
    with pytest.raises(FileFormatError, match="copies more than"):
        run(items + copy * 200 + b"N.")


def test_a_huge_memo_index_allocates_nothing() -> None:
    assert run(b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 7


def test_containers_by_the_hundred_thousand() -> None:
    result = run(b"(" + b"]}" * 100_000 + b"t.")
    assert isinstance(result, tuple)
    assert len(result) == 200_000
