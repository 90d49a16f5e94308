"""Fill tensors with starting values. Every function writes in place and returns it.

``fan_in`` is the number of inputs that feed one output, ``fan_out`` the number of
outputs one input feeds: for a weight of shape (out, in, *kernel), in·Πkernel and
out·Πkernel.
"""

from __future__ import annotations

import math
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.generator import Generator
from tetragrad.tensor.modes import no_grad

_FIXED_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0,
    "conv_transpose1d": 1.0, "conv_transpose2d": 1.0, "conv_transpose3d": 1.0,
    "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
}  # fmt: skip
_SQRT_HALF = math.sqrt(0.5)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a layer's weights should grow for a nonlinearity.

    ``param`` is the negative slope of 'leaky_relu' (0.01 by default).

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _FIXED_GAINS:
        known = ", ".join([*_FIXED_GAINS, "leaky_relu"])
        raise ValueError(f"no gain for {nonlinearity!r}\nhint: use one of {known}")
    return _FIXED_GAINS[nonlinearity]


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw from U(a, b), with ``generator`` or the default one.

    >>> tensor = nn.init.uniform_(Tensor.zeros(2, 3), -1, 1)
    >>> bool((tensor.abs() <= 1).all())
    True
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
) -> Tensor:
    """Draw from N(mean, std²), with ``generator`` or the default one.

    >>> nn.init.normal_(Tensor.zeros(2, 3)).shape
    (2, 3)
    """
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value.

    >>> nn.init.constant_(Tensor.zeros(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1.

    >>> nn.init.ones_(Tensor.zeros(2))
    tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0.

    >>> nn.init.zeros_(Tensor.ones(2))
    tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Write the identity into a matrix: 1 on the diagonal, 0 elsewhere.

    >>> nn.init.eye_(Tensor.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if tensor.ndim != 2:
        raise ShapeError(
            f"eye_() fills a matrix, not a tensor of shape {tensor.shape}",
            hint="fill it with dirac_() if it is a convolution's weight",
        )
    identity = Tensor.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return _write(tensor, identity)


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Write a convolution weight (out, in, *kernel) that passes channels through.

    >>> nn.init.dirac_(Tensor.zeros(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ShapeError(
            f"dirac_() with {groups} group(s) cannot fill shape {tensor.shape}: it "
            "needs 3 to 5 dimensions, the first divisible by groups"
        )
    out_channels, in_channels, *kernel = tensor.shape
    channels = Tensor.eye(out_channels // groups, in_channels, dtype=tensor.dtype)
    value = channels.repeat(groups, 1)
    for size in kernel:
        middle = (Tensor.arange(size) == size // 2).to(tensor.dtype)
        value = value.unsqueeze(-1) * middle
    return _write(tensor, value.to(tensor.device))


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """U(-a, a) with a = gain·√(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010.

    >>> tensor = nn.init.xavier_uniform_(Tensor.zeros(3, 3))
    >>> bool((tensor.abs() <= 1).all())
    True
    """
    fan_in, fan_out = calculate_fan_in_and_fan_out(tensor)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """N(0, gain²·2 / (fan_in + fan_out)); see :func:`xavier_uniform_`.

    >>> nn.init.xavier_normal_(Tensor.zeros(3, 3)).shape
    (3, 3)
    """
    fan_in, fan_out = calculate_fan_in_and_fan_out(tensor)
    deviation = gain * math.sqrt(2 / (fan_in + fan_out))
    return normal_(tensor, 0.0, deviation, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """U(-b, b) with b = gain·√(3 / fan).

    Args:
        tensor: the weight to fill.
        a: the negative slope of the leaky ReLU that follows.
        mode: 'fan_in' keeps the variance going forward, 'fan_out' going backward.
        nonlinearity: what follows the layer; see :func:`calculate_gain`.
        generator: draws the numbers; the default one if None.

    Source: He et al., "Delving deep into rectifiers", 2015.

    >>> nn.init.kaiming_uniform_(Tensor.zeros(3, 3), nonlinearity="relu").shape
    (3, 3)
    """
    bound = math.sqrt(3) * _kaiming_deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """N(0, gain² / fan); see :func:`kaiming_uniform_`.

    >>> nn.init.kaiming_normal_(Tensor.zeros(3, 3), mode="fan_out").shape
    (3, 3)
    """
    deviation = _kaiming_deviation(tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, deviation, generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """N(mean, std²) restricted to [a, b].

    x = mean + std·√2·erf⁻¹(2u - 1), with u uniform between the distribution
    function's values at a and b (sampling by the inverse of that function).

    >>> tensor = nn.init.trunc_normal_(Tensor.zeros(9), a=0.0, b=1.0)
    >>> bool((tensor >= 0).all())
    True
    """
    low = 0.5 * (1 + math.erf((a - mean) / std * _SQRT_HALF))
    high = 0.5 * (1 + math.erf((b - mean) / std * _SQRT_HALF))
    with no_grad():
        tensor.uniform_(2 * low - 1, 2 * high - 1, generator=generator)
        value = tensor.detach().erfinv() * (std / _SQRT_HALF) + mean
        return tensor.copy_(value.clamp(a, b))


def orthogonal_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Write a matrix with orthonormal rows or columns, times ``gain``.

    Tensors of more dimensions count as (first, product of the others).

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", 2013. The orthogonal factor Q of a normal random
    matrix A = QR is uniformly distributed once the signs of R's diagonal move to Q.

    >>> tensor = nn.init.orthogonal_(Tensor.zeros(2, 3))
    >>> (tensor @ tensor.mT).allclose(Tensor.eye(2), atol=1e-5)
    True
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_() needs 2 dimensions, got shape {tensor.shape}")
    import numpy as np

    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    sides = max(rows, columns), min(rows, columns)
    sample = Tensor.randn(*sides, generator=generator).numpy()
    factor, triangle = np.linalg.qr(sample.astype(np.float64))
    factor *= np.where(np.diag(triangle) < 0, -1.0, 1.0)
    oriented = factor if rows >= columns else factor.T
    value = Tensor(gain * np.ascontiguousarray(oriented).reshape(tensor.shape))
    return _write(tensor, value.to(tensor.device))


def sparse_(
    tensor: Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: Generator | None = None,
) -> Tensor:
    """N(0, std²) with a share ``sparsity`` of each column set to zero.

    Source: Martens, "Deep learning via Hessian-free optimization", 2010.

    >>> (nn.init.sparse_(Tensor.zeros(4, 2), sparsity=0.5) == 0).sum(0)
    tensor([2, 2])
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_() fills a matrix, not shape {tensor.shape}")
    normal_(tensor, 0.0, std, generator)
    rows, columns = tensor.shape
    rank = Tensor.rand(rows, columns, generator=generator).argsort(dim=0).argsort(dim=0)
    kept = rank >= math.ceil(sparsity * rows)
    return _write(tensor, tensor.detach() * kept.to(tensor.device))


def calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """The two fans of a weight of shape (out, in, *kernel).

    >>> nn.init.calculate_fan_in_and_fan_out(Tensor.zeros(8, 3, 5, 5))
    (75, 200)
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan in and fan out need 2 dimensions or more, got shape {tensor.shape}",
            hint="initialise a bias with zeros_() or uniform_()",
        )
    receptive_field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive_field, tensor.shape[0] * receptive_field


def _kaiming_deviation(
    tensor: Tensor, slope: float, mode: str, nonlinearity: str
) -> float:
    fans = dict(
        zip(("fan_in", "fan_out"), calculate_fan_in_and_fan_out(tensor), strict=True)
    )
    if mode not in fans:
        raise ValueError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    return calculate_gain(nonlinearity, slope) / math.sqrt(fans[mode])


def _write(tensor: Tensor, value: Any) -> Tensor:
    with no_grad():
        return tensor.copy_(value)
