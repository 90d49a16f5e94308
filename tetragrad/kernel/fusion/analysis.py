"""Facts about graph nodes that fusion decides by: cheap, and per graph."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Iota
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce, Sum
from tetragrad.kernel.expression import Reduction, Scan, walk
from tetragrad.kernel.ir import Mode
from tetragrad.kernel.lowering import lower

#: Movement that repeats no element and fills with zeros only.
_REARRANGING = (
    moves.Permute,
    moves.Reshape,
    moves.Shrink,
    moves.Flip,
    moves.Stride,
    moves.Skew,
    moves.Pad,
)


#: A value made of more Expands than this is looked at no further.
MAXIMUM_EXPANDS = 64


class Kind(Enum):
    """What a reduce node turns out to be."""

    ROW = "row"  # a plain reduction
    CONTRACTION = "contraction"  # a sum of products with reuse of both operands
    GATHER = "gather"  # a one-hot selection: no reduction remains
    SCATTER = "scatter"  # runs over its inputs, combining into outputs
    SCAN = "scan"  # a running reduction


def is_leaf(node: Node) -> bool:
    """Whether the node is in memory, or needs none: it has no sources."""
    return not node.sources


#: What has been answered, as it is asked for every node.
_work: dict[type[Node], float] = {}


def work_per_element(node: Node) -> float:
    """About how many simple operations one element of an elementwise op takes."""
    op = type(node)
    if op not in _work:
        _work[op] = _work_of(op)
    return _work[op]


def _work_of(op: type[Node]) -> float:
    if not issubclass(op, ops.Elementwise):
        return 0.0
    if issubclass(op, ops.Transcendental):
        return 15.0
    if issubclass(op, ops.Pow | ops.Mod | ops.IDiv):
        return 30.0
    return 4.0 if issubclass(op, ops.Div | ops.Sqrt | ops.Reciprocal) else 1.0


class Analysis:
    """Lazily computed facts about the nodes of one graph, in topological order."""

    def __init__(self, order: Sequence[Node]) -> None:
        self.order = order
        self.users: dict[Node, list[Node]] = {node: [] for node in order}
        for node in order:
            for source in node.sources:
                readers = self.users[source]
                # A node that reads a source twice is one reader of it.
                if not readers or readers[-1] is not node:
                    readers.append(node)
        self.reduces = {node for node in order if isinstance(node, Reduce)}
        #: Elements of these depend on where they are, without any reduction between.
        self.positional: set[Node] = set()
        for node in order:
            if isinstance(node, Iota) or (
                isinstance(node, ops.Elementwise | moves.Movement)
                and not self.positional.isdisjoint(node.sources)
            ):
                self.positional.add(node)
        #: The dimensions along which all elements of a node are the same.
        self.constant_dims: dict[Node, frozenset[int]] = {}
        for node in order:
            self.constant_dims[node] = self._constant_dims_of(node)
        self.kinds: dict[Node, Kind] = {
            node: self._kind(node) for node in order if node in self.reduces
        }
        #: The Expands that a value is made of, element by element.
        self.expands: dict[Node, tuple[Node, ...]] = {}
        for node in order:
            if isinstance(node, moves.Expand):
                self.expands[node] = (node,)
            elif isinstance(node, ops.Elementwise):
                self.expands[node] = self._expands_of(node)
        #: Inner sums, by the outer sum that they become part of.
        self.absorbed: dict[Node, Node] = {}
        self._absorb_nested_sums()
        self.contractions = {
            node for node, kind in self.kinds.items() if kind is Kind.CONTRACTION
        }

    def _absorb_nested_sums(self) -> None:
        """A sum of a moved sum is one sum; a contraction inside makes it one."""
        for node in reversed(self.kinds):
            if not isinstance(node, Sum) or self.kinds[node] is not Kind.ROW:
                continue
            inner = self._moved_sum(node)
            if inner is None or self._ends_reuse(inner, node):
                continue
            self.absorbed[inner] = node
            if self.kinds[inner] is Kind.CONTRACTION:
                outer: Node = node
                while outer in self.absorbed:
                    outer = self.absorbed[outer]
                self.kinds[outer] = self.kinds[node] = Kind.CONTRACTION

    def _moved_sum(self, node: Sum) -> Node | None:
        """The sum that this one's source is a rearrangement of, if nobody else's."""
        current = node.source
        while isinstance(current, _REARRANGING) and len(self.users[current]) == 1:
            current = current.sources[0]
        if not isinstance(current, Sum) or len(self.users[current]) != 1:
            return None
        if dtypes.accumulation(current.dtype) is not current.dtype:
            return None
        plain = self.kinds[current] in (Kind.ROW, Kind.CONTRACTION)
        return current if plain else None

    def _ends_reuse(self, inner: Node, outer: Sum) -> bool:
        """Whether the outer sum runs over all rows, or all columns, of a product.

        Then operands would be gone over for a single result each, and a row that is
        carried through the product, as attention's, could not be.
        """
        if self.kinds[inner] is not Kind.CONTRACTION:
            return False
        sides = self._sides_of(inner)
        path = []
        current = outer.source
        while current is not inner:
            path.append(current)
            current = current.sources[0]
        for node in reversed(path):
            if not isinstance(node, moves.Reshape | moves.Permute):
                return False
            sides = [_moved(node, side) for side in sides]
        shape = outer.source.shape
        long = [{dim for dim in side if shape[dim] > 1} for side in sides]
        return any(side and side <= set(outer.dims) for side in long)

    def _sides_of(self, product: Node) -> list[frozenset[int]]:
        """The dimensions of a product's rows, and those of its columns."""
        body = product.sources[0]
        while isinstance(body, ops.Cast):
            body = body.operand
        if not isinstance(body, ops.Mul):
            return []
        lhs, rhs = self.constant_dims[body.lhs], self.constant_dims[body.rhs]
        short = {dim for dim, size in enumerate(product.shape) if size == 1}
        return [(rhs - lhs) - short, (lhs - rhs) - short]

    def _expands_of(self, node: Node) -> tuple[Node, ...]:
        """Those of the sources together; shared with a source where that is all."""
        found: tuple[Node, ...] = ()
        for source in node.sources:
            more = self.expands.get(source, ())
            if not found:
                found = more
            elif more and more is not found:
                found = tuple(dict.fromkeys(found + more))[:MAXIMUM_EXPANDS]
        return found

    # --- kinds of reductions -----------------------------------------------------

    def _kind(self, node: Node) -> Kind:
        body = node.sources[0]
        while isinstance(body, ops.Cast | moves.Movement):
            body = body.sources[0]
        if isinstance(body, ops.Where) and self._is_selection(body.condition):
            return self._kind_by_lowering(node)
        if isinstance(node, Sum) and self._has_reuse(node):
            return Kind.CONTRACTION
        return Kind.ROW

    def _is_selection(self, condition: Node) -> bool:
        """Whether a condition compares positions, so that a recogniser may apply."""
        return condition in self.positional and _compares(condition)

    def _kind_by_lowering(self, node: Node) -> Kind:
        """Recognisers work on kernels, so ask them."""
        if node.numel == 0:
            return Kind.ROW
        kernel = lower([node], _selected_in(node) | (self.reduces - {node})).kernel
        (output,) = kernel.outputs
        if output.mode is not Mode.STORE:
            return Kind.SCATTER
        found = list(walk(output.value))
        if any(isinstance(entry, Scan) for entry in found):
            return Kind.SCAN
        if any(isinstance(entry, Reduction) for entry in found):
            return Kind.ROW
        return Kind.GATHER

    def _has_reuse(self, node: Reduce) -> bool:
        """Whether each operand of the product is used for several outputs."""
        body = node.source
        if isinstance(body, ops.Cast):
            body = body.operand
        if not isinstance(body, ops.Mul):
            return False
        lhs, rhs = self.constant_dims[body.lhs], self.constant_dims[body.rhs]
        rows = columns = depth = 1
        for dim, size in enumerate(body.shape):
            if dim in node.dims:
                depth *= 1 if dim in lhs or dim in rhs else size
            elif dim in rhs and dim not in lhs:
                rows *= size
            elif dim in lhs and dim not in rhs:
                columns *= size
        return rows > 1 and columns > 1 and depth > 1

    # --- dimensions along which a value repeats --------------------------------------

    def _constant_dims_of(self, node: Node) -> frozenset[int]:
        """From those of the sources, which come before it."""
        below = [self.constant_dims[source] for source in node.sources]
        if len(below) == 1 and isinstance(node, ops.Elementwise):
            return below[0]
        match node:
            case moves.Expand():
                return below[0] | set(node.expanded_dims)
            case ops.Elementwise():
                return frozenset.intersection(*below)
            case moves.Permute():
                return frozenset(
                    dim for dim, old in enumerate(node.order) if old in below[0]
                )
            case moves.Shrink() | moves.Flip() | moves.Stride() | moves.Kept():
                return below[0]
            case moves.Reshape():
                return _through_reshape(node, below[0])
            case moves.Window():
                return _through_window(node, below[0])
            case Reduce():
                return below[0] | set(node.dims)
        return frozenset(dim for dim, size in enumerate(node.shape) if size == 1)


