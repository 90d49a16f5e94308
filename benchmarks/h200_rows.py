"""The workloads of ``h200.py``: what each computes, and the bytes that must move.

A row is written once for each library. What takes a gradient is written as its forward
pass; the last input is then the gradient of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import tetragrad.nn.functional as ours

Shapes = tuple[tuple[int, ...], ...]
TALL = (32768, 8192)
WIDE = (16384, 8192)
#: The parameters of a transformer's 36 layers, as an optimiser sees them.
PARAMETERS: Shapes = ((768, 768), (3072, 768), (768,), (768, 3072)) * 36


@dataclass(frozen=True)
class Row:
    """One computation in both libraries, and what it must move.

    With ``indices`` there is one more input, of so many random positions below
    ``limit`` (or in a row). With ``backward`` the gradients of all inputs but the last
    one are computed. What is ``random`` cannot be compared with the other library.
    """

    name: str
    shapes: Shapes
    dtype: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    nbytes: float
    indices: int = 0
    limit: int = 0
    backward: bool = False
    random: bool = False
    is_target: bool = False


def rows() -> Iterator[Row]:
    """What the targets name, then other sizes and dtypes."""
    for row in target_rows():
        yield replace(row, is_target=True)
    for dtype in ("float32", "bfloat16"):
        yield from rows_of(dtype)
    yield from long_rows()
    yield from gradient_rows()
    yield from ordered_rows()


def target_rows() -> Iterator[Row]:
    """The rows that the issue names, in bfloat16, and an optimiser's step."""
    import torch

    functional = torch.nn.functional
    one = 2.0 * TALL[0] * TALL[1]

    def row(name: str, f: Any, g: Any, nbytes: float, shapes: Shapes = (TALL,)) -> Row:
        return Row(f"{name} 32768x8192", shapes, "bfloat16", f, g, nbytes)

    scales: Shapes = ((TALL[1],),)
    yield row("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), 2 * one)
    yield row(
        "layernorm",
        lambda x, w, b: ours.layer_norm(x, (TALL[1],), w, b),
        lambda x, w, b: functional.layer_norm(x, (TALL[1],), w, b),
        2 * one,
        (TALL, *scales, *scales),
    )
    yield row(
        "rmsnorm",
        lambda x, w: ours.rms_norm(x, (TALL[1],), w, 1e-6),
        lambda x, w: functional.rms_norm(x, (TALL[1],), w, 1e-6),
        2 * one,
        (TALL, *scales),
    )
    yield row(
        "gelu(2x+1) sigmoid(x)",
        lambda x: ours.gelu(x * 2 + 1, "tanh") * x.sigmoid(),
        lambda x: functional.gelu(x * 2 + 1, approximate="tanh") * x.sigmoid(),
        2 * one,
    )
    yield row("sum of all", lambda x: x.sum(), lambda x: x.sum(), one)
    yield row("sum over axis 0", lambda x: x.sum(0), lambda x: x.sum(0), one)
    yield row(
        "transpose", lambda x: x.T.contiguous(), lambda x: x.T.contiguous(), 2 * one
    )
    yield replace(
        row(
            "cross entropy",
            lambda x, t: ours.cross_entropy(x.float(), t),
            lambda x, t: functional.cross_entropy(x.float(), t),
            one,
        ),
        indices=TALL[0],
    )
    for batch in (1, 16):
        yield Row(
            f"matrix x vector 14336x4096 batch {batch}",
            ((batch, 4096), (14336, 4096)),
            "bfloat16",
            lambda x, w: x @ w.T,
            lambda x, w: x @ w.T,
            2.0 * 14336 * 4096,
        )
    count = sum(_numel(shape) for shape in PARAMETERS)
    yield Row(
        "adamw step 144 tensors float32",
        PARAMETERS * 4,
        "float32",
        adamw_of_all,
        adamw_of_all,
        4.0 * 7 * count,
    )


def rows_of(dtype: str) -> Iterator[Row]:
    """Elementwise chains, rows, sums and a transposition in one dtype."""
    import torch

    functional = torch.nn.functional
    one = {"float32": 4.0, "bfloat16": 2.0}[dtype] * WIDE[0] * WIDE[1]

    def row(name: str, f: Any, g: Any, nbytes: float) -> Row:
        return Row(f"{name} {dtype}", (WIDE,), dtype, f, g, nbytes)

    yield row("scale", lambda x: x * 2 + 1, lambda x: x * 2 + 1, 2 * one)
    yield row(
        "gelu chain",
        lambda x: ours.gelu(x * 2 + 1) * x,
        lambda x: functional.gelu(x * 2 + 1) * x,
        2 * one,
    )
    yield row("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), 2 * one)
    yield row(
        "layer norm",
        lambda x: ours.layer_norm(x, (8192,)),
        lambda x: functional.layer_norm(x, (8192,)),
        2 * one,
    )
    yield row("sum", lambda x: x.sum(), lambda x: x.sum(), one)
    yield row("row sum", lambda x: x.sum(1), lambda x: x.sum(1), one)
    yield row("column sum", lambda x: x.sum(0), lambda x: x.sum(0), one)
    yield row("transpose", lambda x: x.T + 1, lambda x: (x.T + 1).contiguous(), 2 * one)
    yield row("row max", lambda x: x.amax(1), lambda x: x.amax(1), one)


def long_rows() -> Iterator[Row]:
    """Softmax and normalisation of rows from 128 to 131,072 elements."""
    import torch

    for dtype, size in (("float32", 4.0), ("bfloat16", 2.0)):
        for length in (128, 1024, 16384, 32768, 65536, 131072):
            shape = ((1 << 27) // length, length)
            yield Row(
                f"softmax {length} {dtype}",
                (shape,),
                dtype,
                lambda x: x.softmax(1),
                lambda x: x.softmax(1),
                2 * size * (1 << 27),
            )
    length = 32768
    yield Row(
        f"layer norm {length} float32",
        ((4096, length),),
        "float32",
        lambda x: ours.layer_norm(x, (length,)),
        lambda x: torch.nn.functional.layer_norm(x, (length,)),
        2 * 4.0 * (1 << 27),
    )


def gradient_rows() -> Iterator[Row]:
    """Layers of a training step, forwards and backwards."""
    import torch

    functional = torch.nn.functional
    tall = 2.0 * TALL[0] * TALL[1]
    scales: Shapes = ((TALL[1],), (TALL[1],))
    image, channel = (256, 64, 56, 56), (64,)
    pixels = 2.0 * _numel(image)
    table, words = (50304, 768), 32768
    moved = 2.0 * words * table[1]

    def row(name: str, f: Any, g: Any, shapes: Shapes, nbytes: float) -> Row:
        return Row(name, shapes, "bfloat16", f, g, nbytes)

    yield replace(
        row("dropout", _dropout(ours), _dropout(functional), (TALL,), 2 * tall),
        random=True,
    )
    shapes: Shapes = (TALL, *scales)
    both = _layer_norm(ours), _layer_norm(functional)
    found = row("layer norm gradient", *both, (*shapes, TALL), 3 * tall)
    yield replace(found, backward=True)
    found = row(
        "softmax gradient",
        lambda x: x.softmax(1),
        lambda x: x.softmax(1),
        (TALL, TALL),
        3 * tall,
    )
    yield replace(found, backward=True)
    shapes = (image, channel, channel)
    both = _batch_norm(ours), _batch_norm(functional)
    yield row("batch norm", *both, shapes, 3 * pixels)
    found = row("batch norm gradient", *both, (*shapes, image), 5 * pixels)
    yield replace(found, backward=True)
    both = _embedding(ours), _embedding(functional)
    found = row("embedding", *both, (table,), 2 * moved)
    found = replace(found, indices=words, limit=table[0])
    yield found
    nbytes = moved + 2.0 * _numel(table)
    yield replace(
        found,
        name="embedding gradient",
        shapes=(table, (words, table[1])),
        nbytes=nbytes,
        backward=True,
    )


def ordered_rows() -> Iterator[Row]:
    """Running sums, orders and places, in float32."""
    one = 4.0 * WIDE[0] * WIDE[1]
    line, short = (1 << 24,), (16384, 1024)
    steps: tuple[tuple[str, Any, Shapes, float], ...] = (
        ("running sum along rows", lambda x: x.cumsum(1), (WIDE,), 2 * one),
        ("running sum down columns", lambda x: x.cumsum(0), (WIDE,), 2 * one),
        ("running sum of all", lambda x: x.cumsum(0), (line,), 8.0 * line[0]),
        ("place of the greatest", lambda x: x.argmax(1), (WIDE,), one),
        ("sorted rows of 1024", lambda x: x.sort(1)[0], (short,), 8.0 * _numel(short)),
        ("sorted 1 M", lambda x: x.sort(0)[0], ((1 << 20,),), 8.0 * (1 << 20)),
        (
            "greatest 100 of 1 M",
            lambda x: x.topk(100)[0],
            ((1 << 20,),),
            4.0 * (1 << 20),
        ),
        (
            "greatest 8 of rows",
            lambda x: x.topk(8)[0],
            ((4096, 8192),),
            4.0 * (1 << 25),
        ),
    )
    for name, compute, shapes, nbytes in steps:
        yield Row(name, shapes, "float32", compute, compute, nbytes)


def _dropout(functions: Any) -> Callable[..., Any]:
    return lambda x: functions.dropout(x, 0.1, training=True)


def _layer_norm(functions: Any) -> Callable[..., Any]:
    return lambda x, w, b: functions.layer_norm(x, (TALL[1],), w, b)


def _batch_norm(functions: Any) -> Callable[..., Any]:
    return lambda x, w, b: functions.batch_norm(
        x, None, None, weight=w, bias=b, training=True
    )


def _embedding(functions: Any) -> Callable[..., Any]:
    return lambda w, i: functions.embedding(i, w)


def gradients_by(library: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a forward pass's inputs and its result's gradient.

    Positions have no gradient. They come last, as in every row.
    """

    def compute(*inputs: Any) -> Any:
        numbers = [entry for entry in inputs if entry.is_floating_point()]
        positions = [entry for entry in inputs if not entry.is_floating_point()]
        *values, upstream = numbers
        leaves = [entry.detach().requires_grad_() for entry in values]
        find = library.grad if hasattr(library, "grad") else library.autograd.grad
        return find(forward(*leaves, *positions), leaves, upstream)

    return compute


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def adamw(weight: Any, gradient: Any, mean: Any, square: Any) -> Any:
    """One step of AdamW, written the same for both libraries."""
    mean = mean * 0.9 + gradient * 0.1
    square = square * 0.999 + gradient * gradient * 0.001
    step = (mean / 0.1) / ((square.abs() / 0.001).sqrt() + 1e-8)
    weight = weight * (1 - 1e-4) - step * 1e-3
    return weight, mean, square


def adamw_of_all(*tensors: Any) -> Any:
    """The step for every parameter: weights, gradients and both means in turn."""
    count = len(tensors) // 4
    found = [adamw(*tensors[place::count]) for place in range(count)]
    return tuple(entry for step in found for entry in step)
