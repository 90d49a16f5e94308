"""Small questions to a tensor, and changes in place that belong to no family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.tensor.modes import no_grad
from tetragrad.tensor.replacing import ReplacingMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: ``random_()`` fills floats with integers that they can hold: 2 to this power.
_WHOLE_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


class PropertyMethods(ReplacingMethods):
    """Questions that PyTorch's programs ask, and two ways to fill a tensor."""

    __slots__ = ()

    # --- questions --------------------------------------------------------------------

    @property
    def data(self) -> Tensor:
        """The same elements without the gradient; assigning replaces the elements.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> x.data = Tensor([3.0, 4.0])
        >>> x.data
        tensor([3., 4.])
        >>> x.requires_grad
        True
        """
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        with no_grad():
            self.detach().copy_(value)

    @property
    def is_cpu(self) -> bool:
        """Whether the elements are, or will be, on the CPU.

        >>> Tensor([1.0], device="cpu").is_cpu
        True
        """
        return self.device == "cpu"

    @property
    def is_cuda(self) -> bool:
        """Whether the elements are, or will be, on an NVIDIA GPU.

        >>> Tensor([1.0], device="cpu").is_cuda
        False
        """
        return self.device.partition(":")[0] == "cuda"

    @property
    def is_sparse(self) -> bool:
        """False: there are no sparse layouts here.

        >>> Tensor([1.0]).is_sparse
        False
        """
        return False

    def pin_memory(self) -> Tensor:
        """This tensor: what is copied to a GPU passes through pinned memory anyway.

        >>> x = Tensor([1.0])
        >>> x.pin_memory() is x
        True
        """
        return self  # type: ignore[return-value]

    def cuda(self, device: int | str | None = None) -> Tensor:
        """The tensor on a GPU: the first one, or that of a number or name."""
        name = f"cuda:{device}" if isinstance(device, int) else device
        return self.to(name or "cuda")

    def ndimension(self) -> int:
        """The number of dimensions: another name of ``ndim``.

        >>> Tensor([[1, 2]]).ndimension()
        2
        """
        return self.ndim

    def is_same_size(self, other: Tensor) -> bool:
        """Whether another tensor has the same shape.

        >>> Tensor([1, 2]).is_same_size(Tensor([0.0, 0.0]))
        True
        """
        return self.shape == other.shape

    def is_nonzero(self) -> bool:
        """Whether the only element is not 0; this reads the tensor.

        >>> Tensor([2]).is_nonzero()
        True

        Raises:
            ShapeError: there is not exactly one element.
        """
        if self.numel() != 1:
            raise ShapeError(
                f"is_nonzero() of shape {self.shape}: which of its {self.numel()} "
                "elements?",
                hint="use x.any() or x.all()",
            )
        return bool(self.item() != 0)

    def __reversed__(self) -> Tensor:
        return self.flip(tuple(range(self.ndim)))

    # --- filling ----------------------------------------------------------------------

    def fill_diagonal_(self, fill_value: float, wrap: bool = False) -> Self:
        """Write one value along the diagonal; returns self.

        Args:
            fill_value: the value, converted to the tensor's dtype.
            wrap: begin the diagonal anew below itself, with a row between, where a
                matrix has more rows than columns.

        >>> Tensor.zeros(3, 2).fill_diagonal_(1)
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])

        Raises:
            ShapeError: less than two dimensions, or more of unequal sizes.
        """
        shape = self.shape
        if self.ndim < 2 or (self.ndim > 2 and len(set(shape)) > 1):
            raise ShapeError(
                f"fill_diagonal_() of shape {shape}",
                hint="it takes matrices, and more dimensions of one size",
            )
        # Steps along the diagonal are as long as one step in each dimension.
        step, stride = 0, 1
        for size in reversed(shape):
            step += stride
            stride *= size
        place = self.tensor_class.arange(self.numel())
        chosen = place % step == 0
        if self.ndim == 2 and not wrap:
            chosen = chosen & (place < shape[1] * shape[1])
        self.masked_fill_(chosen.reshape(shape), fill_value)
        return self

    def random_(
        self, low: int = 0, high: int | None = None, *, generator: Any = None
    ) -> Self:
        """Fill with integers from ``low`` up to, but without, ``high``; returns self.

        One number is ``high``. Without numbers, the integers are all that are not
        negative and that the dtype holds exactly.

        >>> int(Tensor.zeros(8).random_(3).max()) < 3
        True

        Raises:
            TetragradError: ``high`` is not above ``low``.
        """
        if high is None:
            low, high = 0, low or self._whole_limit()
        if high <= low:
            raise TetragradError(
                f"random_({low}, {high})", hint="high is more than low"
            )
        whole = self.tensor_class.randint(low, high, self.shape, generator=generator)
        return self.copy_(whole)

    def _whole_limit(self) -> int:
        """One more than the largest integer below which all are held exactly."""
        dtype = self.dtype
        if dtype.is_floating_point:
            return 1 << _WHOLE_BITS.get(dtype.name, 2)
        if dtype.is_bool:
            return 2
        return 1 << (dtype.bits - (1 if dtype.is_signed else 0))
