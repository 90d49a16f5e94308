"""What the functions of linear algebra ask of their arguments, and common pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, LinAlgError, ShapeError
from tetragrad.engine import capture
from tetragrad.engine.realize import call_host
from tetragrad.graph.host_call import Call, HostFunction, register
from tetragrad.graph.samples import depends_on_samples
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.promotion import broadcast_shapes

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: The dtypes that a host can factorise.
ACCEPTED = (dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128)


def check_matrix(name: str, tensor: TensorBase) -> None:
    """Raise unless the tensor holds matrices of a dtype that the host computes in."""
    check_dtype(name, tensor)
    if tensor.ndim < 2:
        raise ShapeError(
            f"linalg.{name}() of shape {tensor.shape}: it takes a matrix, or a batch",
            hint="the last two dimensions are rows and columns",
        )


def check_square(name: str, tensor: TensorBase) -> None:
    """Raise unless the tensor holds square matrices."""
    check_matrix(name, tensor)
    if tensor.shape[-1] != tensor.shape[-2]:
        raise ShapeError(
            f"linalg.{name}() of shape {tensor.shape}: it takes square matrices, "
            f"these have {tensor.shape[-2]} rows and {tensor.shape[-1]} columns"
        )


def check_dtype(name: str, tensor: TensorBase) -> None:
    """Raise unless the elements are float32, float64 or complex."""
    if not isinstance(tensor, TensorBase):
        raise DTypeError(f"linalg.{name}() of {type(tensor).__name__}: pass a tensor")
    if tensor.dtype not in ACCEPTED:
        raise DTypeError(
            f"linalg.{name}() of {tensor.dtype}: it takes float32, float64 or complex",
            hint="convert it first, for example with x.float()",
        )


def check_info(name: str, info: Tensor, what: str) -> None:
    """Raise LinAlgError for the first matrix of a batch whose ``info`` is not 0.

    ``what`` says what that number means, with {} where the number stands. Under
    ``vmap`` there are no numbers yet, and nothing is checked.
    """
    if depends_on_samples([info.real_node]):
        return
    if capture.active() is None:
        _raise_for(info.read(), name, what)
        return
    # A captured function reads no values, but each replay may check some.
    node = info.real_node
    call_host(Call(_CHECK.name, (name, what), info.device, (info.dtype,), (node,)))


def _raise_for(numbers: np.ndarray, name: str, what: str) -> tuple[()]:
    """Raise LinAlgError for the first of some numbers that is not 0."""
    if not numbers.any():
        return ()
    index = tuple(int(entry) for entry in np.argwhere(numbers)[0])
    value = int(numbers[index])
    where = f" (batch element {', '.join(map(str, index))})" if index else ""
    raise LinAlgError(f"linalg.{name}{where}: {what.format(value)}")


#: Has no outputs: it is called for the error that it may raise.
_CHECK = register(HostFunction("check_info", _raise_for, lambda *described: ()))


def adjoint(tensor: Tensor) -> Tensor:
    """The conjugate transpose."""
    turned = tensor.mT
    return turned.conj() if tensor.is_complex() else turned


def epsilon(tensor: TensorBase) -> float:
    """The distance from 1 to the next number of the dtype."""
    single = tensor.dtype in (dtypes.float32, dtypes.complex64)
    return 2.0**-23 if single else 2.0**-52


def identity(size: int, like: Tensor) -> Tensor:
    """The unit matrix in the dtype and on the device of another tensor."""
    return like.tensor_class.eye(size, dtype=like.dtype, device=like.device)


def check_same_dtype(name: str, A: Tensor, B: Tensor) -> None:
    """Raise unless both are of one dtype, which the host computes in."""
    check_dtype(name, B)
    if A.dtype is not B.dtype:
        raise DTypeError(
            f"linalg.{name}() of A in {A.dtype} and B in {B.dtype}",
            hint="convert one of them: B.to(A.dtype)",
        )


def check_rows(name: str, A: Tensor, right: Tensor) -> None:
    """Raise unless the right-hand side has a row for each row of A."""
    if right.ndim < 2 or right.shape[-2] != A.shape[-2]:
        raise ShapeError(
            f"linalg.{name}() of A {A.shape} and B {right.shape}: B needs as many rows "
            f"as A, {A.shape[-2]}"
        )


def broadcast_batch(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Both with all dimensions of the batch."""
    batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])


def is_vector_beside(A: Tensor, B: Tensor) -> bool:
    """Whether B is a vector, or a batch of them, rather than columns."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
