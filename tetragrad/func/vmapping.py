"""``vmap``: a function of one element, called for a whole batch at once.

The function runs once, with samples that stand for any element; what it builds is then
turned into the graph of all of them (``tetragrad/graph/batching.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tetragrad.core.errors import (
    GradientError,
    IndexingError,
    ShapeError,
    UnsupportedError,
)
from tetragrad.core.settings import override
from tetragrad.func.trees import leaves, rebuilt, spread
from tetragrad.graph.batching import Batch
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import Detached
from tetragrad.graph.movement import Reshape
from tetragrad.graph.node import Node, walk
from tetragrad.graph.samples import Sample, depends_on_samples
from tetragrad.tensor import Tensor
from tetragrad.tensor.generator import Generator, batch_draws
from tetragrad.tensor.joining import cat
from tetragrad.tensor.modes import is_grad_enabled
from tetragrad.tensor.pending import outstanding, realize_tensors, relief_paused
from tetragrad.tensor.storage import AS_COMPLEX

RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that applies ``func`` to every element along a dimension.

    ``func`` is written for one element. It may use other tensors, gradients and
    ``vmap`` itself; it cannot read values, or write them to tensors from outside.

    Args:
        func: takes and returns tensors, nested in tuples, lists and dictionaries.
        in_dims: the dimension of each argument to map over, None for an argument that
            all elements share; keyword arguments are mapped over dimension 0.
        out_dims: where the dimension goes in the results; None for a result that does
            not depend on the element.
        randomness: whether random numbers are 'different' for each element, the
            'same', or an 'error'.
        chunk_size: so many elements at a time, to use less memory.

    Raises:
        ShapeError: the dimensions that are mapped over differ in size.
        CaptureError: ``func`` reads a value that differs from element to element.

    >>> dot = lambda x, y: (x * y).sum()
    >>> x, y = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([10.0, 1.0])
    >>> tetragrad.vmap(dot, in_dims=(0, None))(x, y)
    tensor([12., 34.])
    """
    if randomness not in RANDOMNESS:
        raise ValueError(f"randomness is one of {RANDOMNESS}, not {randomness!r}")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        call = _Call(func, out_dims, randomness, (args, kwargs))
        dims = [*spread(in_dims, args, "in_dims"), *spread(0, kwargs, "in_dims")]
        call.place(dims)
        if chunk_size is None or chunk_size >= call.size:
            return call.run(0, call.size)
        return call.run_in_chunks(chunk_size)

    return mapped


class _Call:
    """One call of a mapped function: its arguments, and how its results lie."""

    def __init__(
        self, func: Callable[..., Any], out_dims: Any, randomness: str, given: Any
    ) -> None:
        self.func = func
        self.out_dims = out_dims
        self.randomness = randomness
        self.given = given
        self.values = leaves(given)
        self.dims: list[int | None] = []
        self.size = 0

    def place(self, dims: Sequence[Any]) -> None:
        """Check which dimension of each argument is mapped over."""
        sizes: dict[int, int] = {}
        for position, (value, dim) in enumerate(zip(self.values, dims, strict=True)):
            if dim is None or not isinstance(value, Tensor):
                _check_unmapped(value, dim)
                self.dims.append(None)
                continue
            if not -value.ndim <= dim < value.ndim:
                raise IndexingError(
                    f"vmap() over dimension {dim} of an argument of shape "
                    f"{value.shape}",
                    hint="in_dims names a dimension of each argument, or None",
                )
            self.dims.append(dim % value.ndim)
            sizes[position] = value.shape[dim]
        if not sizes:
            raise ShapeError(
                "vmap() with nothing to map over: in_dims is None for every argument",
                hint="name a dimension of at least one tensor",
            )
        if len(set(sizes.values())) > 1:
            raise ShapeError(
                f"vmap() over dimensions of different sizes: {[*sizes.values()]}",
                hint="the mapped dimensions of all arguments have one size",
            )
        self.size = next(iter(sizes.values()))

    def run_in_chunks(self, chunk_size: int) -> Any:
        """Some elements after the others, joined at the end."""
        if chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size}; use 1 or more")
        starts = range(0, self.size, chunk_size)
        parts = [
            self.run(start, min(start + chunk_size, self.size)) for start in starts
        ]
        columns = zip(*map(leaves, parts), strict=True)
        dims = spread(self.out_dims, parts[0], "out_dims")
        joined = [
            column[0] if dim is None else cat(list(column), dim)
            for column, dim in zip(columns, dims, strict=True)
        ]
        return rebuilt(parts[0], iter(joined))

    def run(self, start: int, stop: int) -> Any:
        """Call the function with samples of these elements; give all results."""
        batch = Batch(stop - start)
        before = set(outstanding)
        arguments = [
            value if dim is None else _sample(batch, value, dim, start, stop)
            for value, dim in zip(self.values, self.dims, strict=True)
        ]
        args, kwargs = rebuilt(self.given, iter(arguments))
        with _mapping(batch, self.randomness):
            outputs = self.func(*args, **kwargs)
            results = self._collect(batch, outputs)
            self._write_back(batch, arguments, start, stop)
            del args, kwargs, arguments
            values = leaves(outputs)
            _check_writes(batch, before, values)
        return rebuilt(outputs, iter(results))

    def _collect(self, batch: Batch, outputs: Any) -> list[Any]:
        values = leaves(outputs)
        dims = spread(self.out_dims, outputs, "out_dims")
        for value in values:
            if not isinstance(value, Tensor):
                raise GradientError(
                    f"a function under vmap() returned {type(value).__name__} "
                    f"{value!r:.60}",
                    hint="return tensors, nested in tuples, lists and dictionaries",
                )
        nodes = batch.batched([value.real_node for value in values])
        results = [
            _result(batch, value, node, dim)
            for value, node, dim in zip(values, nodes, dims, strict=True)
        ]
        if _read_shared_memory(nodes) and not depends_on_samples(nodes):
            realize_tensors(results)
        return results

    def _write_back(
        self, batch: Batch, arguments: list[Any], start: int, stop: int
    ) -> None:
        """What the function did to its arguments in place, done to the caller's."""
        triples = zip(self.values, self.dims, arguments, strict=True)
        for value, dim, sample in triples:
            if dim is None or isinstance(sample.storage.value, Sample):
                continue
            (node,) = batch.batched([sample.real_node])
            changed = _wrapped(node, value)
            place = value.movedim(dim, 0)[start:stop]
            place.copy_(changed)


