"""About 150 operators, each at one normal size, in words that PyTorch shares with us.

A case's function is called with a library (``tetragrad`` or ``torch``) and its inputs.
Inputs are named by what they hold; ``draw`` says what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

#: What most cases run on: a million float32, as a matrix.
MATRIX = "normal 1024x1024"
POSITIVE = "positive 1024x1024"
WHOLE = "integers 1024x1024"
TRUTH = "bools 1024x1024"
COMPLEX = "complex 1024x1024"
IMAGE = "normal 16x64x56x56"


@dataclass(frozen=True)
class Case:
    """One operator, and the inputs it is tried on."""

    name: str
    inputs: tuple[str, ...]
    function: Callable[..., Any]


def draw(text: str, random: np.random.Generator) -> np.ndarray:
    """``normal 3x4`` and the like; a symmetric or triangular matrix is well-behaved."""
    kind, _, sizes = text.partition(" ")
    shape = tuple(int(size) for size in sizes.split("x"))
    normal = random.standard_normal(shape, dtype=np.float32)
    match kind:
        case "normal":
            return normal
        case "ascending":
            return np.sort(normal)
        case "positive":
            return np.abs(normal) + np.float32(0.01)
        case "unit":
            return np.tanh(normal) * np.float32(0.99)
        case "fraction":
            return random.random(shape, dtype=np.float32)
        case "double":
            return normal.astype(np.float64)
        case "complex":
            imaginary = random.standard_normal(shape, dtype=np.float32)
            return normal + np.complex64(1j) * imaginary
        case "integers":
            return random.integers(1, 1000, shape)
        case "places":
            return random.integers(0, shape[-1], shape)
        case "bools":
            return random.random(shape) < 0.5
        case "regular":
            return normal + 4 * shape[-1] ** 0.5 * np.eye(shape[-1], dtype=np.float32)
        case "definite":
            square = normal @ normal.swapaxes(-1, -2)
            return square + shape[-1] * np.eye(shape[-1], dtype=np.float32)
    raise ValueError(f"no inputs of the kind {kind!r}")


def cases() -> list[Case]:
    """All of them, by family."""
    return [
        *_unary(),
        *_binary(),
        *_reductions(),
        *_activations(),
        *_movement(),
        *_indexing(),
        *_orders(),
        *_products(),
        *_layers(),
        *_losses(),
        *_linear_algebra(),
        *_transforms(),
    ]


def _methods(inputs: tuple[str, ...], *names: str) -> Iterator[Case]:
    """Methods of the first input, with the other inputs as arguments."""
    for name in names:
        yield Case(name, inputs, _method(name))


def _method(name: str) -> Callable[..., Any]:
    return lambda lib, x, *others: getattr(x, name)(*others)


def _functional(name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """A function of ``nn.functional``, with more arguments after the inputs."""
    return lambda lib, *inputs: getattr(lib.nn.functional, name)(
        *inputs, *arguments, **options
    )


def _unary() -> Iterator[Case]:
    yield from _methods(
        (MATRIX,), "abs", "neg", "exp", "expm1", "sin", "cos", "tan", "atan", "sinh",
        "cosh", "asinh", "tanh", "sigmoid", "erf", "erfc", "floor", "ceil", "round",
        "trunc", "frac", "sign", "square", "isnan", "isfinite", "reciprocal",
    )  # fmt: skip
    yield from _methods(
        (POSITIVE,), "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma",
        "digamma", "exp2",
    )  # fmt: skip
    yield from _methods(("unit 1024x1024",), "asin", "acos", "atanh", "erfinv")
    yield from _methods(("fraction 1024x1024",), "logit")
    yield from _methods((TRUTH,), "logical_not")
    yield from _methods((WHOLE,), "bitwise_not")
    yield Case("to float64", (MATRIX,), lambda lib, x: x.to(lib.float64))
    yield Case("to bfloat16", (MATRIX,), lambda lib, x: x.to(lib.bfloat16))
    yield Case("to int64", (MATRIX,), lambda lib, x: x.to(lib.int64))
    yield Case("clamp", (MATRIX,), lambda lib, x: x.clamp(-1, 1))
    yield Case("nan_to_num", (MATRIX,), lambda lib, x: x.nan_to_num())


def _binary() -> Iterator[Case]:
    yield from _methods(
        (MATRIX, POSITIVE), "add", "sub", "mul", "div", "maximum", "minimum", "atan2",
        "hypot", "fmod", "remainder", "copysign", "lt", "eq",
    )  # fmt: skip
    yield from _methods((POSITIVE, MATRIX), "pow")
    yield from _methods((WHOLE, WHOLE), "bitwise_and", "floor_divide", "gcd")
    yield from _methods((TRUTH, TRUTH), "logical_and")
    yield from _methods((COMPLEX, COMPLEX), "mul", "add", "div")
    yield from _methods((COMPLEX,), "abs", "angle", "conj_physical", "exp")
    yield Case("add a row", (MATRIX, "normal 1024"), lambda lib, x, y: x + y)
    yield Case("add a column", (MATRIX, "normal 1024x1"), lambda lib, x, y: x + y)
    yield Case(
        "where", (TRUTH, MATRIX, MATRIX), lambda lib, c, x, y: lib.where(c, x, y)
    )
    yield Case("lerp", (MATRIX, MATRIX), lambda lib, x, y: x.lerp(y, 0.3))
    yield Case(
        "addcmul", (MATRIX, MATRIX, MATRIX), lambda lib, x, y, z: x.addcmul(y, z)
    )


def _reductions() -> Iterator[Case]:
    for name in ("sum", "mean", "amax", "amin", "argmax", "var", "std", "norm"):
        yield Case(f"{name} of all", (MATRIX,), _method(name))
    for dim in (0, 1):
        for name in ("sum", "mean", "amax", "argmin", "var", "prod", "logsumexp"):
            yield Case(f"{name} over {dim}", (MATRIX,), _along(name, dim))
        for name in ("cumsum", "cumprod", "cummax", "logcumsumexp"):
            yield Case(f"{name} along {dim}", (MATRIX,), _along(name, dim))
    yield Case("any", (TRUTH,), lambda lib, x: x.any(-1))
    yield Case("all of all", (TRUTH,), lambda lib, x: x.all())
    yield Case("count_nonzero", (WHOLE,), lambda lib, x: x.count_nonzero())
    yield Case(
        "cdist", ("normal 512x64", "normal 512x64"), lambda lib, x, y: lib.cdist(x, y)
    )


def _along(name: str, dim: int) -> Callable[..., Any]:
    return lambda lib, x: getattr(x, name)(dim)


def _activations() -> Iterator[Case]:
    for name in (
        "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
        "softsign", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "logsigmoid",
        "tanhshrink",
    ):  # fmt: skip
        yield Case(name, (MATRIX,), _functional(name))
    yield Case("glu", (MATRIX,), _functional("glu", -1))
    yield Case("softmax", (MATRIX,), _functional("softmax", -1))
    yield Case("log_softmax", (MATRIX,), _functional("log_softmax", -1))
    yield Case("softmax over 0", (MATRIX,), _functional("softmax", 0))
    yield Case("normalize", (MATRIX,), _functional("normalize"))


def _movement() -> Iterator[Case]:
    yield Case("transposed copy", (MATRIX,), lambda lib, x: x.t().contiguous())
    yield Case(
        "permuted copy",
        ("normal 64x128x128",),
        lambda lib, x: x.permute(2, 0, 1).contiguous(),
    )
    yield Case("flip", (MATRIX,), lambda lib, x: x.flip(0, 1))
    yield Case("roll", (MATRIX,), lambda lib, x: x.roll((3, 5), (0, 1)))
    yield Case("cat", (MATRIX, MATRIX), lambda lib, x, y: lib.cat([x, y], 0))
    yield Case("cat inside", (MATRIX, MATRIX), lambda lib, x, y: lib.cat([x, y], 1))
    yield Case("stack", (MATRIX, MATRIX), lambda lib, x, y: lib.stack([x, y], -1))
    yield Case("repeat", ("normal 256x256",), lambda lib, x: x.repeat(4, 4))
    yield Case(
        "repeat_interleave",
        ("normal 512x1024",),
        lambda lib, x: x.repeat_interleave(2, 0),
    )
    yield Case("pad", (MATRIX,), _functional("pad", (3, 3, 3, 3)))
    yield Case("tril", (MATRIX,), lambda lib, x: x.tril())
    yield Case("diagonal", (MATRIX,), lambda lib, x: x.diagonal().contiguous())
    yield Case("pixel_shuffle", ("normal 4x64x64x64",), _functional("pixel_shuffle", 2))
    yield Case("unfold", ("normal 4x16x64x64",), _functional("unfold", 3))


def _indexing() -> Iterator[Case]:
    rows = "places 1024"
    yield Case("index rows", (MATRIX, rows), lambda lib, x, i: x[i])
    yield Case("index_select", (MATRIX, rows), lambda lib, x, i: x.index_select(1, i))
    yield Case("gather", (MATRIX, "places 1024x1024"), lambda lib, x, i: x.gather(1, i))
    yield Case(
        "scatter_add",
        (MATRIX, "places 1024x1024", MATRIX),
        lambda lib, x, i, y: x.scatter_add(1, i, y),
    )
    yield Case(
        "index_add", (MATRIX, rows, MATRIX), lambda lib, x, i, y: x.index_add(0, i, y)
    )
    yield Case("masked_fill", (MATRIX, TRUTH), lambda lib, x, m: x.masked_fill(m, 0.0))
    yield Case("embedding", (rows, MATRIX), _functional("embedding"))
    yield Case("one_hot", (rows,), _functional("one_hot", 1024))
    yield Case("take", (MATRIX, rows), lambda lib, x, i: x.take(i))
    yield Case(
        "searchsorted",
        ("ascending 65536", "normal 65536"),
        lambda lib, x, y: lib.searchsorted(x, y),
    )
    yield Case("bincount", ("integers 1048576",), lambda lib, x: x.bincount())


def _orders() -> Iterator[Case]:
    yield Case("sort", (MATRIX,), lambda lib, x: x.sort(-1)[0])
    yield Case(
        "argsort over 0", (MATRIX,), lambda lib, x: x.argsort(dim=0, stable=True)
    )
    yield Case("topk", (MATRIX,), lambda lib, x: x.topk(10)[0])
    yield Case("median", (MATRIX,), lambda lib, x: x.median(-1)[0])
    yield Case("kthvalue", (MATRIX,), lambda lib, x: x.kthvalue(100)[0])
    yield Case("quantile", (MATRIX,), lambda lib, x: x.quantile(0.3, -1))
    yield Case("unique", ("integers 65536",), lambda lib, x: x.unique())
    yield Case("nonzero", (TRUTH,), lambda lib, x: x.nonzero())
    yield Case("masked_select", (MATRIX, TRUTH), lambda lib, x, m: x.masked_select(m))
    yield Case("histc", (MATRIX,), lambda lib, x: x.histc(100, -3, 3))


def _products() -> Iterator[Case]:
    square = "normal 512x512"
    yield Case("matmul", (square, square), lambda lib, x, y: x @ y)
    yield Case("matmul float64", ("double 512x512",) * 2, lambda lib, x, y: x @ y)
    yield Case("matmul complex", ("complex 256x256",) * 2, lambda lib, x, y: x @ y)
    yield Case("matrix and vector", (MATRIX, "normal 1024"), lambda lib, x, y: x @ y)
    yield Case("bmm", ("normal 64x64x64",) * 2, lambda lib, x, y: x @ y)
    yield Case(
        "einsum",
        ("normal 32x64x64", "normal 32x64x64"),
        lambda lib, x, y: lib.einsum("bij,bkj->bik", x, y),
    )
    yield Case("outer", ("normal 1024",) * 2, lambda lib, x, y: lib.outer(x, y))
    yield Case("dot", ("normal 1048576",) * 2, lambda lib, x, y: lib.dot(x, y))
    yield Case("kron", ("normal 32x32",) * 2, lambda lib, x, y: lib.kron(x, y))
    yield Case("linear", (square, square, "normal 512"), _functional("linear"))


def _layers() -> Iterator[Case]:
    yield Case("layer_norm", (MATRIX,), _functional("layer_norm", (1024,)))
    yield Case("rms_norm", (MATRIX,), _functional("rms_norm", (1024,)))
    yield Case("group_norm", (IMAGE,), _functional("group_norm", 8))
    yield Case("instance_norm", (IMAGE,), _functional("instance_norm"))
    yield Case("conv1d", ("normal 16x64x256", "normal 64x64x3"), _functional("conv1d"))
    yield Case("conv2d", (IMAGE, "normal 64x64x3x3"), _functional("conv2d", padding=1))
    yield Case(
        "conv3d", ("normal 2x16x16x32x32", "normal 16x16x3x3x3"), _functional("conv3d")
    )
    yield Case("max_pool2d", (IMAGE,), _functional("max_pool2d", 2))
    yield Case("avg_pool2d", (IMAGE,), _functional("avg_pool2d", 2))
    yield Case("adaptive_avg_pool2d", (IMAGE,), _functional("adaptive_avg_pool2d", 7))
    yield Case(
        "interpolate nearest", (IMAGE,), _functional("interpolate", scale_factor=2)
    )
    yield Case(
        "interpolate bilinear",
        ("normal 4x16x64x64",),
        _functional("interpolate", scale_factor=2, mode="bilinear"),
    )
    yield Case(
        "grid_sample",
        ("normal 4x16x64x64", "unit 4x64x64x2"),
        _functional("grid_sample", align_corners=False),
    )
    yield Case(
        "attention", ("normal 4x8x256x64",) * 3,
        _functional("scaled_dot_product_attention"),
    )  # fmt: skip


def _losses() -> Iterator[Case]:
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        yield Case(name, (MATRIX, MATRIX), _functional(name))
    yield Case("cross_entropy", (MATRIX, "places 1024"), _functional("cross_entropy"))
    yield Case("cosine_similarity", (MATRIX, MATRIX), _functional("cosine_similarity"))


def _linear_algebra() -> Iterator[Case]:
    regular, definite = "regular 256x256", "definite 256x256"
    many, right = "regular 512x8x8", "normal 256x16"
    yield Case("inv", (regular,), lambda lib, a: lib.linalg.inv(a))
    yield Case("det", (regular,), lambda lib, a: lib.linalg.slogdet(a)[1])
    yield Case("solve", (regular, right), lambda lib, a, b: lib.linalg.solve(a, b))
    yield Case("cholesky", (definite,), lambda lib, a: lib.linalg.cholesky(a))
    yield Case("lu", (regular,), lambda lib, a: lib.linalg.lu(a)[2])
    yield Case("qr", (regular,), lambda lib, a: abs(lib.linalg.qr(a)[1]))
    yield Case("eigvalsh", (definite,), lambda lib, a: lib.linalg.eigvalsh(a))
    yield Case("svdvals", (regular,), lambda lib, a: lib.linalg.svdvals(a))
    yield Case(
        "solve_triangular",
        (regular, right),
        lambda lib, a, b: lib.linalg.solve_triangular(a, b, upper=True),
    )
    yield Case("inv of many", (many,), lambda lib, a: lib.linalg.inv(a))
    yield Case("det of many", (many,), lambda lib, a: lib.linalg.det(a))
    yield Case(
        "solve of many",
        (many, "normal 512x8x1"),
        lambda lib, a, b: lib.linalg.solve(a, b),
    )
    yield Case(
        "cholesky of many",
        ("definite 512x8x8",),
        lambda lib, a: lib.linalg.cholesky(a),
    )


def _transforms() -> Iterator[Case]:
    yield Case("fft of 1024", ("complex 256x1024",), lambda lib, x: lib.fft.fft(x))
    yield Case("rfft of 1024", ("normal 256x1024",), lambda lib, x: lib.fft.rfft(x))
    yield Case("rfft of 64", ("normal 4096x64",), lambda lib, x: lib.fft.rfft(x))
    yield Case("irfft of 1024", ("complex 256x513",), lambda lib, x: lib.fft.irfft(x))
    yield Case("fft2", ("complex 256x256",), lambda lib, x: lib.fft.fft2(x))
    yield Case("fft of 1000", ("complex 256x1000",), lambda lib, x: lib.fft.fft(x))
    yield Case("fft of one", ("complex 4096",), lambda lib, x: lib.fft.fft(x))
