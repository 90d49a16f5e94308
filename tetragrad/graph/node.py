"""The node: an immutable value of the graph, and the table that interns it.

Equal nodes are one object, so equality is identity and a node is its own key.
Every fact that can be known early (shape, dtype, device) is known at construction,
and a node that local algebra can simplify is never built: ``Mul(x, one) is x``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DeviceError
from tetragrad.core.interning import Interned
from tetragrad.graph.sizes import Size, forms_in

Shape = tuple[int, ...]

_interned: Interned[Node] = Interned()
_known = _interned.references


def argument(position: int) -> property:
    """The constructor's argument at a position, as a field with a name."""
    return property(lambda node: node.arguments[position])


class Node:
    """One value: what computes it, its shape, its dtype, and where it lives.

    A subclass names its constructor's arguments in ``fields``; those that are nodes
    are its sources. ``infer`` checks the arguments and gives shape and dtype.
    """

    __slots__ = (
        "__weakref__",
        "arguments",
        "device",
        "dtype",
        "has_sizes",
        "has_variables",
        "shape",
        "sources",
    )

    fields: ClassVar[tuple[str, ...]] = ()

    arguments: tuple[Any, ...]
    sources: tuple[Node, ...]
    shape: Shape
    dtype: DType
    device: str | None
    #: Whether a size of it, or of what it is made from, is symbolic.
    has_sizes: bool
    #: Whether gradients may be taken with respect to something that this is made of.
    has_variables: bool

    def __init_subclass__(cls) -> None:
        for position, name in enumerate(cls.fields):
            setattr(cls, name, argument(position))

    def __new__(cls, *arguments: Any) -> Self:
        simpler = cls.simplify(*arguments)
        if simpler is not None:
            return simpler  # type: ignore[return-value]
        key: tuple[Any, ...] = (cls, *arguments)
        if Size.in_use and (forms := forms_in(arguments)) is not None:
            key = (*key, forms)
        reference = _known.get(key)
        node = reference() if reference is not None else None
        if node is None:
            node = _interned.added(key, cls.build, arguments)
        return node  # type: ignore[return-value]

    @classmethod
    def build(cls, arguments: tuple[Any, ...]) -> Node:
        """A node exactly as written: neither simplified nor interned."""
        node = object.__new__(cls)
        node.arguments = arguments
        node.sources = cls.sources_of(arguments)
        node.shape, node.dtype = cls.infer(*arguments)
        node.device = cls.place(*arguments)
        node.has_variables = False
        # Loops here and below: a generator would take longer than the rest.
        for source in node.sources:
            if source.has_variables:
                node.has_variables = True
                break
        node.has_sizes = Size.in_use and _has_sizes(arguments)
        return node

    @classmethod
    def sources_of(cls, arguments: tuple[Any, ...]) -> tuple[Node, ...]:
        """The nodes that the value is computed from."""
        return tuple([entry for entry in arguments if isinstance(entry, Node)])

    @classmethod
    def simplify(cls, *arguments: Any) -> Node | None:
        """An existing or smaller node with the same bits, or None."""
        return None

    @classmethod
    def infer(cls, *arguments: Any) -> tuple[Shape, DType]:
        """Check the arguments; give the shape and dtype of the value."""
        raise NotImplementedError

    @classmethod
    def place(cls, *arguments: Any) -> str | None:
        """The device that all sources share; constants live on any (None)."""
        device = None
        for source in arguments:
            home = source.device if isinstance(source, Node) else None
            if home is None or home == device:
                continue
            if device is not None:
                raise DeviceError(
                    f"{cls.__name__.lower()} of a value on {device!r} "
                    f"and a value on {home!r}",
                    hint=f"move one of them first: x.to({device!r})",
                )
            device = home
        return device

    def gradient(self, upstream: Node) -> tuple[Node | None, ...]:
        """Gradients of the sources, one each (None: does not depend)."""
        return (None,) * len(self.sources)

    def replace_sources(self, sources: tuple[Node, ...]) -> Node:
        """The same operation on other sources."""
        remaining = iter(sources)
        arguments = [
            next(remaining) if isinstance(entry, Node) else entry
            for entry in self.arguments
        ]
        return type(self)(*arguments)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return size_of(self.shape)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __repr__(self) -> str:
        sizes = "×".join(map(str, self.shape)) or "scalar"
        return f"<{type(self).__name__} {self.dtype}[{sizes}]>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _has_sizes(arguments: tuple[Any, ...]) -> bool:
    if forms_in(arguments) is not None:
        return True
    return any(entry.has_sizes for entry in arguments if isinstance(entry, Node))


def size_of(shape: Iterable[int]) -> int:
    """Number of elements of an array of this shape."""
    product = 1
    for size in shape:
        product *= size
    return product


class OfOneSource(Node):
    """A node whose first argument is what it is made from; the others say how."""

    __slots__ = ()

    @classmethod
    def sources_of(cls, arguments: tuple[Any, ...]) -> tuple[Node, ...]:
        return arguments[:1]

    @classmethod
    def place(cls, source: Node, *rest: Any) -> str | None:
        return source.device


def walk(
    outputs: Iterable[Node], stop: Callable[[Node], object] | None = None
) -> list[Node]:
    """Every reachable node once, sources before users; iterative, never recursive.

    ``stop(node)`` being true keeps the walk from entering that node's sources.
    """
    entered: set[Node] = set()
    order: list[Node] = []
    # What is to be entered next lies on top. None is above a node whose sources are
    # done: then it is the node's turn.
    ahead: list[Node | None] = [*outputs]
    ahead.reverse()
    while ahead:
        node = ahead.pop()
        if node is None:
            order.append(ahead.pop())  # type: ignore[arg-type]
        elif node not in entered:
            entered.add(node)
            # What was entered before is also done: a graph has no cycles.
            fresh = [source for source in node.sources if source not in entered]
            if not fresh or (stop is not None and stop(node)):
                order.append(node)
            else:
                ahead += (node, None)
                fresh.reverse()
                ahead += fresh
    return order


def has_users(node: Node) -> bool:
    """Whether any living node is computed from this one."""
    return any(node in other.sources for other in _interned.values())


def interned_count() -> int:
    """How many nodes are alive: for tests of leaks and of compile cost."""
    return len(_known)