def _read_shared_memory(nodes: Sequence[Node]) -> bool:
    """Whether some node reads an array of NumPy's, which may change at any time."""
    buffers = (node for node in walk(nodes) if isinstance(node, Buffer))
    return any(getattr(entry.memory, "owner", None) is not None for entry in buffers)


def _check_unmapped(value: Any, dim: Any) -> None:
    # 0 is what is meant for all arguments; numbers among them are shared.
    if dim not in (None, 0):
        raise IndexingError(
            f"vmap() over dimension {dim} of a {type(value).__name__}",
            hint="only tensors have dimensions; use None in in_dims",
        )


def _sample(batch: Batch, value: Tensor, dim: int, start: int, stop: int) -> Tensor:
    """A tensor that stands for any of the elements."""
    front = value.movedim(dim, 0)[start:stop]
    made = Tensor.from_node(batch.sample(front.real_node), tracked=value.requires_grad)
    if value.dtype.is_complex:
        made.steps = (AS_COMPLEX,)
    return made


def _wrapped(node: Node, like: Tensor) -> Tensor:
    """A result of a mapped function: with a gradient, where there is one to take."""
    tracked = node.has_variables and is_grad_enabled()
    made = Tensor.from_node(node if tracked else Detached(node), tracked=tracked)
    if like.dtype.is_complex:
        made.steps = (AS_COMPLEX,)
    return made


def _result(batch: Batch, value: Tensor, node: Node, dim: int | None) -> Tensor:
    if dim is not None:
        return _wrapped(node, value).movedim(0, dim)
    if batch.depends(value.real_node):
        raise ShapeError(
            f"vmap() with out_dims=None for a result of shape {value.shape} that "
            "differs from element to element",
            hint="say where the mapped dimension goes: out_dims=0",
        )
    return value


def _check_writes(batch: Batch, before: set[Any], results: list[Any]) -> None:
    """Raise if a tensor from outside was written with what differs between elements."""
    ours = {value.storage for value in results}
    for storage in outstanding:
        if storage not in ours and batch.depends(storage.value):
            raise UnsupportedError(
                "a function under vmap() changed a tensor from outside in place, by "
                "values that differ from element to element",
                hint="return the values, and change the tensor outside; in norm "
                "layers, use eval() or track_running_stats=False",
            )


@contextmanager
def _mapping(batch: Batch, randomness: str) -> Iterator[None]:
    """While a function runs with samples, nothing of it is computed or captured."""
    outer = batch_draws.get()

    def draw(generator: Generator, count: int) -> tuple[Node, Node]:
        if randomness == "error":
            raise UnsupportedError(
                "random numbers in a function under vmap(): the same for all elements, "
                "or different ones?",
                hint="pass vmap(..., randomness='different') or randomness='same'",
            )
        # A function within a function draws from what is mapped around it.
        token = batch_draws.set(outer)
        try:
            if randomness == "same":
                return generator.words(count)
            words = generator.words(count * batch.size)
        finally:
            batch_draws.reset(token)
        first, second = (Reshape(word, (batch.size, count)) for word in words)
        return batch.sample(first), batch.sample(second)

    with ExitStack() as stack:
        stack.enter_context(relief_paused())
        stack.enter_context(override(jit=False))
        token = batch_draws.set(draw)
        stack.callback(batch_draws.reset, token)
        Sample.in_use += 1
        try:
            yield
        finally:
            Sample.in_use -= 1
