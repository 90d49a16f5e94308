"""Our CPU kernels beside PyTorch's and JAX's, on the same work in the same run.

    python benchmarks/cpu.py [--rows sgemm softmax] [--json benchmarks/results/cpu.json]

Runs are interleaved, inputs are random normal, outputs are checked against float64
or PyTorch first, and the ratio is what counts: ours over the better peer, above 1 is
faster. The ceilings (multiply-add rate, copy bandwidth) are measured first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

Run = Callable[[], object]
SECONDS_A_ROW = 1.5
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One workload: what it is called, and how much it computes and moves."""

    name: str
    inputs: tuple[tuple[int, ...], ...]
    tetragrad: Callable[..., object]
    torch: Callable[..., object]
    jax: Callable[..., object] | None = None
    operations: int = 0
    nbytes: int = 0


@dataclass(frozen=True)
class Result:
    """Median milliseconds of each, and the ratios."""

    name: str
    tetragrad: float
    torch: float
    jax: float | None
    ratio: float
    share_of_ceiling: float
    first_call: float
    error: float


def rows() -> list[Row]:
    """The CPU rows; names are shared with the peers' own scripts."""
    square = (4096, 4096)
    nbytes = 4096 * 4096 * 4
    found = [_product(size) for size in (512, 1024, 2048)]
    found += [
        Row(
            "sgemm_bias_gelu_512x768x3072",
            ((512, 768), (768, 3072), (3072,)),
            lambda a, w, b: (a @ w + b).gelu(approximate="tanh"),
            lambda a, w, b: _torch().nn.functional.gelu(a @ w + b, approximate="tanh"),
            lambda a, w, b: _jax().nn.gelu(a @ w + b),
            operations=2 * 512 * 768 * 3072,
        ),
        Row(
            "gemv_4096x4096",
            ((1, 4096), square),
            lambda a, w: a @ w,
            lambda a, w: a @ w,
            lambda a, w: a @ w,
            nbytes=nbytes,
        ),
        _elementwise("softmax_4096", lambda x: x.softmax(-1), 2 * nbytes,
                     lambda x: _jax().nn.softmax(x)),
        Row(
            "layernorm_4096",
            (square,),
            lambda x: x.layer_norm((4096,)),
            lambda x: _torch().nn.functional.layer_norm(x, (4096,)),
            _jax_layer_norm,
            nbytes=2 * nbytes,
        ),
        Row(
            "gelu_chain_4096",
            (square,),
            lambda x: (x * 2 + 1).gelu(approximate="tanh") * x.sigmoid(),
            lambda x: _torch().nn.functional.gelu(x * 2 + 1, approximate="tanh")
            * x.sigmoid(),
            lambda x: _jax().nn.gelu(x * 2 + 1) * _jax().nn.sigmoid(x),
            nbytes=2 * nbytes,
        ),
        _elementwise("sum_all_4096", lambda x: x.sum(), nbytes),
        _elementwise("sum_axis0_4096", lambda x: x.sum(0), nbytes),
        Row(
            "transpose_4096",
            (square,),
            lambda x: x.t().contiguous(),
            lambda x: x.t().contiguous(),
            lambda x: x.T + 0,
            nbytes=2 * nbytes,
        ),
        Row(
            "conv3x3_8x64x56x56",
            ((8, 64, 56, 56), (64, 64, 3, 3)),
            lambda x, w: x.conv2d(w, padding=1),
            lambda x, w: _torch().nn.functional.conv2d(x, w, padding=1),
            _jax_conv,
            operations=2 * 8 * 64 * 64 * 9 * 56 * 56,
        ),
        Row(
            "attention_1x12x512x64",
            ((1, 12, 512, 64),),
            lambda q: _functional().scaled_dot_product_attention(q, q, q),
            lambda q: _torch().nn.functional.scaled_dot_product_attention(q, q, q),
            _jax_attention,
            operations=4 * 12 * 512 * 512 * 64,
        ),
    ]  # fmt: skip
    return found


def _product(size: int) -> Row:
    def multiply(a: object, b: object) -> object:
        return a @ b  # type: ignore[operator]

    shapes = ((size, size), (size, size))
    return Row(f"sgemm_{size}", shapes, multiply, multiply, multiply, 2 * size**3)


def _elementwise(
    name: str,
    function: Callable[..., object],
    nbytes: int,
    jax: Callable[..., object] | None = None,
) -> Row:
    """A row whose text is the same for all three."""
    return Row(name, ((4096, 4096),), function, function, jax or function, 0, nbytes)


# --- peers ---------------------------------------------------------------------------


def _torch() -> object:
    import torch

    return torch


def _jax() -> object:
    import jax

    return jax


def _functional() -> object:
    from tetragrad.nn import functional

    return functional


