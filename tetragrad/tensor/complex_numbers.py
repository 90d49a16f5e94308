"""Complex tensors: their parts, sizes and angles, and how they are made from those."""

from __future__ import annotations

import builtins
import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase, wrap_pairs
from tetragrad.tensor.formulas import angles as angle_nodes
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.functions import FunctionMethods
from tetragrad.tensor.gradient_rules import with_gradient, with_zero_gradient
from tetragrad.tensor.pairs import Pair, conjugate_pairs, join, split
from tetragrad.tensor.promotion import broadcast_nodes, combine_parts, float_dtype
from tetragrad.tensor.storage import AS_COMPLEX, AS_REAL

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def view_as_real(input: TensorBase) -> Tensor:
    """The same memory as real numbers: a last dimension holds both parts.

    >>> tetragrad.view_as_real(Tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    if not input.dtype.is_complex:
        raise DTypeError(f"view_as_real() of {input.dtype}", hint="it is real already")
    return input.tensor_class._handle(input.storage, (*input.steps, AS_REAL))


def view_as_complex(input: TensorBase) -> Tensor:
    """The same memory as complex numbers, whose parts the last dimension holds.

    >>> tetragrad.view_as_complex(Tensor([[1.0, 2.0]]))
    tensor([1.+2.j])

    Raises:
        ShapeError: the last dimension has not two elements.
    """
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(
            f"view_as_complex() of {input.dtype}", hint="use float32 or float64"
        )
    if input.shape[-1:] != (2,):
        raise ShapeError(
            f"view_as_complex() of shape {input.shape}",
            hint="the last dimension holds the real and the imaginary part",
        )
    return input.tensor_class._handle(input.storage, (*input.steps, AS_COMPLEX))


def complex(real: TensorBase, imag: TensorBase) -> Tensor:
    """real + i * imag, of two tensors of float32 or float64.

    >>> tetragrad.complex(Tensor([1.0]), Tensor([2.0]))
    tensor([1.+2.j])
    """
    if real.dtype is not imag.dtype or real.dtype not in (
        dtypes.float32,
        dtypes.float64,
    ):
        raise DTypeError(
            f"complex() of {real.dtype} and {imag.dtype}",
            hint="both parts are float32, or both are float64",
        )
    pair = Pair(*broadcast_nodes(real.node, imag.node))
    return wrap_pairs(join(pair), real, imag)


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Complex numbers of these sizes and angles.

    >>> tetragrad.polar(Tensor([2.0]), Tensor([0.0]))
    tensor([2.+0.j])
    """
    return complex(abs * angle.cos(), abs * angle.sin())


