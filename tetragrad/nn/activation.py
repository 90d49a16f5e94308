"""Activations: layers that apply one function to every element.

Each formula stands in the docstring of its class.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor


class _Activation(Module):
    """An activation whose constructor's options are its attributes."""

    #: The attributes that ``repr`` shows.
    options: ClassVar[tuple[str, ...]] = ()

    def _set(self, **options: Any) -> None:
        super().__init__()
        for name, value in options.items():
            setattr(self, name, value)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.options)


class _InPlaceActivation(_Activation):
    """An activation that may write its result over its input."""

    def __init__(self, inplace: bool = False) -> None:
        self._set(inplace=inplace)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if not self.inplace:
            return text
        return f"{text}, inplace=True" if text else "inplace=True"


class ReLU(_InPlaceActivation):
    """max(x, 0).

    >>> nn.ReLU()(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)


class ReLU6(_InPlaceActivation):
    """min(max(x, 0), 6).

    >>> nn.ReLU6()(Tensor([-1.0, 8.0])).tolist()
    [0.0, 6.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input, inplace=self.inplace)


class SELU(_InPlaceActivation):
    """scale·(max(0, x) + min(0, α(exp(x) - 1))) with the constants of Klambauer 2017.

    >>> nn.SELU()(Tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, inplace=self.inplace)


class SiLU(_InPlaceActivation):
    """x·sigmoid(x), also called swish.

    >>> nn.SiLU()(Tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, inplace=self.inplace)


class Mish(_InPlaceActivation):
    """x·tanh(softplus(x)) (Misra 2019).

    >>> nn.Mish()(Tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, inplace=self.inplace)


class Hardswish(_InPlaceActivation):
    """x·min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).

    >>> nn.Hardswish()(Tensor([0.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, inplace=self.inplace)


class Hardsigmoid(_InPlaceActivation):
    """min(max(x + 3, 0), 6) / 6.

    >>> nn.Hardsigmoid()(Tensor([-3.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, inplace=self.inplace)


class ELU(_InPlaceActivation):
    """x if x > 0, else alpha·(exp(x) - 1) (Clevert et al. 2015).

    >>> nn.ELU()(Tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    options = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._set(alpha=alpha, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)


class CELU(_InPlaceActivation):
    """max(0, x) + min(0, alpha·(exp(x / alpha) - 1)) (Barron 2017).

    >>> nn.CELU(2.0)(Tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    options = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self._set(alpha=alpha, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)


class LeakyReLU(_InPlaceActivation):
    """x if x > 0, else negative_slope·x.

    >>> nn.LeakyReLU(0.5)(Tensor([-2.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    options = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self._set(negative_slope=negative_slope, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class RReLU(_InPlaceActivation):
    """Leaky ReLU with a slope drawn from U(lower, upper) for each element.

    In ``eval()`` the slope is the mean of the two (Xu et al. 2015).

    >>> nn.RReLU(0.25, 0.75).eval()(Tensor([-2.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    options = ("lower", "upper")

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False
    ) -> None:
        self._set(lower=lower, upper=upper, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class Hardtanh(_InPlaceActivation):
    """min(max(x, min_val), max_val).

    >>> nn.Hardtanh()(Tensor([-2.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    options = ("min_val", "max_val")

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> None:
        if max_val <= min_val:
            raise ValueError(f"max_val {max_val} must be above min_val {min_val}")
        self._set(min_val=min_val, max_val=max_val, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class Threshold(_InPlaceActivation):
    """x if x > threshold, else value.

    >>> nn.Threshold(1.0, -5.0)(Tensor([0.5, 2.0])).tolist()
    [-5.0, 2.0]
    """

    options = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self._set(threshold=threshold, value=value, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)


class GELU(_Activation):
    """x·Φ(x), with Φ the normal distribution function (Hendrycks and Gimpel 2016).

    ``approximate='tanh'`` gives x/2·(1 + tanh(√(2/π)(x + 0.044715x³))).

    >>> nn.GELU()(Tensor([0.0])).tolist()
    [0.0]
    """

    options = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        self._set(approximate=approximate)

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)).

    >>> nn.Sigmoid()(Tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class LogSigmoid(_Activation):
    """log(1 / (1 + exp(-x))).

    >>> nn.LogSigmoid()(Tensor([-100.0])).tolist()
    [-100.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Tanh(_Activation):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    >>> nn.Tanh()(Tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Softplus(_Activation):
    """log(1 + exp(beta·x)) / beta, or x itself where beta·x > threshold.

    >>> nn.Softplus()(Tensor([30.0])).tolist()
    [30.0]
    """

    options = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self._set(beta=beta, threshold=threshold)

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)


class Softsign(_Activation):
    """x / (1 + |x|).

    >>> nn.Softsign()(Tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(_Activation):
    """x - tanh(x).

    >>> nn.Tanhshrink()(Tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class Hardshrink(_Activation):
    """x where |x| > lambd, else 0.

    >>> nn.Hardshrink(1.0)(Tensor([0.5, -2.0])).tolist()
    [0.0, -2.0]
    """

    options = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self._set(lambd=lambd)

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Activation):
    """x moved by lambd towards 0, and 0 where |x| <= lambd.

    >>> nn.Softshrink(1.0)(Tensor([0.5, -2.0])).tolist()
    [0.0, -1.0]
    """

    options = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self._set(lambd=lambd)

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)


class PReLU(Module):
    """max(0, x) + weight·min(0, x), with a learned weight (He et al. 2015).

    ``num_parameters`` is 1, or the number of channels (dimension 1).

    >>> nn.PReLU()(Tensor([-2.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        slopes = Tensor.full((num_parameters,), init, device=device, dtype=dtype)
        self.weight = Parameter(slopes)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class GLU(_Activation):
    """a·sigmoid(b), where a and b are the halves along ``dim`` (Dauphin 2016).

    >>> nn.GLU()(Tensor([4.0, 0.0])).tolist()
    [2.0]
    """

    options = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        self._set(dim=dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)


class Softmax(_Activation):
    """exp(x) / Σ exp(x) along ``dim``.

    >>> nn.Softmax(dim=0)(Tensor([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    options = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        self._set(dim=dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_Activation):
    """x - log Σ exp(x) along ``dim``.

    >>> nn.LogSoftmax(dim=0)(Tensor([7.0])).tolist()
    [0.0]
    """

    options = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        self._set(dim=dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(_Activation):
    """exp(-x) / Σ exp(-x) along ``dim``.

    >>> nn.Softmin(dim=0)(Tensor([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    options = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        self._set(dim=dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class Softmax2d(_Activation):
    """Softmax over the channels of (batch, channels, height, width), or unbatched.

    >>> nn.Softmax2d()(Tensor.ones(1, 2, 1, 1)).tolist()
    [[[[0.5]], [[0.5]]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d takes 3-d or 4-d input, got {input.shape}")
        return F.softmax(input, -3)
