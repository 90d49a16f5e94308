"""The text form of a graph: printed one line a node, and read back.

    %0 = Buffer float32[4,6] @b0
    %1 = Constant float32[] bits=0x0000003f constant_dtype=float32  # 0.5
    %2 = Reshape float32[1,1] %1 new_shape=(1, 1)
    %3 = Expand float32[4,6] %2 new_shape=(4, 6)
    %4 = Mul float32[4,6] %0 %3
    return %4

What text cannot hold (a buffer's memory, a gradient rule) has a name after ``@`` and
is looked up by it when the text is read. Everything else reads back to the same
interned nodes, so ``parse_graph(graph_text(g), names_of(g)) == g``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import FileFormatError, TetragradError
from tetragrad.graph import elementwise, host_call, leaves, markers, movement, reduce
from tetragrad.graph.leaves import Buffer, Constant
from tetragrad.graph.node import Node, Shape, walk
from tetragrad.graph.sizes import Bound, Size

_MODULES = (elementwise, host_call, leaves, markers, movement, reduce)


def graph_text(outputs: Iterable[Node], names: Mapping[str, Any] | None = None) -> str:
    """The graph, a line a node, sources before users; ``names`` is ``names_of``'s."""
    outputs = list(outputs)
    writer = _Writer(names_of(outputs) if names is None else names)
    lines = [writer.line(node) for node in walk(outputs)]
    results = " ".join(writer.reference(node) for node in outputs)
    return "\n".join([*lines, f"return {results}".rstrip()])


def names_of(outputs: Iterable[Node]) -> dict[str, Any]:
    """A name for every buffer (b0, b1, …) and other object (o0, …), in walk order."""
    buffers: list[Any] = []
    objects: dict[int, Any] = {}
    for node in walk(outputs):
        if isinstance(node, Buffer):
            buffers.append(node)
            continue
        for value in node.arguments:
            if _is_opaque(value):
                objects.setdefault(id(value), value)
    named = {f"b{position}": buffer for position, buffer in enumerate(buffers)}
    for position, value in enumerate(objects.values()):
        named[f"o{position}"] = value
    return named


def parse_graph(text: str, names: Mapping[str, Any] | None = None) -> list[Node]:
    """The outputs of a graph that ``graph_text`` wrote.

    Raises:
        FileFormatError: at the first line that says something impossible.
    """
    reader = _Reader({} if names is None else names)
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        try:
            outputs = reader.read(content)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise FileFormatError(
                f"line {number}: {line.strip()!r}: {error}"
            ) from error
        if outputs is not None:
            return outputs
    raise FileFormatError(
        "the text of a graph ends without its outputs",
        hint="the last line must be, for example, 'return %4'",
    )


def type_text(dtype: DType, shape: Shape) -> str:
    """``float32[4,6]``."""
    return f"{dtype}[{','.join(map(str, shape))}]"


def node_classes() -> dict[str, type[Node]]:
    """Every class of node by its name."""
    assert _MODULES
    found: dict[str, type[Node]] = {}
    stack: list[type[Node]] = [Node]
    while stack:
        kind = stack.pop()
        found[kind.__name__] = kind
        stack.extend(kind.__subclasses__())
    return found


def _is_opaque(value: Any) -> bool:
    """Whether text cannot hold the value, so that it needs a name."""
    if isinstance(value, tuple):
        return any(_is_opaque(entry) for entry in value)
    if isinstance(value, Size | Bound):
        return True  # A symbol is what the user made it, not what it is called.
    known = Node | DType | bool | int | float | str | bytes
    return value is not None and not isinstance(value, known)


# --- writing -----------------------------------------------------------------------


