"""Mixed precision with the names of ``torch.amp``: autocast, and scaled gradients.

>>> scaler = tetragrad.amp.GradScaler("cpu")
>>> scaler.get_scale()
65536.0
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from tetragrad.core.dtypes import float16
from tetragrad.core.errors import DeviceError, DTypeError, TetragradError, missing
from tetragrad.tensor import Tensor
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.joining import stack
from tetragrad.tensor.mixed_precision import (
    autocast,
    get_autocast_dtype,
    is_autocast_enabled,
)
from tetragrad.tensor.modes import no_grad

__all__ = [
    "GradScaler",
    "autocast",
    "custom_bwd",
    "custom_fwd",
    "get_autocast_dtype",
    "is_autocast_available",
    "is_autocast_enabled",
]


class Stage(Enum):
    """How far an optimiser's step has come since the last ``update``."""

    SCALED = "scaled"
    UNSCALED = "unscaled"
    STEPPED = "stepped"


class GradScaler:
    """Scales a loss, so that small gradients are not 0 in float16; skips wild steps.

    A step whose gradients are not all finite changes nothing, and the scale shrinks;
    after some steps without one it grows. bfloat16 does not need it.

    Args:
        device: the kind of device; a GPU that is not there disables the scaler.
        init_scale: the factor at first.
        growth_factor, backoff_factor: what the scale is multiplied by.
        growth_interval: so many steps without a skip let it grow.
        enabled: False makes all methods do what a program without a scaler does.

    >>> w = nn.Parameter(Tensor([1.0]))
    >>> optimizer, scaler = optim.SGD([w], lr=1.0), tetragrad.amp.GradScaler("cpu")
    >>> scaler.scale((3 * w).sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w.tolist()
    [-2.0]
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1 or not 0 < backoff_factor < 1:
            raise ValueError(
                f"growth_factor={growth_factor} and backoff_factor={backoff_factor}: "
                "the scale grows by a factor over 1 and shrinks by one below 1"
            )
        self._enabled = enabled and _is_there(device)
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._stages: WeakKeyDictionary[Any, Stage] = WeakKeyDictionary()
        self._is_finite: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list or tuple of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return list(scaled) if isinstance(outputs, list) else tuple(scaled)
        raise DTypeError(
            f"scale() of {type(outputs).__name__}",
            hint="pass the loss, a tensor, or several of them",
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divide an optimiser's gradients by the scale, to clip or to read them."""
        if not self._enabled:
            return
        stage = self._stages.get(optimizer, Stage.SCALED)
        if stage is not Stage.SCALED:
            raise TetragradError(
                f"unscale_() of gradients that are {stage.value} already",
                hint="call it at most once between two calls of update(), before step",
            )
        self._stages[optimizer] = Stage.UNSCALED
        gradients = _gradients(optimizer)
        with no_grad():
            for gradient in gradients:
                gradient.mul_(1 / self._scale)
            finite = [gradient.isfinite().all() for gradient in gradients]
            known = bool(stack(finite).all()) if finite else True
        self._is_finite[optimizer] = known

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimiser's step, with unscaled gradients, unless one is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise TetragradError(
                "step() with a closure, whose gradients would not be unscaled",
                hint="call backward() first, then scaler.step(optimizer)",
            )
        stage = self._stages.get(optimizer, Stage.SCALED)
        if stage is Stage.STEPPED:
            raise TetragradError(
                "step() twice without update() between",
                hint="call scaler.update() once after the steps of all optimisers",
            )
        if stage is Stage.SCALED:
            self.unscale_(optimizer)
        self._stages[optimizer] = Stage.STEPPED
        return optimizer.step(**kwargs) if self._is_finite[optimizer] else None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Let the scale grow or shrink, after the steps of all optimisers."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._is_finite:
            raise TetragradError(
                "update() before any step",
                hint="call scaler.step(optimizer) first",
            )
        elif all(self._is_finite.values()):
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._growth_tracker = 0
                self._scale *= self._growth_factor
        else:
            self._growth_tracker = 0
            self._scale *= self._backoff_factor
        self._stages.clear()
        self._is_finite.clear()

    def get_scale(self) -> float:
        """The scale; 1 if the scaler is disabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether it scales anything."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff_factor

    def get_growth_interval(self) -> int:
        """After how many steps without a skip it grows."""
        return self._growth_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale and what it depends on; nothing if the scaler is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state."""
        if not self._enabled:
            return
        if not state_dict:
            raise TetragradError(
                "load_state_dict() of the empty state of a scaler that was disabled",
                hint="begin with a new scaler",
            )
        self._scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]


def _is_there(device: Any) -> bool:
    """Whether a device can be used; one that is unknown is an error."""
    kind = str(device).partition(":")[0]
    try:
        device_name(kind)
    except DeviceError:
        if kind != "cuda":
            raise
        warnings.warn(
            "GradScaler('cuda') without a GPU that can be used scales nothing",
            stacklevel=4,
        )
        return False
    return True


def _gradients(optimizer: Any) -> list[Tensor]:
    groups = optimizer.param_groups
    found = [weight.grad for group in groups for weight in group["params"]]
    gradients = [gradient for gradient in found if gradient is not None]
    if any(gradient.dtype is float16 for gradient in gradients):
        raise DTypeError(
            "unscale_() of float16 gradients, which may be infinite by the scale alone",
            hint="keep the weights float32, and compute under autocast",
        )
    return gradients


def custom_fwd(
    fwd: Callable[..., Any] | None = None,
    *,
    device_type: str = "cuda",
    cast_inputs: Any = None,
) -> Any:
    """Run a ``Function``'s forward without autocast, on operands of one dtype.

    Args:
        fwd: the static method ``forward``.
        device_type: the kind of device whose autocast it is about.
        cast_inputs: the dtype of floating-point tensors inside; None changes nothing.

    >>> @tetragrad.amp.custom_fwd(device_type="cpu", cast_inputs=tetragrad.float32)
    ... def forward(ctx, x):
    ...     return x * 2
    """
    if fwd is None:
        return functools.partial(
            custom_fwd, device_type=device_type, cast_inputs=cast_inputs
        )
    if cast_inputs is None:
        return fwd

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not is_autocast_enabled(device_type):
            return fwd(*args, **kwargs)
        cast = [
            value.to(cast_inputs)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for value in args
        ]
        with autocast(device_type, enabled=False):
            return fwd(*cast, **kwargs)

    return forward


def custom_bwd(
    bwd: Callable[..., Any] | None = None, *, device_type: str = "cuda"
) -> Any:
    """A ``Function``'s backward as it is: gradients are taken outside of autocast.

    >>> @tetragrad.amp.custom_bwd(device_type="cpu")
    ... def backward(ctx, upstream):
    ...     return upstream * 2
    """
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    return bwd


def is_autocast_available(device_type: str) -> bool:
    """Whether there is such a device, and so an autocast for it.

    >>> tetragrad.amp.is_autocast_available("cpu")
    True
    """
    try:
        device_name(device_type)
    except DeviceError:
        return False
    return True


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.amp", __all__)
