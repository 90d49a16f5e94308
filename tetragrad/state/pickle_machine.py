"""Run a pickle without running code.

A pickle is a program for a stack machine. This machine knows the opcodes that build
plain data; a global is looked up in a table given by the caller and nowhere else, so
nothing is ever imported, and "calling" a global means calling the entry of that
table. Each opcode is documented in the standard library's ``pickletools``.

Hostile input costs bounded time and memory: every opcode does a constant amount of
work or moves what is on the stack, their number is limited, and no length is
believed before the bytes have been seen to exist.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tetragrad.state.bytes_source import BytesSource

MAX_OPCODES = 20_000_000
MAX_INTEGER_BYTES = 64
MAX_KEY_TUPLE = 16
MAX_PROTOCOL = 5

CONSTANTS = {ord("N"): None, 0x88: True, 0x89: False}
NUMBERS = {
    ord("J"): struct.Struct("<i"),
    ord("K"): struct.Struct("<B"),
    ord("M"): struct.Struct("<H"),
    ord("G"): struct.Struct(">d"),
}


def _to_text(raw: bytes) -> str:
    """Python 3 text; lone surrogates are how pickle stores undecodable names."""
    return raw.decode("utf-8", "surrogatepass")


def _to_old_string(raw: bytes) -> str:
    """A Python 2 ``str``: text in practice, any bytes in principle."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


# Opcode -> (bytes of the length that comes first, what the bytes become).
STRINGS: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0x8C: (1, _to_text),
    ord("X"): (4, _to_text),
    0x8D: (8, _to_text),
    ord("U"): (1, _to_old_string),
    ord("T"): (4, _to_old_string),
    ord("C"): (1, bytes),
    ord("B"): (4, bytes),
    0x8E: (8, bytes),
    0x96: (8, bytearray),
}
LENGTH_OF_TUPLE = {ord(")"): 0, 0x85: 1, 0x86: 2, 0x87: 3}
EMPTY = {ord("]"): list, ord("}"): dict, 0x8F: set}
# Opcode -> bytes of the memo index that it reads.
MEMO_READS = {ord("h"): 1, ord("j"): 4}
MEMO_WRITES = {ord("q"): 1, ord("r"): 4}


class Buildable:
    """An object on the stack that accepts a BUILD opcode's state."""

    def build(self, state: Any) -> None:
        raise NotImplementedError


