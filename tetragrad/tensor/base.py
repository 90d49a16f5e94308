"""The tensor as a handle: a view of a storage. All operations build on this class.

The operations are in the modules beside this one, a mixin class for each family;
they build nodes and wrap them with ``result``, and nothing else.
"""

from __future__ import annotations

import itertools
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from weakref import WeakValueDictionary

import numpy as np

from tetragrad.core.callers import user_code
from tetragrad.core.changes import changes
from tetragrad.core.dtypes import DType, complex_dtype, part_dtype
from tetragrad.core.errors import (
    DTypeError,
    GradientError,
    ShapeError,
    UnsupportedError,
)
from tetragrad.core.settings import settings
from tetragrad.engine import realize as engine
from tetragrad.graph.elementwise import Cast
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import Detached
from tetragrad.graph.movement import Movement
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.samples import depends_on_samples
from tetragrad.tensor.devices import DeviceName, named
from tetragrad.tensor.modes import is_grad_enabled
from tetragrad.tensor.pairs import beside_pairs, to_pairs
from tetragrad.tensor.pending import outstanding, realize_tensors, relieve
from tetragrad.tensor.storage import (
    AS_COMPLEX,
    Collected,
    Moved,
    SharedStorage,
    Stopped,
    Storage,
    View,
    shows_complex,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

_keys = itertools.count(1)

#: Tensors that collect gradients, by the key of their Variable node.
collectors: WeakValueDictionary[int, TensorBase] = WeakValueDictionary()


def new_key() -> int:
    """What a new variable of the graph is known by."""
    return next(_keys)


class TensorBase:
    """A handle on a value: which storage, which view of it, which gradient."""

    __slots__ = ("__weakref__", "_origin", "_seen", "grad", "steps", "storage")

    #: The class of every operation's result, also on instances of subclasses.
    tensor_class: ClassVar[type[Tensor]]

    #: Collected gradient, or None; ``backward()`` adds to it.
    grad: Tensor | None
    storage: Storage
    steps: View
    _origin: tuple[CodeType, int] | None

    #: A storage, a view of it and that view's shape, which no write can change.
    _seen: tuple[Storage, View, Shape] | None

    @classmethod
    def from_node(cls, node: Node, *, tracked: bool = False) -> Self:
        """A tensor for a node of the graph, with a storage of its own."""
        return cls._handle(Storage(node, tracked=tracked), ())

    @classmethod
    def _handle(cls, storage: Storage, steps: View) -> Self:
        tensor = object.__new__(cls)
        tensor.storage = storage
        tensor.steps = steps
        tensor.grad = None
        tensor._origin = user_code()
        tensor._seen = None
        return tensor

    # --- the value --------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The current value in the graph, of real numbers.

        What reads it does not know of complex numbers, so it gets none.

        >>> Tensor([1.0, 2.0]).node
        <Buffer float32[2]>
        """
        if self.steps and shows_complex(self.steps):
            raise UnsupportedError(
                f"this operation on a tensor of {self.dtype}",
                hint="it is defined for real numbers; take x.real, x.imag or x.abs()",
            )
        return self.storage.read(self.steps)

    @property
    def real_node(self) -> Node:
        """The current value in the graph; complex numbers are pairs in a last dim.

        >>> Tensor([1.0 + 2.0j]).real_node.shape
        (1, 2)
        """
        return self.storage.read(self.steps)

    @property
    def shape(self) -> Shape:
        """The size of each dimension.

        >>> Tensor([[1, 2, 3]]).shape
        (1, 3)
        """
        storage, steps = self.storage, self.steps
        if not steps:
            return storage.shape
        seen = self._seen
        if seen is None or seen[0] is not storage or seen[1] is not steps:
            shape = storage.read(steps).shape
            shape = shape[:-1] if shows_complex(steps) else shape
            seen = self._seen = (storage, steps, shape)
        return seen[2]

    @property
    def dtype(self) -> DType:
        """The type of the elements.

        >>> Tensor([1.5]).dtype
        float32
        """
        dtype, steps = self.storage.dtype, self.steps
        return complex_dtype(dtype) if steps and shows_complex(steps) else dtype

    @property
    def device(self) -> DeviceName:
        """The name of the device that holds, or will hold, the elements.

        >>> Tensor([1.0], device="cpu").device
        'cpu'
        """
        return named(self.storage.home or settings().device)

    @property
    def ndim(self) -> int:
        """The number of dimensions.

        >>> Tensor([[1, 2, 3]]).ndim
        2
        """
        return len(self.shape)

    @property
    def line(self) -> str:
        """``file:line`` of the user's code that made this tensor.

        >>> Tensor([1.0]).line.rpartition(":")[2].isdigit()
        True
        """
        if self._origin is None:
            return "?"
        code, number = self._origin
        return f"{code.co_filename}:{number}"

    def result(self, node: Node, *inputs: TensorBase) -> Tensor:
        """Wrap the node of an operation on ``self`` and ``inputs``.

        >>> x = Tensor([1.0, 2.0])
        >>> x.result(x.node).equal(x)
        True
        """
        return wrap(node, self, *inputs)

    def alike(self, node: Node) -> Tensor:
        """Wrap the node of an operation on ``real_node`` that keeps pairs together.

        >>> x = Tensor([1.0, 2.0])
        >>> x.alike(x.real_node).equal(x)
        True
        """
        return (wrap_pairs if self.dtype.is_complex else wrap)(node, self)

    def moved(self, movement: type[Movement], *arguments: Any) -> Tensor:
        """A view of this tensor through one movement; it shares the storage.

        >>> from tetragrad.graph.movement import Permute
        >>> Tensor([[1, 2]]).moved(Permute, (1, 0)).shape
        (2, 1)
        """
        if self.dtype.is_complex:
            arguments = beside_pairs(movement, arguments, self.shape)
        step = Moved(movement, arguments)
        # Raises here, at the user's line, if it does not fit.
        shape = step.apply(self.real_node).shape
        steps: View = (*self.steps, step)
        if self.requires_grad and not is_grad_enabled():
            steps = (*steps, Stopped())
        tensor = self.tensor_class._handle(self.storage, steps)
        shape = shape[:-1] if shows_complex(steps) else shape
        tensor._seen = (self.storage, steps, shape)
        return tensor

    def copied(self, movement: type[Movement], *arguments: Any) -> Tensor:
        """The elements moved, in a storage of their own.

        >>> from tetragrad.graph.movement import Permute
        >>> Tensor([[1, 2]]).copied(Permute, (1, 0)).shape
        (2, 1)
        """
        if self.dtype.is_complex:
            arguments = beside_pairs(movement, arguments, self.shape)
        return self.alike(movement(self.real_node, *arguments))

    def write(self, new: TensorBase) -> Self:
        """Replace the value in place, for this tensor and everything that shares it.

        Raises:
            GradientError: a leaf that requires a gradient, outside of ``no_grad``.
            ShapeError: the new value has another shape.
            DTypeError: converting it to this dtype would change its kind.

        >>> x = Tensor([1, 2])
        >>> x.write(Tensor([3, 4]))
        tensor([3, 4])
        """
        recording = is_grad_enabled()
        if recording and self._shows_leaf():
            raise GradientError(
                "a leaf tensor that requires a gradient cannot be changed in place",
                hint="wrap the change in `with tetragrad.no_grad():`",
            )
        tracked = recording and new.requires_grad
        node = self._fit(new)
        self.storage.write(self.steps, node if tracked else Detached(node))
        if tracked and not self.storage.tracked:
            self.storage.tracked = True
            changes.note()
        outstanding.add(self.storage)
        relieve(self)
        return self

    def _fit(self, new: TensorBase) -> Node:
        """A new value in this tensor's dtype, or an error at the user's line."""
        if new.shape != self.shape:
            raise ShapeError(
                f"an in-place operation on shape {self.shape} gave {new.shape}",
                hint="in place the shape stays; write x = ... for a new tensor",
            )
        both_integers = new.dtype.is_integer and self.dtype.is_integer
        if new.dtype.kind > self.dtype.kind and not both_integers:
            raise DTypeError(
                f"an in-place operation on {self.dtype} gave {new.dtype}, which "
                f"{self.dtype} cannot hold",
                hint="convert the tensor first, for example x = x.float()",
            )
        if self.dtype.is_complex and not new.dtype.is_complex:
            return to_pairs(new.node, self.dtype)
        return Cast(new.real_node, part_dtype(self.dtype))

    def _shows_leaf(self) -> bool:
        return self.requires_grad and any(
            isinstance(step, Collected) and step.is_leaf for step in self.steps
        )

    # --- running ----------------------------------------------------------------------

    def realize(self) -> Self:
        """Compute the value now, instead of when it is first read.

        >>> (Tensor([1.0]) + 1).realize()
        tensor([2.])
        """
        realize_tensors([self])
        return self

    def read(self) -> np.ndarray:
        """The elements as a fresh NumPy array, gradient or not.

        >>> Tensor([1, 2]).read()
        array([1, 2])
        """
        node: Node = realize_tensors([self])[0]
        array = engine.read_buffer(cast(Buffer, node))
        # Movement never needs a kernel to be read by the host.
        for step in self.steps:
            if isinstance(step, Moved):
                node = step.movement.build((node, *step.arguments))
                array = cast(Movement, node).move(array)
        if not self.dtype.is_complex:
            return array.copy()
        whole = np.ascontiguousarray(array).view(self.dtype.numpy)
        return whole.reshape(array.shape[:-1]).copy()

    # --- gradients --------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor record a gradient; may be set.

        >>> Tensor([1.0], requires_grad=True).requires_grad
        True
        """
        return self.storage.carries_gradient(self.steps)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is not the result of a recorded operation.

        >>> x = Tensor([1.0], requires_grad=True)
        >>> x.is_leaf, (x * 2).is_leaf
        (True, False)
        """
        if not self.requires_grad:
            return True
        for step in reversed(self.steps):
            if isinstance(step, Moved):
                return False
            if isinstance(step, Collected) and step.is_leaf:
                return True
        return False

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Collect gradients in ``.grad`` from now on (or stop); returns self.

        >>> Tensor([1.0]).requires_grad_().requires_grad
        True
        """
        if not requires_grad:
            if not self.is_leaf:
                raise GradientError(
                    "requires_grad_(False) on the result of a recorded operation",
                    hint="use x.detach()",
                )
            self.detach_()
            return self
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise GradientError(
                f"only floating-point tensors have gradients, not {self.dtype}",
                hint="convert it first: x.float().requires_grad_()",
            )
        if not self.requires_grad:
            self.collect((Stopped(),), is_leaf=True)
        return self

    def collect(self, steps: View, *, is_leaf: bool) -> None:
        """After these steps, gradients arrive at this tensor's ``.grad``.

        >>> x = Tensor([1.0])
        >>> x.collect((), is_leaf=True)
        >>> x.requires_grad
        True
        """
        key = new_key()
        redirect(self, self.storage, (*self.steps, *steps, Collected(key, is_leaf)))
        collectors[key] = self

    def detach(self) -> Tensor:
        """The same elements, shared, without the gradient.

        >>> Tensor([1.0], requires_grad=True).detach().requires_grad
        False
        """
        return self.tensor_class._handle(self.storage, (*self.steps, Stopped()))

    def detach_(self) -> Self:
        """Forget how this tensor was computed; returns self.

        >>> x = Tensor([1.0], requires_grad=True) * 2
        >>> x.detach_().requires_grad
        False
        """
        if self.requires_grad:
            redirect(self, self.storage, (*self.steps, Stopped()))
        return self


def redirect(handle: TensorBase, storage: Storage, steps: View) -> None:
    """Let a handle that is in use show something else from now on."""
    handle.storage = storage
    handle.steps = steps
    # A replay does not look at each handle, only at whether any has changed.
    changes.note()


def wrap(node: Node, *inputs: TensorBase) -> Tensor:
    """A new tensor for the node of an operation on these inputs."""
    # Loops, because generators would be a tenth of what an operation costs.
    depends = is_shared = False
    for entry in inputs:
        depends = depends or entry.requires_grad
        is_shared = is_shared or isinstance(entry.storage, SharedStorage)
    depends = depends and node.dtype.is_floating_point
    tracked = depends and is_grad_enabled()
    if depends and not tracked:
        node = Detached(node)
    result = TensorBase.tensor_class.from_node(node, tracked=tracked)
    if is_shared and not depends_on_samples([node]):
        realize_tensors([result])
    relieve(result)
    return result


def wrap_pairs(node: Node, *inputs: TensorBase) -> Tensor:
    """A new complex tensor for a node of pairs along the last dimension."""
    result = wrap(node, *inputs)
    result.steps = (AS_COMPLEX,)
    return result