class _Writer:
    """Numbers nodes as it writes them."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = {id(value): name for name, value in names.items()}
        self.numbers: dict[Node, int] = {}

    def line(self, node: Node) -> str:
        self.numbers[node] = len(self.numbers)
        head = f"%{self.numbers[node]} = {type(node).__name__}"
        head += f" {type_text(node.dtype, node.shape)}"
        if isinstance(node, Buffer):
            return f"{head} @{self.names[id(node)]}"
        words = [
            self.argument(name, value)
            for name, value in zip(node.fields, node.arguments, strict=True)
        ]
        comment = f"  # {node.value}" if isinstance(node, Constant) else ""
        return " ".join([head, *filter(None, words)]) + comment

    def argument(self, name: str, value: Any) -> str:
        """A source stands alone, anything else has its field's name before it."""
        if isinstance(value, Node):
            return self.reference(value)
        return f"{name}={self.value(value)}"

    def reference(self, node: Node) -> str:
        return f"%{self.numbers[node]}"

    def value(self, value: Any) -> str:
        if isinstance(value, Node):
            return self.reference(value)
        if _is_opaque(value):
            return f"@{self.names[id(value)]}"
        if isinstance(value, tuple):
            entries = ", ".join(self.value(entry) for entry in value)
            return f"({entries},)" if len(value) == 1 else f"({entries})"
        if isinstance(value, bytes):
            return f"0x{value.hex()}"
        return str(value) if isinstance(value, DType) else repr(value)


# --- reading -----------------------------------------------------------------------

_LINE = re.compile(r"%(\d+) = (\w+) (\w+)\[([\d,]*)\] ?(.*)")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_]\w*)=(?!=)
      | (?P<node>%\d+)
      | (?P<object>@[\w.]+)
      | (?P<bits>0x[0-9a-f]*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>-?(?:\d[\d.e+-]*|inf|nan)(?!\w))
      | (?P<word>[A-Za-z_]\w*)
      | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
_WORDS: dict[str, Any] = {"None": None, "True": True, "False": False}


class _Reader:
    """Builds the node of each line from the nodes of the lines before."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names
        self.nodes: dict[str, Node] = {}
        self.classes = node_classes()

    def read(self, line: str) -> list[Node] | None:
        """Add a line's node; the outputs if it is the last line."""
        if line.split()[0] == "return":
            return [self.node(word) for word in line.split()[1:]]
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("it is not '%number = Class dtype[shape] arguments'")
        number, kind, dtype, sizes, rest = match.groups()
        if kind not in self.classes:
            raise ValueError(f"there is no node class {kind!r}")
        values = list(self.values(iter(list(_tokens(rest)))))
        node = values[0] if kind == "Buffer" else self.classes[kind](*values)
        said = f"{dtype}[{sizes}]"
        found = type_text(node.dtype, node.shape)
        if found != said:
            raise ValueError(f"the line says {said}, the arguments give {found}")
        self.nodes[f"%{number}"] = node
        return None

    def node(self, word: str) -> Node:
        if word not in self.nodes:
            raise ValueError(f"{word} is not a line above")
        return self.nodes[word]

    def values(self, tokens: Iterator[tuple[str, str]]) -> Iterator[Any]:
        """The values up to the end, or up to a closing parenthesis."""
        for kind, text in tokens:
            if (kind, text) == ("mark", ")"):
                return
            if (kind, text) == ("mark", "("):
                yield tuple(self.values(tokens))
            elif kind not in ("name", "mark"):
                yield self.value(kind, text)

    def value(self, kind: str, text: str) -> Any:
        match kind:
            case "node":
                return self.node(text)
            case "object":
                return self.named(text.removeprefix("@"))
            case "bits":
                return bytes.fromhex(text[2:])
            case "string":
                return _unquoted(text)
            case "number":
                return int(text) if text.lstrip("-").isdigit() else float(text)
        return _WORDS[text] if text in _WORDS else _dtype(text)

    def named(self, name: str) -> Any:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise ValueError(f"nothing is called @{name}; the names given are {known}")
        return self.names[name]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position:]!r}")
        position = match.end()
        assert match.lastgroup is not None
        yield match.lastgroup, match[match.lastgroup]


def _unquoted(text: str) -> str:
    return text[1:-1].encode().decode("unicode_escape")


def _dtype(name: str) -> DType:
    try:
        return dtypes.by_name(name)
    except (KeyError, TetragradError):
        raise ValueError(f"{name!r} is neither a value nor a dtype") from None
