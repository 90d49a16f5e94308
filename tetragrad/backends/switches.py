"""PyTorch's switches for what its libraries may do, where programs look for them.

>>> before = tetragrad.backends.cuda.matmul.allow_tf32
>>> tetragrad.backends.cuda.matmul.allow_tf32 = True
>>> tetragrad.get_float32_matmul_precision()
'high'
>>> tetragrad.backends.cuda.matmul.allow_tf32 = before

Products and convolutions are the same kernels here, so one setting says whether a GPU
may multiply float32 with 11 binary digits (``TETRAGRAD_TF32``). It may where some
switch allows it and none that was turned forbids it.
"""

from __future__ import annotations

from tetragrad.core.settings import configure, settings

#: What each switch that was turned says.
_turned: dict[str, bool] = {}


def turn_tf32(switch: str, *, is_allowed: bool) -> None:
    """Turn one of the switches that allow or forbid float32 with fewer digits."""
    _turned[switch] = is_allowed
    configure(tf32=all(_turned.values()))


class Multiplier:
    """Switches for products, or for convolutions, of float32 on a GPU."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 may be multiplied with 11 binary digits."""
        return settings().tf32

    @allow_tf32.setter
    def allow_tf32(self, is_allowed: bool) -> None:
        turn_tf32(self._name, is_allowed=bool(is_allowed))


class Convolutions(Multiplier):
    """The switches of cuDNN, which is not there.

    Kernels are generated: there are no others to choose from or to do without, and the
    same kernels give the same bits. ``TETRAGRAD_TUNE=1`` measures plans.
    """

    enabled = True
    benchmark = False
    deterministic = True

    def is_available(self) -> bool:
        """Whether convolutions can run on a GPU."""
        from tetragrad.backends.cuda import is_usable

        return is_usable()


class Absent:
    """A kind of device for which nothing is generated."""

    def is_available(self) -> bool:
        """Whether there is such a device: no."""
        return False

    def is_built(self) -> bool:
        """Whether this package could use one: no."""
        return False


matmul = Multiplier("products")
cudnn = Convolutions("convolutions")
mps = Absent()
