"""Parts of tensors: splitting, replacing a part, and copies in place of views.

Everything here is said with the views of ``movement.py``. What PyTorch calls
``…_copy`` gives new elements where the method without the suffix shares them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.tensor.attention import AttentionMethods
from tetragrad.tensor.base import redirect
from tetragrad.tensor.cutting import Sizes
from tetragrad.tensor.derived import derived_docstring
from tetragrad.tensor.movement import MovementMethods, sizes_of

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def _copying(method: Callable[..., Any]) -> Callable[..., Any]:
    """The form of a method whose result shares no elements with the tensor."""

    @functools.wraps(method)
    def copied(self: Any, *args: Any, **kwargs: Any) -> Any:
        views = method(self, *args, **kwargs)
        if isinstance(views, tuple):
            return tuple(view.clone() for view in views)
        return views.clone()

    return _renamed(copied, f"{method.__name__}_copy", "with elements of its own")


def _moving(method: Callable[..., Any]) -> Callable[..., Any]:
    """The form of a view method that changes what this handle shows."""

    @functools.wraps(method)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        redirect(self, self.storage, method(self, *args, **kwargs).steps)
        return self

    return _renamed(moved, f"{method.__name__}_", "of this handle itself")


def _renamed(method: Callable[..., Any], name: str, how: str) -> Callable[..., Any]:
    summary = f"``{method.__name__}``, {how}."
    method.__doc__ = derived_docstring(summary, method, name)
    method.__name__ = name
    method.__qualname__ = name
    return method


class PartMethods(AttentionMethods):
    """Methods that split a tensor or replace a part of it."""

    __slots__ = ()

    # --- splitting --------------------------------------------------------------------

    split_with_sizes = MovementMethods.split
    unsafe_split = MovementMethods.split
    unsafe_chunk = MovementMethods.chunk

    def hsplit(self, indices_or_sections: Sizes) -> Any:
        """Split along the second dimension, a vector along its only one.

        >>> [part.tolist() for part in Tensor([1, 2, 3, 4]).hsplit(2)]
        [[1, 2], [3, 4]]
        """
        dim = 0 if self.ndim == 1 else 1
        return self._split_evenly("hsplit()", indices_or_sections, dim, 1)

    def vsplit(self, indices_or_sections: Sizes) -> Any:
        """Split along the first dimension.

        >>> [part.tolist() for part in Tensor([[1], [2]]).vsplit(2)]
        [[[1]], [[2]]]
        """
        return self._split_evenly("vsplit()", indices_or_sections, 0, 2)

    def dsplit(self, indices_or_sections: Sizes) -> Any:
        """Split along the third dimension.

        >>> [part.shape for part in Tensor.zeros(1, 1, 4).dsplit(2)]
        [(1, 1, 2), (1, 1, 2)]
        """
        return self._split_evenly("dsplit()", indices_or_sections, 2, 3)

    def _split_evenly(self, name: str, parts: Sizes, dim: int, least: int) -> Any:
        if self.ndim < least:
            raise ShapeError(
                f"{name} of shape {self.shape} needs at least {least} dimensions"
            )
        size = self.shape[dim]
        if isinstance(parts, int) and (parts < 1 or size % parts):
            raise ShapeError(
                f"{name} of {size} elements into {parts} equal parts",
                hint="use tensor_split(), whose parts may differ in size",
            )
        return self.tensor_split(parts, dim)

    # --- replacing a part -------------------------------------------------------------

    def select_scatter(self, src: Tensor, dim: int, index: int) -> Tensor:
        """A copy in which ``src`` stands at one index of a dimension.

        >>> Tensor.zeros(2, 2).select_scatter(Tensor.ones(2), 0, 1)
        tensor([[0., 0.],
                [1., 1.]])
        """
        result = self.clone()
        result.select(dim, index).copy_(self._alike_part(src))
        return result

    def slice_scatter(
        self,
        src: Tensor,
        dim: int = 0,
        start: int | None = None,
        end: int | None = None,
        step: int = 1,
    ) -> Tensor:
        """A copy in which ``src`` stands at a slice of a dimension.

        >>> Tensor([0, 0, 0, 0]).slice_scatter(Tensor([1, 2]), 0, 0, None, 2)
        tensor([1, 0, 2, 0])
        """
        result = self.clone()
        key = (slice(None),) * (dim % max(self.ndim, 1)) + (slice(start, end, step),)
        result[key] = self._alike_part(src)
        return result

    def diagonal_scatter(
        self, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
    ) -> Tensor:
        """A copy in which ``src`` stands on a diagonal.

        >>> Tensor.zeros(2, 2).diagonal_scatter(Tensor([1.0, 2.0]))
        tensor([[1., 0.],
                [0., 2.]])
        """
        # The diagonal of as many matrices, and zeros around it.
        placed = src.diag_embed(offset)
        rows, columns = self.shape[dim1], self.shape[dim2]
        around = (0, columns - placed.shape[-1], 0, rows - placed.shape[-2])
        back = placed.pad(around).movedim((-2, -1), (dim1, dim2))
        on_diagonal = src.ones_like().bool().diag_embed(offset).pad(around)
        return back.where(on_diagonal.movedim((-2, -1), (dim1, dim2)), self)

    def _alike_part(self, source: Tensor) -> Tensor:
        return source.to(self.dtype)

    # --- copies in place of views -----------------------------------------------------

    def alias_copy(self) -> Tensor:
        """The same elements again, in a storage of their own.

        >>> x = Tensor([1, 2])
        >>> _ = x.alias_copy().add_(1)
        >>> x
        tensor([1, 2])
        """
        return self.clone()

    diagonal_copy = _copying(MovementMethods.diagonal)
    expand_copy = _copying(MovementMethods.expand)
    narrow_copy = _copying(MovementMethods.narrow)
    permute_copy = _copying(MovementMethods.permute)
    select_copy = _copying(MovementMethods.select)
    split_copy = split_with_sizes_copy = _copying(MovementMethods.split)
    squeeze_copy = _copying(MovementMethods.squeeze)
    t_copy = _copying(MovementMethods.t)
    transpose_copy = _copying(MovementMethods.transpose)
    unbind_copy = _copying(MovementMethods.unbind)
    unfold_copy = _copying(MovementMethods.unfold)
    unsqueeze_copy = _copying(MovementMethods.unsqueeze)
    view_copy = _copying(MovementMethods.view)

    squeeze_ = _moving(MovementMethods.squeeze)
    t_ = _moving(MovementMethods.t)
    transpose_ = _moving(MovementMethods.transpose)
    swapaxes_ = _moving(MovementMethods.transpose)
    swapdims_ = _moving(MovementMethods.transpose)
    unsqueeze_ = _moving(MovementMethods.unsqueeze)

    # --- shapes -----------------------------------------------------------------------

    def diagflat(self, offset: int = 0) -> Tensor:
        """A matrix with all elements on its diagonal.

        >>> Tensor([1, 2]).diagflat(1).shape
        (3, 3)
        """
        return self.ravel().diag_embed(offset)

    def sum_to_size(self, *size: Any) -> Tensor:
        """Sum the dimensions along which a tensor of this size would repeat.

        >>> Tensor.ones(2, 3).sum_to_size(1, 3)
        tensor([[2., 2., 2.]])
        """
        wanted = sizes_of(size)
        extra = self.ndim - len(wanted)
        fits = extra >= 0 and all(
            want in (1, have)
            for have, want in zip(self.shape[extra:], wanted, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"sum_to_size() of shape {self.shape} to {wanted}",
                hint="the wanted shape must be one that broadcasts to the tensor's",
            )
        summed = tuple(
            dim
            for dim, have in enumerate(self.shape)
            if dim < extra or (wanted[dim - extra] == 1 and have != 1)
        )
        if not wanted:
            return self.sum()
        if not summed:
            return self.alias_copy()
        return self.sum(summed, keepdim=True).reshape(wanted)

    def fill(self, value: Any) -> Tensor:
        """One value everywhere, in this tensor's shape and dtype.

        >>> Tensor([1, 2]).fill(7)
        tensor([7, 7])
        """
        return self.masked_fill(self.ones_like().bool(), value)

    def constant_pad_nd(self, pad: Sequence[int], value: float = 0) -> Tensor:
        """``pad`` with one value around.

        >>> Tensor([1, 2]).constant_pad_nd((1, 0), 7)
        tensor([7, 1, 2])
        """
        return self.pad(pad, "constant", value)

    def positive(self) -> Tensor:
        """+self.

        >>> Tensor([-1]).positive()
        tensor([-1])
        """
        if self.dtype.is_bool:
            raise DTypeError("positive() of bools", hint="convert it first: x.int()")
        return self  # type: ignore[return-value]
