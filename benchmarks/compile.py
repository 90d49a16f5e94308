"""What the compiler itself costs, in Python and in all, each figure with its bar.

    python benchmarks/compile.py [--json benchmarks/results/compile.json]

Every figure is processor time in milliseconds, the least of several fresh processes
without kept kernels, from the user's first line after the import on:

- *layers*: equal transformer layers, from the code that builds the graph to
  the result;
- *block*: one transformer layer, what Python does to schedule it (fusion, lowering) and
  to generate its code (plans, tile programs, target text), when another program has
  already loaded the compiler; forward alone, and with its gradients;
- *replay*: an AdamW step over 98 parameters, captured: what a call costs beyond the
  native code, in microseconds of the clock.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RUNS = 7
WIDTH, HEADS, TOKENS = 64, 4, 32

#: The most that each figure may be: this issue's bar.
BARS = {
    "32 layers / 1 layer": 2.0,
    "block, Python": 25.0,
    "replay, microseconds": 60.0,
}


def network(layers: int, requires_grad: bool = False) -> tuple[Any, list[Any]]:
    """A function of equal layers as in a GPT, and the weights, which are in memory.

    Neither random numbers nor copies: they would load the compiler before it is timed.
    """
    from tetragrad import Tensor

    rng = np.random.default_rng(0)
    weights: list[Tensor] = []

    def weight(*shape: int) -> Tensor:
        values = 0.1 * rng.standard_normal(shape, np.float32)
        weights.append(Tensor(values, requires_grad=requires_grad))
        return weights[-1]

    def layer() -> Callable[[Tensor], Tensor]:
        scales = [weight(WIDTH) for _ in range(4)]
        heads, mix = weight(WIDTH, 3 * WIDTH), weight(WIDTH, WIDTH)
        widen, narrow = weight(WIDTH, 4 * WIDTH), weight(4 * WIDTH, WIDTH)

        def forward(x: Tensor) -> Tensor:
            normal = x.layer_norm((WIDTH,), *scales[:2])
            x = x + attention(normal @ heads) @ mix
            normal = x.layer_norm((WIDTH,), *scales[2:])
            return x + (normal @ widen).gelu() @ narrow

        return forward

    parts = [layer() for _ in range(layers)]
    x = Tensor(rng.standard_normal((TOKENS, WIDTH), np.float32))
    return lambda: functools.reduce(lambda value, part: part(value), parts, x), weights


def attention(projected: Any) -> Any:
    """Every head's mixture, from the queries, keys and values side by side."""
    heads = projected.reshape(TOKENS, 3, HEADS, WIDTH // HEADS)
    query, key, value = heads.permute(1, 2, 0, 3).unbind(0)
    scores = query @ key.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
    mixed = scores.softmax(dim=-1) @ value
    return mixed.transpose(0, 1).reshape(TOKENS, WIDTH)


# --- what a fresh process measures ---------------------------------------------------


def measure_layers(layers: int) -> dict[str, float]:
    """Build the graph of so many layers, compile it and run it once."""
    model, _ = network(layers)
    start = time.process_time()
    output = model()
    built = time.process_time()
    output.numpy()
    end = time.process_time()
    return {"build": 1e3 * (built - start), "all": 1e3 * (end - start)}


def measure_block(gradients: bool) -> dict[str, float]:
    """Schedule a layer and generate its code, without assembling anything."""
    from tetragrad import Tensor
    from tetragrad.core.collector import collector_paused
    from tetragrad.core.settings import settings
    from tetragrad.engine.assembly import compile_kernel
    from tetragrad.engine.pipeline import kernels_of
    from tetragrad.engine.realize import device, without_markers

    rows = Tensor(np.ones((24, 40), np.float32))
    (rows @ rows.T).softmax(-1).numpy()
    model, weights = network(1, requires_grad=gradients)
    on = device("cpu")
    with collector_paused():
        start = time.process_time()
        outputs = [model()]
        if gradients:
            outputs[0].sum().backward()
            outputs += [entry.grad for entry in weights]
        nodes = without_markers([entry.node for entry in outputs])
        built = time.process_time()
        _, lowered = kernels_of(nodes, on.target, settings())
        scheduled = time.process_time()
        kernels = dict.fromkeys(entry.kernel for entry in lowered)
        for kernel in kernels:
            compile_kernel(kernel, on, settings())
        end = time.process_time()
    return {
        "build": 1e3 * (built - start),
        "schedule": 1e3 * (scheduled - built),
        "code": 1e3 * (end - scheduled),
        "kernels": float(len(kernels)),
    }


def measure_replay() -> dict[str, float]:
    """A captured AdamW step over 98 small parameters, in microseconds a call."""
    import tetragrad
    from tetragrad import Tensor, nn, optim

    parameters = [nn.Parameter(Tensor(np.ones(4, np.float32))) for _ in range(98)]
    for parameter in parameters:
        parameter.grad = Tensor(np.ones(4, np.float32))
    optimizer = optim.AdamW(parameters, lr=1e-3)

    @tetragrad.jit
    def step() -> None:
        optimizer.step()

    @tetragrad.jit
    def trivial(x: Tensor) -> Tensor:
        return x + 1

    x = Tensor(np.ones(4, np.float32))
    return {
        "AdamW, 98 parameters": _per_call(step),
        "one kernel": _per_call(lambda: trivial(x)),
    }


def _per_call(call: Callable[[], object], calls: int = 200) -> float:
    """The least time of a call, in microseconds."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times)


MEASURES: dict[str, Callable[[], dict[str, float]]] = {
    "1 layer": lambda: measure_layers(1),
    "32 layers": lambda: measure_layers(32),
    "block, forward": lambda: measure_block(gradients=False),
    "block, forward and backward": lambda: measure_block(gradients=True),
    "replay": measure_replay,
}


# --- the table -----------------------------------------------------------------------


def in_fresh_processes(name: str, runs: int) -> dict[str, float]:
    """The least of each figure over several processes without kept kernels."""
    found = []
    for _ in range(runs):
        printed = subprocess.run(
            [sys.executable, __file__, "--measure", name],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found.append(json.loads(printed))
    return {label: min(run[label] for run in found) for label in found[0]}


def environment() -> dict[str, str]:
    """As for an installed package, with bytecode, but nothing kept on disk."""
    kept = {**os.environ, "TETRAGRAD_DISK_CACHE": "0"}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    root = str(Path(__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join([root, kept.get("PYTHONPATH", "")])
    return kept


def judged(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures that have a bar."""
    block = figures["block, forward"]
    return {
        "32 layers / 1 layer": figures["32 layers"]["all"] / figures["1 layer"]["all"],
        "block, Python": block["schedule"] + block["code"],
        "replay, microseconds": figures["replay"]["AdamW, 98 parameters"],
    }


def main() -> None:
    """Print one line a figure, then those with a bar."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes a figure")
    parser.add_argument("--measure", choices=MEASURES, help="measure here, print JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure]()))
        return
    figures = {name: in_fresh_processes(name, options.runs) for name in MEASURES}
    for name, parts in figures.items():
        shown = ", ".join(f"{label} {value:.1f}" for label, value in parts.items())
        print(f"{name:28} {shown}")
    results = judged(figures)
    for name, value in results.items():
        verdict = "holds" if value <= BARS[name] else "misses"
        print(f"{name:28} {value:8.2f}   {verdict} the bar of {BARS[name]:g}")
    if options.json:
        everything = {"figures": figures, "judged": results, "bars": BARS}
        options.json.write_text(json.dumps(everything, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