class PickleMachine:
    """One run over one pickle; ``position`` is where it stopped reading."""

    def __init__(
        self,
        source: BytesSource,
        position: int,
        end: int,
        *,
        allowed: Mapping[str, Any],
        persistent_load: Callable[[Any], Any] | None = None,
    ) -> None:
        self.position = position
        self._source = source
        self._end = end
        self._allowed = allowed
        self._persistent_load = persistent_load
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        # A dictionary, so that a huge index allocates nothing.
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Execute up to STOP and return the object that was pickled."""
        for _ in range(MAX_OPCODES):
            opcode = self._read(1)[0]
            if opcode == ord("."):
                return self._pop()
            self._execute(opcode)
        raise self._error(f"the pickle has more than {MAX_OPCODES:,} opcodes")

    def _execute(self, opcode: int) -> None:
        if opcode in CONSTANTS:
            self._stack.append(CONSTANTS[opcode])
        elif opcode in NUMBERS:
            number = NUMBERS[opcode]
            self._stack.append(number.unpack(self._read(number.size))[0])
        elif opcode in STRINGS:
            self._push_string(*STRINGS[opcode])
        elif opcode in LENGTH_OF_TUPLE:
            items = [self._pop() for _ in range(LENGTH_OF_TUPLE[opcode])]
            self._stack.append(tuple(reversed(items)))
        elif opcode in EMPTY:
            self._stack.append(EMPTY[opcode]())
        elif opcode in MEMO_READS:
            self._recall(self._read_unsigned(MEMO_READS[opcode]))
        elif opcode in MEMO_WRITES:
            self._memo[self._read_unsigned(MEMO_WRITES[opcode])] = self._top()
        elif opcode in self._OPERATIONS:
            self._OPERATIONS[opcode](self)
        else:
            raise self._error(
                f"the pickle uses opcode {bytes([opcode])!r}, which torch.save "
                "does not write",
                hint="the file is damaged or not a checkpoint",
            )

    # Reading the program.

    def _read(self, count: int) -> bytes:
        if count > self._end - self.position:
            raise self._error(
                f"the pickle ends early: {count:,} bytes are needed, "
                f"{self._end - self.position:,} are left",
                hint="the file is truncated; download or copy it again",
            )
        start = self.position
        self.position += count
        return bytes(self._source.data[start : start + count])

    def _read_unsigned(self, count: int) -> int:
        return int.from_bytes(self._read(count), "little")

    def _read_line(self) -> str:
        # Names of modules are short, so a line without an end is found at once.
        window = bytes(self._source.data[self.position : self.position + 1000])
        length = window.find(b"\n")
        if length < 0:
            raise self._error("the name of a global has no end")
        return _to_old_string(self._read(length + 1)[:-1])

    def _push_string(self, length_bytes: int, convert: Callable[[bytes], Any]) -> None:
        raw = self._read(self._read_unsigned(length_bytes))
        try:
            self._stack.append(convert(raw))
        except UnicodeDecodeError as error:
            raise self._error(f"a string is not valid UTF-8: {error}") from None

    def _push_integer(self, length_bytes: int) -> None:
        length = self._read_unsigned(length_bytes)
        if length > MAX_INTEGER_BYTES:
            raise self._error(f"the pickle holds an integer of {length:,} bytes")
        self._stack.append(int.from_bytes(self._read(length), "little", signed=True))

    # The stack, its marks and the memo.

    def _pop(self) -> Any:
        if not self._stack:
            raise self._error("the pickle takes more from its stack than it put there")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise self._error("the pickle looks at an empty stack")
        return self._stack[-1]

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop_to_mark(self) -> list[Any]:
        if not self._marked:
            raise self._error("the pickle has no mark to return to")
        items = self._stack
        self._stack = self._marked.pop()
        return items

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self._error(f"the pickle recalls entry {index}, never stored")
        self._stack.append(self._memo[index])

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    # Containers.

    def _tuple(self) -> None:
        items = self._pop_to_mark()
        self._stack.append(tuple(items))

    def _list(self) -> None:
        items = self._pop_to_mark()
        self._stack.append(items)

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise self._error(f"the pickle appends to a {type(target).__name__}")
        target.extend(items)

    def _append(self) -> None:
        item = self._pop()
        self._extend([item])

    def _appends(self) -> None:
        items = self._pop_to_mark()
        self._extend(items)

    def _set_pairs(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self._error(
                f"the pickle sets {len(items)} keys and values of a "
                f"{type(target).__name__}"
            )
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._checked_key(key)] = value

    def _set_item(self) -> None:
        value = self._pop()
        key = self._pop()
        self._set_pairs([key, value])

    def _set_items(self) -> None:
        items = self._pop_to_mark()
        self._set_pairs(items)

    def _add_items(self) -> None:
        items = self._pop_to_mark()
        target = self._top()
        if not isinstance(target, set):
            raise self._error(f"the pickle adds members to a {type(target).__name__}")
        target.update(self._checked_key(item) for item in items)

    def _frozen_set(self) -> None:
        items = self._pop_to_mark()
        self._stack.append(frozenset(self._checked_key(item) for item in items))

    def _checked_key(self, key: Any) -> Any:
        if not is_plain_key(key):
            raise self._error(f"the pickle uses a {type(key).__name__} as a key")
        return key

    # Globals: looked up, never imported.

    def _global(self) -> None:
        module = self._read_line()
        self._push_global(module, self._read_line())

    def _stack_global(self) -> None:
        name = self._pop()
        module = self._pop()
        self._push_global(module, name)

    def _push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._error("the name of a global is not a string")
        full_name = f"{module}.{name}"
        if full_name not in self._allowed:
            raise self._error(
                f"the checkpoint needs {full_name[:200]!r}, which is not plain data; "
                "loading it could run code, so it is refused",
                hint="where you trust the file, load it with torch and save only "
                "model.state_dict()",
            )
        self._stack.append(self._allowed[full_name])

    def _reduce(self) -> None:
        arguments = self._pop()
        function = self._pop()
        if not isinstance(arguments, tuple) or not callable(function):
            raise self._error(f"the pickle calls a {type(function).__name__}")
        try:
            self._stack.append(function(*arguments))
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise self._error(f"the pickle cannot be rebuilt: {error}") from error

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Buildable):
            try:
                target.build(state)
            except (TypeError, ValueError, LookupError, OverflowError) as error:
                raise self._error(f"the pickle cannot be rebuilt: {error}") from error
        elif not isinstance(target, dict):
            raise self._error(
                f"the pickle sets attributes of a {type(target).__name__}"
            )
        # Attributes of a dictionary (torch keeps ``_metadata`` there) are not data.

    def _persistent(self) -> None:
        identifier = self._pop()
        if self._persistent_load is None:
            raise self._error("the pickle refers to a storage where none can be")
        self._stack.append(self._persistent_load(identifier))

    def _protocol(self) -> None:
        protocol = self._read_unsigned(1)
        if protocol > MAX_PROTOCOL:
            raise self._error(
                f"pickle protocol {protocol} is newer than {MAX_PROTOCOL}"
            )

    def _error(self, message: str, *, hint: str | None = None) -> Exception:
        return self._source.error(f"{message} (at byte {self.position:,})", hint=hint)

    _OPERATIONS: ClassVar[dict[int, Callable[[PickleMachine], Any]]] = {
        0x80: _protocol,
        0x95: lambda machine: machine._read(8),
        0x8A: lambda machine: machine._push_integer(1),
        0x8B: lambda machine: machine._push_integer(4),
        ord("("): _mark,
        ord("0"): _pop,
        ord("1"): _pop_to_mark,
        ord("2"): lambda machine: machine._stack.append(machine._top()),
        ord("t"): _tuple,
        ord("l"): _list,
        ord("a"): _append,
        ord("e"): _appends,
        ord("s"): _set_item,
        ord("u"): _set_items,
        0x90: _add_items,
        0x91: _frozen_set,
        0x94: _memoize,
        ord("c"): _global,
        0x93: _stack_global,
        ord("R"): _reduce,
        0x81: _reduce,
        ord("b"): _build,
        ord("Q"): _persistent,
    }


def is_plain_key(key: Any) -> bool:
    """Whether a key hashes in bounded time; deep tuples would exhaust the C stack."""
    if isinstance(key, tuple):
        return len(key) <= MAX_KEY_TUPLE and all(
            not isinstance(item, tuple) and is_plain_key(item) for item in key
        )
    if isinstance(key, int):
        # Larger integers could be chosen to have one and the same hash.
        return -(2**63) <= key < 2**64
    return key is None or isinstance(key, str | bytes | float)