def _selected_in(node: Node) -> set[Node]:
    """The data that a selection, which is larger, compares and chooses from.

    Where it comes from says nothing about the kind, and may be a long story; nor does
    what lies behind another reduction, which is lowered apart.
    """
    found: set[Node] = set()
    whole = node.sources[0].numel
    stack, seen = list(node.sources), set(node.sources)
    while stack:
        current = stack.pop()
        if current.numel < whole and current.device is not None:
            found.add(current)
            continue
        if isinstance(current, Reduce):
            continue
        more = [source for source in current.sources if source not in seen]
        stack += more
        seen.update(more)
    return found


def _compares(condition: Node) -> bool:
    """Whether a condition is a comparison, or several that must hold."""
    while isinstance(condition, moves.Movement | ops.Not):
        condition = condition.sources[0]
    if isinstance(condition, ops.And):
        return any(_compares(source) for source in condition.sources)
    return isinstance(condition, ops.Eq | ops.Lt)


def _through_reshape(node: Node, below: frozenset[int]) -> frozenset[int]:
    """Dimensions that a reshape leaves as they are stay constant."""
    old, new = node.source.shape, node.shape
    found = {dim for dim, size in enumerate(new) if size == 1}
    if 0 in new:
        # Sizes that multiply to 0 say nothing about which dimension became which.
        return frozenset(found)
    i, j = len(old) - 1, len(new) - 1
    while i >= 0 and j >= 0:
        if old[i] == new[j]:
            if i in below:
                found.add(j)
            i, j = i - 1, j - 1
        elif old[i] == 1:
            i -= 1
        elif new[j] == 1:
            j -= 1
        else:
            old_product, new_product = old[i], new[j]
            first_i, first_j = i, j
            while old_product != new_product:
                if old_product < new_product:
                    first_i -= 1
                    old_product *= old[first_i]
                else:
                    first_j -= 1
                    new_product *= new[first_j]
            if all(dim in below or old[dim] == 1 for dim in range(first_i, i + 1)):
                found.update(range(first_j, j + 1))
            i, j = first_i - 1, first_j - 1
    return frozenset(found)


def _moved(node: moves.Reshape | moves.Permute, dims: frozenset[int]) -> frozenset[int]:
    """The dimensions that consist of given ones of the source."""
    if isinstance(node, moves.Permute):
        return frozenset(new for new, old in enumerate(node.order) if old in dims)
    return _through_reshape(node, dims)


def _through_window(node: Node, below: frozenset[int]) -> frozenset[int]:
    found = {dim if dim < node.dim else dim + 1 for dim in below if dim != node.dim}
    if node.dim in below:
        found |= {node.dim, node.dim + 1}
    return frozenset(found)
