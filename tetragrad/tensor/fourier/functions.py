"""Fourier transforms of tensors, with PyTorch's names and options.

``norm`` says where the division by the number of elements is: "backward" (the default)
in the inverse transform, "forward" in the other, "ortho" by its root in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, complex_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor import complex_functions
from tetragrad.tensor.base import wrap, wrap_pairs
from tetragrad.tensor.fourier.halves import half_of_real, has_halves, real_of_half
from tetragrad.tensor.fourier.transform import Plan, transform
from tetragrad.tensor.joining import concatenate_nodes, pad_dim
from tetragrad.tensor.pairs import join, split, to_pairs
from tetragrad.tensor.promotion import normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Dims = Sequence[int] | None


# --- one dimension --------------------------------------------------------------------


def fft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """Σ x[j] exp(−2πi j k / n) along a dimension, for k < n.

    Args:
        input: real (integers become float32) or complex.
        n: cut or pad with zeros to this length first.
        norm: where to divide; see this module.

    Returns:
        complex64 or complex128.

    Raises:
        ShapeError: n is less than 1.

    >>> tetragrad.fft.fft(Tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _complex_transform(_Call("fft", norm), input, n, dim)


def ifft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """The inverse of ``fft``: Σ x[k] exp(2πi j k / n) / n.

    >>> tetragrad.fft.ifft(Tensor([4.0, 0.0, 0.0, 0.0])).real
    tensor([1., 1., 1., 1.])
    """
    return _complex_transform(_Call("ifft", norm, inverse=True), input, n, dim)


def rfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """The first n // 2 + 1 values of ``fft`` of a real input, which say the rest too.

    >>> tetragrad.fft.rfft(Tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _real_transform(_Call("rfft", norm), input, n, dim)


def irfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """The real values whose ``rfft`` the input is.

    ``n`` is the length of the result, which the input does not tell: 2 (m − 1) for m
    values unless given. The imaginary parts of the first value, and for even n of the
    last, count as 0.

    >>> tetragrad.fft.irfft(Tensor([4.0, 0.0, 0.0]))
    tensor([1., 1., 1., 1.])
    """
    return _transform_to_real(_Call("irfft", norm, inverse=True), input, n, dim)


def hfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """``fft`` of a signal of which a half is given, x[−j] being conj(x[j]): real.

    >>> tetragrad.fft.hfft(Tensor([1.0, 1.0, 1.0]))
    tensor([4., 0., 0., 0.])
    """
    return _transform_to_real(_Call("hfft", norm), input, n, dim)


def ihfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor:
    """The inverse of ``hfft``: the first n // 2 + 1 values of ``ifft`` of a real input.

    >>> tetragrad.fft.ihfft(Tensor([4.0, 0.0, 0.0, 0.0])).real
    tensor([1., 1., 1.])
    """
    return _real_transform(_Call("ihfft", norm, inverse=True), input, n, dim)


# --- several dimensions ---------------------------------------------------------------


def fftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """``fft`` along several dimensions: those of ``dim``, or the last of ``s``, or all.

    >>> tetragrad.fft.fftn(Tensor([[1.0, 0.0], [0.0, 0.0]])).real
    tensor([[1., 1.],
            [1., 1.]])
    """
    return _every(_Call("fftn", norm), input, s, dim)


def ifftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """``ifft`` along several dimensions.

    >>> tetragrad.fft.ifftn(Tensor([[4.0, 0.0], [0.0, 0.0]])).real
    tensor([[1., 1.],
            [1., 1.]])
    """
    return _every(_Call("ifftn", norm, inverse=True), input, s, dim)


def rfftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """``fftn`` of a real input: half of the last of the dimensions says the rest.

    >>> tetragrad.fft.rfftn(Tensor.ones(2, 4)).shape
    (2, 3)
    """
    sizes, dims = _sizes_and_dims("rfftn", input, s, dim)
    half = rfft(input, sizes[-1], dims[-1], norm)
    return _along(_Call("rfftn", norm), half, sizes[:-1], dims[:-1])


def irfftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """The real values whose ``rfftn`` the input is.

    >>> tetragrad.fft.irfftn(tetragrad.fft.rfftn(Tensor.ones(2, 4)))
    tensor([[1., 1., 1., 1.],
            [1., 1., 1., 1.]])
    """
    sizes, dims, last = _half_sizes("irfftn", input, s, dim)
    whole = _along(_Call("irfftn", norm, inverse=True), input, sizes, dims[:-1])
    return irfft(whole, last, dims[-1], norm)


def hfftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """``fftn`` of a signal of which a half of the last dimension is given: real.

    >>> tetragrad.fft.hfftn(Tensor([[1.0, 1.0]]))
    tensor([[2., 0.]])
    """
    sizes, dims, last = _half_sizes("hfftn", input, s, dim)
    whole = _along(_Call("hfftn", norm), input, sizes, dims[:-1])
    return hfft(whole, last, dims[-1], norm)


def ihfftn(
    input: Tensor, s: Dims = None, dim: Dims = None, norm: str | None = None
) -> Tensor:
    """The inverse of ``hfftn``.

    >>> tetragrad.fft.ihfftn(Tensor([[1.0, 1.0]]))
    tensor([[1.+0.j, 0.+0.j]])
    """
    sizes, dims = _sizes_and_dims("ihfftn", input, s, dim)
    half = ihfft(input, sizes[-1], dims[-1], norm)
    return _along(_Call("ihfftn", norm, inverse=True), half, sizes[:-1], dims[:-1])


class _OfTwo(Protocol):
    def __call__(
        self,
        input: Tensor,
        s: Dims = None,
        dim: Sequence[int] = (-2, -1),
        norm: str | None = None,
    ) -> Tensor: ...


def _of_two(transform_of_several: Callable[..., Tensor]) -> _OfTwo:
    """A transform of several dimensions as that of the last two."""
    several = transform_of_several.__name__

    def function(
        input: Tensor,
        s: Dims = None,
        dim: Sequence[int] = (-2, -1),
        norm: str | None = None,
    ) -> Tensor:
        return transform_of_several(input, s, dim, norm)

    function.__name__ = function.__qualname__ = several.replace("fftn", "fft2")
    function.__doc__ = f"""``{several}`` of the last two dimensions.

    >>> tetragrad.fft.{function.__name__}(Tensor.ones(2, 2)).shape
    (2, 2)
    """
    return function


fft2 = _of_two(fftn)
ifft2 = _of_two(ifftn)
rfft2 = _of_two(rfftn)
irfft2 = _of_two(irfftn)
hfft2 = _of_two(hfftn)
ihfft2 = _of_two(ihfftn)


# --- how it is done -------------------------------------------------------------------


@frozen
class _Call:
    """Which function was called, and what it does besides adding up."""

    name: str
    norm: str | None
    inverse: bool = False

    def scaled(self, node: Node, size: int) -> Node:
        """Divided as ``norm`` says."""
        if self.norm not in (None, "backward", "forward", "ortho"):
            raise ShapeError(
                f"fft.{self.name}(norm={self.norm!r})",
                hint="use 'backward', 'forward' or 'ortho'",
            )
        if self.norm == "ortho":
            return ops.Mul(node, full_like(node, 1 / math.sqrt(size)))
        divides = self.inverse if self.norm != "forward" else not self.inverse
        return ops.Mul(node, full_like(node, 1 / size)) if divides else node


def _complex_transform(call: _Call, input: Tensor, n: int | None, dim: int) -> Tensor:
    input, axis, size = _prepared(call.name, input, n, dim)
    is_real = not input.is_complex()
    node = _last(input.real_node, axis, is_real)
    plan = Plan(size, size, real_input=is_real, inverse=call.inverse)
    node = transform(_fitted(node, size, is_real), plan)
    node = call.scaled(node, size)
    return wrap_pairs(_back(node, axis, is_real=False), input)


def _real_transform(call: _Call, input: Tensor, n: int | None, dim: int) -> Tensor:
    if input.is_complex():
        raise DTypeError(
            f"fft.{call.name}() of {input.dtype}: it takes real numbers",
            hint="use fft() or ifft()",
        )
    input, axis, size = _prepared(call.name, input, n, dim)
    node = _fitted(_last(input.node, axis, True), size, True)
    node = half_of_real(node, size, inverse=call.inverse)
    node = call.scaled(node, size)
    return wrap_pairs(_back(node, axis, is_real=False), input)


def _transform_to_real(call: _Call, input: Tensor, n: int | None, dim: int) -> Tensor:
    """Transform the first half of a signal whose other half mirrors it, conjugated."""
    input, axis, _ = _prepared(call.name, input, None, dim)
    size = 2 * (input.shape[axis] - 1) if n is None else n
    if size < 1:
        raise ShapeError(
            f"fft.{call.name}(n={n}) of shape {input.shape}: the result would have "
            f"{size} elements",
            hint="pass n",
        )
    node = input.real_node
    if not input.is_complex():
        node = to_pairs(node, complex_dtype(node.dtype))
    node = _fitted(_last(node, axis, False), size // 2 + 1, False)
    if has_halves(size):
        node = real_of_half(node, size, inverse=call.inverse)
    else:
        plan = Plan(size, size, real_output=True, inverse=call.inverse)
        node = transform(_mirrored(node, size), plan)
    node = call.scaled(node, size)
    return wrap(_back(node, axis, is_real=True), input)


def _mirrored(half: Node, size: int) -> Node:
    """x[size - j] = conj(x[j]) for the j that the half does not have."""
    dim = half.ndim - 2
    inner = pad_dim(half, dim, -1, -1 if size % 2 == 0 else 0)
    if not inner.shape[dim]:
        return half
    turned = graph.Flip(inner, (dim,))
    return concatenate_nodes(
        [half, join(complex_functions.conjugate(split(turned)))], dim
    )


def _prepared(
    name: str, input: Tensor, n: int | None, dim: int
) -> tuple[Tensor, int, int]:
    """The input in a dtype that is transformed, its dimension and the length."""
    if input.dtype in (dtypes.float16, dtypes.bfloat16):
        raise DTypeError(
            f"fft.{name}() of {input.dtype}: it takes float32, float64 or complex",
            hint="convert it first, x.float()",
        )
    if not input.ndim:
        raise ShapeError(
            f"fft.{name}() of a number: it takes a dimension",
            hint="give it a dimension, x.reshape(1)",
        )
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        input = input.float()
    axis = normal_dim(dim, input.ndim)
    size = input.shape[axis] if n is None else n
    if size < 1:
        raise ShapeError(
            f"fft.{name}() of {size} values along dimension {dim} of {input.shape}",
            hint="at least one value is transformed",
        )
    return input, axis, size


def _last(node: Node, axis: int, is_real: bool) -> Node:
    """The node with a dimension moved behind the others, but before the pairs'."""
    ndim = node.ndim - (not is_real)
    order = [dim for dim in range(ndim) if dim != axis] + [axis]
    order += [] if is_real else [ndim]
    return graph.Permute(node, tuple(order))


def _back(node: Node, axis: int, *, is_real: bool) -> Node:
    ndim = node.ndim - (not is_real)
    order = list(range(ndim - 1))
    order.insert(axis, ndim - 1)
    order += [] if is_real else [ndim]
    return graph.Permute(node, tuple(order))


def _fitted(node: Node, size: int, is_real: bool) -> Node:
    """Cut or padded with zeros to a length."""
    dim = node.ndim - (1 if is_real else 2)
    return pad_dim(node, dim, 0, size - node.shape[dim])


def _every(call: _Call, input: Tensor, s: Dims, dim: Dims) -> Tensor:
    sizes, dims = _sizes_and_dims(call.name, input, s, dim)
    if not dims:
        return input.to(_complex_of(input.dtype))
    return _along(call, input, sizes, dims)


def _complex_of(dtype: DType) -> DType:
    return dtype if dtype.is_complex else complex_dtype(dtype)


def _along(
    call: _Call, input: Tensor, sizes: Sequence[int], dims: Sequence[int]
) -> Tensor:
    """Transform one dimension after the other, the last one first."""
    for size, dim in reversed(list(zip(sizes, dims, strict=True))):
        input = _complex_transform(call, input, size, dim)
    return input


def _sizes_and_dims(
    name: str, input: Tensor, s: Dims, dim: Dims
) -> tuple[list[int], list[int]]:
    """Lengths and dimensions; -1 is the dimension's own length."""
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    if dim is not None:
        dims = [normal_dim(entry, input.ndim) for entry in dim]
    elif s is not None:
        dims = list(range(input.ndim - len(s), input.ndim))
    else:
        dims = list(range(input.ndim))
    if s is not None and (len(s) != len(dims) or min(dims, default=0) < 0):
        raise ShapeError(
            f"fft.{name}(s={tuple(s)}, dim={dim}) of shape {input.shape}: a length for "
            "each dimension"
        )
    if len(set(dims)) != len(dims):
        raise ShapeError(
            f"fft.{name}(dim={dim}) names a dimension twice",
            hint="name each dimension once",
        )
    lengths = [-1] * len(dims) if s is None else list(s)
    sizes = [
        input.shape[axis] if length == -1 else length
        for length, axis in zip(lengths, dims, strict=True)
    ]
    return sizes, dims


def _half_sizes(
    name: str, input: Tensor, s: Dims, dim: Dims
) -> tuple[list[int], list[int], int]:
    """Lengths of all dimensions but the last, the dimensions, the last one's length."""
    sizes, dims = _sizes_and_dims(name, input, s, dim)
    if not dims:
        raise ShapeError(f"fft.{name}() along no dimension: the last one is halved")
    given = s is not None and tuple([s] if isinstance(s, int) else s)[-1] != -1
    last = sizes[-1] if given else 2 * (input.shape[dims[-1]] - 1)
    return sizes[:-1], dims, last