def _jax_layer_norm(x: object) -> object:
    centred = x - x.mean(-1, keepdims=True)  # type: ignore[attr-defined]
    variance = x.var(-1, keepdims=True)  # type: ignore[attr-defined]
    return centred * _jax().lax.rsqrt(variance + 1e-5)  # type: ignore[attr-defined]


def _jax_conv(x: object, w: object) -> object:
    return _jax().lax.conv_general_dilated(x, w, (1, 1), "SAME")  # type: ignore[attr-defined]


def _jax_attention(q: object) -> object:
    scores = q @ q.swapaxes(-1, -2) * 0.125  # type: ignore[attr-defined]
    return _jax().nn.softmax(scores) @ q  # type: ignore[attr-defined]


# --- measuring -----------------------------------------------------------------------


def measure(row: Row, ceilings: dict[str, float]) -> Result:
    """Check the row, then time everybody in turn."""
    import torch

    from tetragrad import Tensor, jit

    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape, dtype=np.float32) for shape in row.inputs]
    ours = [Tensor(array).realize() for array in arrays]
    theirs = [torch.from_numpy(array) for array in arrays]
    captured = jit(row.tetragrad)

    def run_ours() -> object:
        return captured(*ours)

    started = time.perf_counter()
    value = run_ours()
    first_call = time.perf_counter() - started
    wanted = row.torch(*[entry.double() for entry in theirs]).numpy()  # type: ignore[attr-defined]
    error = float(np.abs(value.numpy() - wanted).max() / np.abs(wanted).max())  # type: ignore[attr-defined]
    runs: dict[str, Run] = {
        "tetragrad": run_ours,
        "torch": lambda: row.torch(*theirs),
    }
    jax_run = _jax_run(row, arrays)
    if jax_run is not None:
        runs["jax"] = jax_run
    seconds = interleaved(runs)
    best = min(time for name, time in seconds.items() if name != "tetragrad")
    work = row.operations / ceilings["operations"] + row.nbytes / ceilings["nbytes"]
    return Result(
        row.name,
        seconds["tetragrad"] * 1e3,
        seconds["torch"] * 1e3,
        seconds["jax"] * 1e3 if "jax" in seconds else None,
        best / seconds["tetragrad"],
        work / seconds["tetragrad"],
        first_call * 1e3,
        error,
    )


def _jax_run(row: Row, arrays: list[np.ndarray]) -> Run | None:
    try:
        import jax
    except ImportError:
        return None
    if row.jax is None:
        return None
    compiled = jax.jit(row.jax)
    placed = [jax.numpy.asarray(array) for array in arrays]
    return lambda: compiled(*placed).block_until_ready()


def interleaved(runs: dict[str, Run]) -> dict[str, float]:
    """Median seconds of each, taking turns so that all see the same machine."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    deadline = time.perf_counter() + SECONDS_A_ROW * len(runs)
    rounds = 0
    while rounds < ROUNDS or time.perf_counter() < deadline:
        rounds += 1
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            samples[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) for name, times in samples.items()}


def main() -> None:
    """Measure the rows asked for, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    from tetragrad import set_num_threads
    from tetragrad.engine.ceilings import ceilings
    from tetragrad.engine.realize import device

    _torch().set_num_threads(arguments.threads)  # type: ignore[attr-defined]
    set_num_threads(arguments.threads)
    limits = asdict(ceilings(device("cpu")))
    print(f"ceilings: {limits['operations'] / 1e9:.0f} GFLOP/s, "
          f"{limits['nbytes'] / 1e9:.1f} GB/s")  # fmt: skip
    print(f"{'row':32}{'ours ms':>9}{'torch':>9}{'jax':>9}{'ratio':>7}"
          f"{'ceiling':>9}{'first':>8}{'error':>9}")  # fmt: skip
    results = []
    for row in rows():
        if arguments.rows and not any(part in row.name for part in arguments.rows):
            continue
        result = measure(row, limits)
        results.append(result)
        jax = f"{result.jax:9.2f}" if result.jax is not None else "        –"
        print(f"{result.name:32}{result.tetragrad:9.2f}{result.torch:9.2f}{jax}"
              f"{result.ratio:7.2f}{result.share_of_ceiling:9.0%}"
              f"{result.first_call:8.0f}{result.error:9.1e}", flush=True)  # fmt: skip
    ratios = [result.ratio for result in results]
    print(f"geometric mean of ratios: {np.exp(np.mean(np.log(ratios))):.2f}")
    if arguments.json:
        record = {
            "machine": platform.processor() or platform.machine(),
            "date": time.strftime("%Y-%m-%d"),
            "threads": arguments.threads,
            "ceilings": limits,
            "rows": [asdict(result) for result in results],
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
