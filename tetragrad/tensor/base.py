"""The tensor as a handle: a view of a storage, and what gradients need to know.

The operations are in the modules beside this one, a mixin class for each family;
all of them build nodes through ``result`` and nothing else.
"""

from __future__ import annotations

import itertools
import sys
from contextvars import ContextVar
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import GradientError, ShapeError
from tetragrad.core.settings import settings
from tetragrad.engine import realize as engine
from tetragrad.graph.gradients import gradients
from tetragrad.graph.leaves import Buffer, constant
from tetragrad.graph.markers import Detached, Variable
from tetragrad.graph.movement import Movement, broadcast_to
from tetragrad.graph.node import Node, Shape, walk
from tetragrad.tensor.storage import Storage, View, ViewStep

_keys = itertools.count(1)
_gradient_enabled: ContextVar[bool] = ContextVar("gradient_enabled", default=True)

#: Tensors that collect gradients, by the key of their Variable node.
_collectors: WeakValueDictionary[int, TensorBase] = WeakValueDictionary()


def gradient_enabled() -> bool:
    """Whether operations record gradients here (see ``no_grad``)."""
    return _gradient_enabled.get()


class TensorBase:
    """A handle on a value: which storage, which view of it, which gradient."""

    __slots__ = (
        "__weakref__", "_key", "_requires_grad", "grad", "line", "storage", "view",
    )  # fmt: skip

    storage: Storage
    view: View
    grad: Self | None
    line: str

    @classmethod
    def from_node(cls, node: Node, *, requires_grad: bool = False) -> Self:
        """A tensor for a node of the graph, with a storage of its own."""
        return cls._handle(Storage(node, tracked=requires_grad), (), requires_grad)

    @classmethod
    def _handle(cls, storage: Storage, view: View, requires_grad: bool) -> Self:
        tensor = object.__new__(cls)
        tensor.storage = storage
        tensor.view = view
        tensor.grad = None
        tensor.line = user_line()
        tensor._requires_grad = requires_grad
        tensor._key = 0
        return tensor

    # --- the value -------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The current value in the graph."""
        node = self.storage.read(self.view)
        if self.storage.tracked and not self._requires_grad:
            return Detached(node)
        return node

    @property
    def shape(self) -> Shape:
        """The size of each dimension."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self.storage.value.dtype

    @property
    def device(self) -> str:
        """The name of the device that holds, or will hold, the elements."""
        return self.storage.value.device or settings().device

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def result(self, node: Node, *inputs: TensorBase) -> Self:
        """Wrap the node of an operation on ``self`` and ``inputs``."""
        tracked = (
            self._requires_grad or any(entry._requires_grad for entry in inputs)
        ) and node.dtype.is_floating_point
        if tracked and not gradient_enabled():
            return self.from_node(Detached(node))
        return self.from_node(node, requires_grad=tracked)

    def moved(self, movement: type[Movement], *arguments: Any) -> Self:
        """A view of this tensor through one movement; it shares the storage."""
        requires_grad = self._requires_grad and gradient_enabled()
        step = ViewStep(movement, arguments)
        step.apply(self.node)  # Raises here, at the user's line, if it does not fit.
        return self._handle(self.storage, (*self.view, step), requires_grad)

    def write(self, new: Node, *, tracked: bool = False) -> None:
        """Replace the value in place, for this tensor and everything it shares with."""
        if new.shape != self.shape or new.dtype is not self.dtype:
            raise ShapeError(
                f"in-place result of shape {new.shape} and {new.dtype} does not fit "
                f"a tensor of shape {self.shape} and {self.dtype}"
            )
        is_leaf_gradient = self._key and gradient_enabled()
        if is_leaf_gradient or (self.is_leaf and self._requires_grad and gradient_enabled()):
            raise GradientError(
                "a leaf tensor that requires a gradient cannot be changed in place",
                hint="wrap the change in `with tetragrad.no_grad():`",
            )
        storage = self.storage
        value = storage.write(self.view, new)
        if isinstance(storage.value, Variable) and not tracked:
            value = Variable(Detached(value), storage.value.key)
        storage.value = value
        storage.tracked = storage.tracked or tracked
        self._requires_grad = self._requires_grad or tracked

    # --- running ---------------------------------------------------------------

    def realize(self) -> Self:
        """Compute the value now, instead of when it is first read."""
        realize_tensors([self])
        return self

    def numpy(self) -> np.ndarray:
        """A NumPy array with a copy of the elements.

        Raises:
            GradientError: the tensor requires a gradient (use ``detach()``).
        """
        if self._requires_grad and gradient_enabled():
            raise GradientError(
                "numpy() of a tensor that requires a gradient would lose the gradient",
                hint="write x.detach().numpy()",
            )
        return self.read()

    def read(self) -> np.ndarray:
        """The elements as a fresh NumPy array, gradient or not."""
        buffer = engine.realize([self._runnable()])[0]
        return engine.read_buffer(buffer).copy()

    def _runnable(self) -> Node:
        node = self.node
        return node if node.device else _place(node)

    # --- gradients -------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor record a gradient."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is not the result of a recorded operation."""
        value = self.storage.value
        return not self._requires_grad or (
            not self.view and isinstance(value, Variable)
        )

    def requires_grad_(self, value: bool = True) -> Self:
        """Collect gradients in ``.grad`` from now on (or stop); returns self."""
        if not value:
            self._requires_grad = False
            return self
        if not self.dtype.is_floating_point:
            raise GradientError(
                f"only floating-point tensors have gradients, not {self.dtype}",
                hint="convert it first: x.float().requires_grad_()",
            )
        if not self._requires_grad:
            self._collect_gradient(Detached(self.node))
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in ``.grad`` too."""
        if not self._requires_grad:
            raise GradientError("retain_grad() on a tensor without a gradient")
        if not self._key:
            self._collect_gradient(self.node)

    def _collect_gradient(self, value: Node) -> None:
        self._key = next(_keys)
        if self.view:
            self.storage, self.view = Storage(value, tracked=True), ()
        self.storage.value = Variable(value, self._key)
        self.storage.tracked = True
        self._requires_grad = True
        _collectors[self._key] = self

    def detach(self) -> Self:
        """The same elements, shared, without the gradient."""
        return self._handle(self.storage, self.view, False)

    def backward(
        self, gradient: TensorBase | None = None, *, create_graph: bool = False
    ) -> None:
        """Add the gradients of this value to the ``.grad`` of every leaf it used.

        Args:
            gradient: the upstream gradient, of this tensor's shape; may be left out
                for a single element, where it is 1.
            create_graph: keep the gradients differentiable (second derivatives).
        """
        upstream = _upstream(self, gradient)
        output = self.node
        variables = [node for node in walk([output]) if isinstance(node, Variable)]
        found = gradients({output: upstream}, variables)
        for variable, node in found.items():
            collector = _collectors.get(variable.key)
            if collector is not None:
                _accumulate(collector, node, create_graph)


def _upstream(output: TensorBase, gradient: TensorBase | None) -> Node:
    if not output.requires_grad:
        raise GradientError(
            "backward() from a tensor that does not depend on anything that "
            "requires a gradient",
            hint="set requires_grad=True on the inputs, outside of no_grad()",
        )
    node = output.node
    if gradient is not None:
        if gradient.shape != node.shape:
            raise ShapeError(
                f"backward(): the gradient has shape {gradient.shape}, "
                f"the tensor {node.shape}"
            )
        return gradient.node
    if node.numel != 1:
        raise GradientError(
            f"backward() from shape {node.shape}: which of its {node.numel} "
            "elements should be differentiated?",
            hint="reduce it first, x.sum().backward(), or pass backward(gradient)",
        )
    return broadcast_to(constant(1.0, node.dtype), node.shape)


def _accumulate(collector: TensorBase, node: Node, create_graph: bool) -> None:
    gradient = type(collector).from_node(
        node if create_graph else Detached(node), requires_grad=create_graph
    )
    known = collector.grad
    collector.grad = gradient if known is None else known + gradient  # type: ignore[operator]


def realize_tensors(tensors: list[Any]) -> None:
    """Compute several tensors together, so that they can share kernels."""
    storages = {id(tensor.storage): tensor.storage for tensor in tensors}
    pending = list(storages.values())
    buffers = engine.realize([_place(storage.value) for storage in pending])
    for storage, buffer in zip(pending, buffers, strict=True):
        value = storage.value
        if isinstance(value, Variable) and isinstance(value.source, Detached | Buffer):
            storage.value = Variable(buffer, value.key)
        elif not storage.tracked:
            storage.value = buffer


def _place(node: Node) -> Node:
    return node


def user_line() -> str:
    """``file:line`` of the user's code that is running now."""
    frame = sys._getframe(1)
    while frame is not None and "tetragrad" in frame.f_globals.get("__name__", ""):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
