"""``tetragrad onnx model.onnx``: what is in a file, whether it runs, and how fast."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tetragrad import jit, no_grad
from tetragrad.core.errors import TetragradError, UnsupportedError
from tetragrad.core.settings import settings
from tetragrad.onnx.describe import describe_file
from tetragrad.onnx.graph import ValueType
from tetragrad.onnx.model import OnnxModel
from tetragrad.onnx.parsing import parse_file
from tetragrad.tensor import Tensor
from tetragrad.tensor.pending import realize_tensors

#: How long each of the two is timed.
SECONDS = 1.0

#: The relative difference from ONNX Runtime that is still the same result.
TOLERANCE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("--check", action="store_true", help="run it, and compare")
    parser.add_argument("--bench", action="store_true", help="time it")
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a size that the file leaves open; 1 if not given",
    )
    parser.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="the value of an input that is a number; others are random",
    )


def run(options: argparse.Namespace) -> None:
    """Say what is in the file; then run and time it, if that is asked for."""
    file = parse_file(options.model)
    print(f"{options.model}: {os.path.getsize(options.model):,} bytes")
    print(describe_file(file))
    if not (options.check or options.bench):
        return
    model = OnnxModel(file)
    inputs = random_inputs(file.graph.inputs, _numbers("size", options.size))
    for name, number in _numbers("value", options.value).items():
        if name not in inputs:
            raise TetragradError(f"--value for an input {name!r}, which is not there")
        inputs[name] = np.full_like(inputs[name], number)
    other = _runtime(options.model)
    if options.check:
        check(model, inputs, other)
    if options.bench:
        bench(model, inputs, other)


def _numbers(option: str, given: list[str]) -> dict[str, int]:
    """Names and whole numbers of an option that may be given several times."""
    numbers = {}
    for entry in given:
        name, _, number = entry.rpartition("=")
        if not name or not number.isdecimal():
            raise TetragradError(f"--{option} {entry}", hint=f"write --{option} name=4")
        numbers[name] = int(number)
    return numbers


def arguments_of(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Tensors; whole numbers stay numbers, which the model may decide by."""
    return {
        name: array.item() if is_number(array) else Tensor(array)
        for name, array in inputs.items()
    }


def is_number(array: np.ndarray) -> bool:
    """Whether an input is a single whole number or truth value."""
    return array.ndim == 0 and array.dtype.kind in "iub"


def random_inputs(
    entries: tuple[ValueType, ...], sizes: dict[str, int]
) -> dict[str, np.ndarray]:
    """An array for each input; sizes that vary are 1 unless they are given."""
    generator = np.random.default_rng(0)
    arrays = {}
    for entry in entries:
        if entry.kind != "tensor" or entry.dtype is None or entry.dtype.kind == "O":
            raise UnsupportedError(
                f"random values for the input {entry}",
                hint="call the model from Python, with values of your own",
            )
        shape = [
            size if isinstance(size, int) else sizes.get(str(size), 1)
            for size in entry.shape or ()
        ]
        is_whole = entry.dtype.kind in "iub"
        drawn: Any = generator.standard_normal(shape)
        drawn = generator.integers(0, 2, shape) if is_whole else drawn
        arrays[entry.name] = np.asarray(drawn).astype(entry.dtype)
    return arrays


def check(model: OnnxModel, inputs: dict[str, np.ndarray], other: Any) -> None:
    """Run the model once, and print its outputs and how they compare."""
    with no_grad():
        results = _as_tuple(model(**arguments_of(inputs)))
    expected = None if other is None else other.run(None, inputs)
    for number, (entry, result) in enumerate(zip(model.outputs, results, strict=True)):
        shown = f"output {entry.name}: {_described(result)}"
        if expected is not None:
            shown += f", {_compared(result, expected[number])}"
        print(shown)
    if other is None:
        print("not compared: the package 'onnxruntime' is not installed")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    array = value.numpy()
    sizes = ", ".join(map(str, array.shape))
    if not array.size or array.dtype.kind not in "fiu":
        return f"{value.dtype}[{sizes}]"
    return f"{value.dtype}[{sizes}] from {array.min():.6g} to {array.max():.6g}"


def _compared(value: Any, expected: Any) -> str:
    if not isinstance(value, Tensor):
        return "not compared"
    found = value.numpy()
    if found.shape != expected.shape:
        return f"DIFFERS from onnxruntime: shape {expected.shape} there"
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    scale = max(float(np.abs(expected).max(initial=0)), 1e-12)
    relative = float(difference.max(initial=0)) / scale
    word = "equals" if relative <= TOLERANCE else "DIFFERS from"
    return (
        f"{word} onnxruntime (largest difference {relative:.1e} of the largest value)"
    )


def bench(model: OnnxModel, inputs: dict[str, np.ndarray], other: Any) -> None:
    """Time the captured model, and ONNX Runtime with as many threads."""
    step = jit(model.forward)
    arguments = arguments_of(inputs)

    def ours() -> None:
        with no_grad():
            realize_tensors(
                [e for e in _as_tuple(step(**arguments)) if isinstance(e, Tensor)]
            )

    for _ in range(3):
        ours()
    mine = seconds_of(ours)
    print(f"tetragrad: {mine * 1e3:.3f} ms a call, captured")
    if other is None:
        return
    theirs = seconds_of(lambda: other.run(None, inputs))
    print(f"onnxruntime: {theirs * 1e3:.3f} ms a call; ratio {theirs / mine:.2f}")


def seconds_of(function: Callable[[], object]) -> float:
    """The shortest time of a call."""
    best = float("inf")
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _runtime(path: str) -> Any:
    """ONNX Runtime's session for the file; None without the package."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = settings().threads
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
