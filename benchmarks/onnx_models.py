"""Trained ONNX models, captured, beside ONNX Runtime with as many threads.

    TETRAGRAD_DATA=... TETRAGRAD_THREADS=1 python benchmarks/onnx_models.py

Both run in turns, and each figure is the least of several rounds. What is counted is
the processor's time, which a busy machine disturbs less than the clock; with one
thread the two are the same on an idle one. A ratio above 1 means that tetragrad is
faster.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tetragrad import Tensor, jit, no_grad, onnx
from tetragrad.core.settings import settings
from tetragrad.data import data_folder
from tetragrad.tensor.base import realize_tensors

ROUNDS = 9
ROUND_SECONDS = 0.1

#: Values of inputs whose shape or range a file does not say.
SHAPES: dict[str, tuple[int, ...]] = {
    "bytes": (1, 2048),
    "input": (1, 576),
    "serving_default_input_2:0": (1, 43844, 1),
    "state": (2, 1, 128),
}
NUMBERS = {"sr": 16000}


def inputs_of(model: onnx.OnnxModel) -> dict[str, np.ndarray]:
    """Random values for each input, or the number that it must be."""
    generator = np.random.default_rng(0)
    values = {}
    for entry in model.inputs:
        if entry.name in NUMBERS:
            values[entry.name] = np.asarray(NUMBERS[entry.name], entry.dtype)
            continue
        sizes = entry.shape or ()
        is_known = all(isinstance(size, int) for size in sizes)
        shape: Any = sizes if is_known else SHAPES[entry.name]
        drawn: Any = generator.standard_normal(shape)
        if entry.dtype == np.int32:
            drawn = generator.integers(0, 256, shape)
        values[entry.name] = drawn.astype(entry.dtype)
    return values


def tetragrad_step(model: onnx.OnnxModel, inputs: dict[str, np.ndarray]) -> Any:
    """A function that runs the captured model, to the end."""
    captured = jit(lambda **values: model(**values))
    arguments = {
        name: Tensor(array) if array.ndim else array.item()
        for name, array in inputs.items()
    }

    @no_grad()
    def step() -> None:
        results = captured(**arguments)
        realize_tensors(results if isinstance(results, tuple) else [results])

    return step


def runtime_step(path: Path, inputs: dict[str, np.ndarray], threads: int) -> Any:
    """The same of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, inputs)


def measure(
    functions: list[Callable[[], object]], clock: Callable[[], float]
) -> list[float]:
    """Seconds a call of each, in turns."""
    for function in functions:
        for _ in range(3):
            function()
    best = [math.inf] * len(functions)
    for _ in range(ROUNDS):
        for place, function in enumerate(functions):
            count, start = 0, clock()
            while clock() - start < ROUND_SECONDS:
                function()
                count += 1
            best[place] = min(best[place], (clock() - start) / count)
    return best


def main() -> None:
    """Print a line a model, and the geometric mean of the ratios."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--match", default="", help="only models with this in the name")
    options = parser.parse_args()
    folder = data_folder()
    if folder is None:
        raise SystemExit("set TETRAGRAD_DATA to the folder that holds onnx/*.onnx")
    threads = settings().threads
    clock = time.process_time if threads == 1 else time.perf_counter
    ratios = []
    for path in sorted((folder / "onnx").glob("*.onnx")):
        if options.match not in path.stem:
            continue
        model = onnx.load(path)
        inputs = inputs_of(model)
        steps = [tetragrad_step(model, inputs), runtime_step(path, inputs, threads)]
        ours, theirs = measure(steps, clock)
        ratios.append(theirs / ours)
        print(
            f"{path.stem:24} {1e3 * ours:9.3f} ms   "
            f"onnxruntime {1e3 * theirs:9.3f} ms   ratio {ratios[-1]:.2f}",
            flush=True,
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(
        f"geometric mean of {len(ratios)} ratios: {mean:.2f}, least {min(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