def by_parts(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that moves elements: of complex numbers, it moves both parts alike."""

    @functools.wraps(method)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.dtype.is_complex:
            return method(self, *args, **kwargs)
        parts = []
        for place in (0, 1):
            given = [_part_of(value, place) for value in args]
            named = {name: _part_of(value, place) for name, value in kwargs.items()}
            parts.append(method(_part_of(self, place), *given, **named))
        return complex(*parts)

    return moved


def _part_of(value: Any, place: int) -> Any:
    """A part of a number that may be complex; indices and sizes stay as they are."""
    is_tensor = isinstance(value, TensorBase)
    if isinstance(value, builtins.complex) or (is_tensor and value.dtype.is_complex):
        return value.imag if place else value.real
    if place and isinstance(value, float):
        return 0.0
    if place and is_tensor and value.dtype.is_floating_point:
        return value.zeros_like()
    return value


def multilinear(function: Callable[..., Tensor], *operands: Any) -> Tensor:
    """A sum of products of complex operands, from those of their parts.

    Every product of parts is one with the power of i that its imaginary parts make.
    """
    choices = [(0, 1) if entry.dtype.is_complex else (0,) for entry in operands]
    sums: list[Any] = [None, None]
    for places in itertools.product(*choices):
        parts = [_part_of(*each) for each in zip(operands, places, strict=True)]
        term = function(*parts)
        power = sum(places) % 4
        term = -term if power > 1 else term
        known = sums[power % 2]
        sums[power % 2] = term if known is None else known + term
    return complex(*sums)


def angle_of(pair: Pair) -> Node:
    """The angle from the positive real axis, between -π and π; 0 of 0."""
    value = angle_nodes.atan2(pair.imag, pair.real)

    def rule(upstream: Node) -> tuple[Node, Node]:
        length = ops.Add(nodes.square(pair.real), nodes.square(pair.imag))
        is_zero = nodes.equals(length, 0)
        share = ops.Div(upstream, ops.Where(is_zero, full_like(length, 1), length))
        return ops.Neg(ops.Mul(share, pair.imag)), ops.Mul(share, pair.real)

    return with_gradient(value, (pair.real, pair.imag), rule)


class ComplexMethods(FunctionMethods):
    """Methods about the parts of complex numbers; real ones have an imaginary 0."""

    __slots__ = ()

    @property
    def real(self) -> Tensor:
        """The real part, as a view; of a real tensor, the tensor.

        >>> Tensor([1 + 2j]).real
        tensor([1.])
        """
        return self._part(0) if self.dtype.is_complex else self  # type: ignore[return-value]

    @property
    def imag(self) -> Tensor:
        """The imaginary part of a complex tensor, as a view.

        >>> Tensor([1 + 2j]).imag
        tensor([2.])

        Raises:
            DTypeError: the tensor is real.
        """
        if not self.dtype.is_complex:
            raise DTypeError(
                f"imag of a tensor of {self.dtype}", hint="its imaginary part is 0"
            )
        return self._part(1)

    def _part(self, place: int) -> Tensor:
        shape = self.shape
        bounds = (*((0, size) for size in shape), (place, place + 1))
        parts = view_as_real(self)
        return parts.moved(graph.Shrink, bounds).moved(graph.Reshape, shape)

    def conj(self) -> Tensor:
        """The imaginary part negated (a copy, where PyTorch notes it and waits).

        >>> Tensor([1 + 2j]).conj()
        tensor([1.-2.j])
        """
        if not self.dtype.is_complex:
            return self  # type: ignore[return-value]
        return wrap_pairs(conjugate_pairs(self.real_node), self)

    conj_physical = conj

    def resolve_conj(self) -> Tensor:
        """The tensor: no conjugate is left to be taken.

        >>> Tensor([1 + 2j]).conj().resolve_conj()
        tensor([1.-2.j])
        """
        return self  # type: ignore[return-value]

    def resolve_neg(self) -> Tensor:
        """The tensor: no sign is left to be changed.

        >>> Tensor([1.0]).resolve_neg()
        tensor([1.])
        """
        return self  # type: ignore[return-value]

    def is_conj(self) -> bool:
        """Whether a conjugate is still to be taken: never.

        >>> Tensor([1 + 2j]).conj().is_conj()
        False
        """
        return False

    def angle(self) -> Tensor:
        """The angle from the positive real axis; of real numbers 0, or π below 0.

        >>> Tensor([1j]).angle()
        tensor([1.5708])
        """
        if self.dtype.is_complex:
            return combine_parts(angle_of(split(self.real_node)), self)
        source = ops.Cast(self.node, float_dtype(self))
        is_negative = ops.Lt(source, full_like(source, 0))
        turn = ops.Where(is_negative, full_like(source, math.pi), full_like(source, 0))
        turn = ops.Where(ops.Eq(source, source), turn, source)
        return self.result(with_zero_gradient(turn, source))

    def isreal(self) -> Tensor:
        """Where the imaginary part is 0.

        >>> Tensor([1 + 0j, 1j]).isreal()
        tensor([ True, False])
        """
        if not self.dtype.is_complex:
            return self.result(full_like(ops.Eq(self.node, self.node), True))
        return self.imag.eq(0)

    @property
    def mH(self) -> Tensor:
        """The last two dimensions exchanged, and the imaginary part negated.

        >>> Tensor([[1j, 2]]).mH.shape
        (2, 1)
        """
        turned: Any = self.mT
        return turned.conj()

    @property
    def H(self) -> Tensor:
        """The conjugate transpose of a matrix.

        >>> Tensor([[1j, 2]]).H.shape
        (2, 1)
        """
        turned: Any = self.t()
        return turned.conj()

    def adjoint(self) -> Tensor:
        """The conjugate transpose of the last two dimensions.

        >>> Tensor([[1 + 1j, 2]]).adjoint()
        tensor([[1.-1.j],
                [2.-0.j]])
        """
        return self.mH


def real(input: Tensor) -> Tensor:
    """The real part of a complex tensor; a real tensor itself.

    >>> tetragrad.real(Tensor([1 + 2j]))
    tensor([1.])
    """
    return input.real


def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor.

    >>> tetragrad.imag(Tensor([1 + 2j]))
    tensor([2.])
    """
    return input.imag
