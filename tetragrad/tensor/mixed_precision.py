"""Autocast: products in half width, and what loses digits by it in float32.

``NARROWED`` and ``WIDENED`` are the methods whose floating-point operands are cast
first, float64 excepted. They are PyTorch's lists for GPUs, on every device. All other
operations compute in the dtypes they meet.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, ParamSpec, Self, TypeVar

from tetragrad.core.dtypes import DType, bfloat16, float16, float32, float64, to_dtype
from tetragrad.core.errors import DeviceError, DTypeError
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.devices import device_name

P = ParamSpec("P")
R = TypeVar("R")

#: Which dtype products have, for each kind of device where autocast is on.
Modes = tuple[tuple[str, DType], ...]

_modes: ContextVar[Modes] = ContextVar("autocast", default=())

#: Methods whose operands get the narrow dtype: products and convolutions.
NARROWED = """
    __matmul__ __rmatmul__ addbmm addmm addmv addr baddbmm bmm conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm mv
    scaled_dot_product_attention
""".split()

#: Methods whose operands get float32: exponentials, sums, norms and losses.
WIDENED = """
    __pow__ __rpow__ acos asin binary_cross_entropy binary_cross_entropy_with_logits
    cdist cosh cosine_embedding_loss cosine_similarity cross_entropy cumprod cumsum dist
    erfinv exp expm1 group_norm hinge_embedding_loss huber_loss kl_div l1_loss
    layer_norm log log10 log1p log2 log_softmax margin_ranking_loss mse_loss nll_loss
    norm normalize poisson_nll_loss pow prod reciprocal renorm rsqrt sinh smooth_l1_loss
    soft_margin_loss softmax softmin softplus sum tan triplet_margin_loss
""".split()


def autocast_modes() -> Modes:
    """What is on here: a part of what captures of functions are compared by."""
    return _modes.get()


class autocast:
    """Inside, products of float32 are computed in half width; also a decorator.

    Weights stay float32, and so do their gradients. Exponentials, sums, norms and
    losses compute in float32, and give it.

    Args:
        device_type: tensors of which kind of device it is about: "cuda" or "cpu".
        dtype: float16 or bfloat16; left out, float16 on "cuda" and bfloat16 on "cpu".
        enabled: False turns it off inside.
        cache_enabled: ignored.

    >>> x, w = Tensor([[1.0, 2.0]], device="cpu"), Tensor([[3.0], [4.0]], device="cpu")
    >>> with tetragrad.autocast("cpu"):
    ...     product = x @ w
    >>> product
    tensor([[11.]], dtype=tetragrad.bfloat16)

    Raises:
        DTypeError: another dtype.
    """

    def __init__(
        self,
        device_type: str = "cuda",
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = str(device_type).partition(":")[0]
        usual = bfloat16 if self.device == "cpu" else float16
        self.fast_dtype = usual if dtype is None else to_dtype(dtype)
        if self.fast_dtype not in (float16, bfloat16, float32):
            raise DTypeError(
                f"autocast to {self.fast_dtype}",
                hint="products can be computed in tetragrad.bfloat16 or float16",
            )
        self._enabled = enabled and self._has_device()
        self._tokens: list[Token[Modes]] = []

    def _has_device(self) -> bool:
        try:
            device_name(self.device)
        except DeviceError:
            if self.device != "cuda":
                raise
            warnings.warn(
                "autocast('cuda') without a GPU that can be used changes nothing; "
                "write autocast(x.device.type) for the device at hand",
                stacklevel=4,
            )
            return False
        return True

    def __enter__(self) -> Self:
        others = [entry for entry in _modes.get() if entry[0] != self.device]
        if self._enabled:
            others.append((self.device, self.fast_dtype))
        self._tokens.append(_modes.set(tuple(others)))
        return self

    def __exit__(self, *error: object) -> None:
        _modes.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run ``function`` in this mode whenever it is called."""

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return wrapped


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether products of tensors on such a device are computed in half width here.

    >>> tetragrad.is_autocast_enabled("cpu")
    False
    """
    return any(kind == device_type for kind, _ in _modes.get())


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype of products under autocast, or what it would be.

    >>> tetragrad.get_autocast_dtype("cpu")
    bfloat16
    """
    usual = bfloat16 if device_type == "cpu" else float16
    return dict(_modes.get()).get(device_type, usual)


def with_operands_cast(
    function: Callable[P, R], to_float32: bool = False
) -> Callable[P, R]:
    """The function as it is under autocast: its operands are cast, and it is off."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        modes = _modes.get()
        if not modes:
            return function(*args, **kwargs)
        narrow = dict(modes)

        def cast(value: Any) -> Any:
            if not isinstance(value, TensorBase) or value.dtype is float64:
                return value
            wanted = narrow.get(value.device.type)
            if wanted is None or not value.dtype.is_floating_point:
                return value
            return value.type(float32 if to_float32 else wanted)  # type: ignore[attr-defined]

        token = _modes.set(())
        try:
            named = {name: cast(value) for name, value in kwargs.items()}
            return function(*map(cast, args), **named)
        finally:
            _modes.reset(token)

    return wrapped


def cast_operands_of(cls: type[TensorBase]) -> None:
    """Let the listed methods of the tensor class obey autocast."""
    for name in NARROWED:
        setattr(cls, name, with_operands_cast(getattr(cls, name)))
    for name in WIDENED:
        setattr(cls, name, with_operands_cast(getattr(cls, name), to_float32=True))
