"""Counting what the compiler does: nodes, decisions, rules, kernels, instructions.

Counts, unlike times, are the same on every machine and every run. The committed ones
are in ``operations.json``; after a change that is meant to raise or lower them, run

    python -m tests.engine.operations

and commit the file with the change that explains it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.counting import Watched, counting
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.emit import program as emit
from tetragrad.backends.cpu.emit.statements import Statements
from tetragrad.backends.cpu.emit.vector import Builder
from tetragrad.backends.cpu.target import make_target
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.engine.structure import structure_of
from tetragrad.graph.node import Node
from tetragrad.kernel import lowering, recognise, simplify
from tetragrad.kernel.expression import Expression
from tetragrad.kernel.fusion import epilogues, repeats, row_join
from tetragrad.kernel.fusion import fuse as fusion
from tetragrad.kernel.ir import Kernel
from tetragrad.tensor import Tensor
from tetragrad.tensor.pending import relief_paused
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.rewrite import Rewriter

COMMITTED = Path(__file__).parent / "operations.json"
ROOT = Path(__file__).resolve().parents[2]
#: Some chip, so that every machine generates the same code.
TARGET = make_target(
    Processor("x86_64-unknown-linux-gnu", "haswell", ("+avx2", "+fma", "+f16c")),
    units=2,
)
WIDTH, HEADS, TOKENS = 64, 4, 32

#: The functions that the compiler's work is made of.
WATCHED: Watched = (
    (Node, "build", "nodes built"),
    (fusion._Fusion, "_describe", "values described"),
    (fusion._Fusion, "_must_be_stored", "values stored or not"),
    (row_join, "_revisits_row", "rows followed"),
    (epilogues, "_belongs", "values tried in epilogues"),
    (repeats, "pattern_of", "patterns compared"),
    (lowering._Lowering, "step", "lowering steps"),
    (lowering._Lowering, "run", "lowering attempts"),
    (recognise, "reduction", "reductions recognised"),
    (simplify, "compute", "expressions simplified"),
    (Expression, "__new__", "expressions asked for"),
    (Rewriter, "apply", "expressions rewritten"),
    (Statements, "emit", "statements emitted"),
    (Builder, "assign", "instructions emitted"),
)


def values(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape, np.float32), device="reference")


class Layer:
    """The weights of one transformer layer, as in a GPT."""

    def __init__(self) -> None:
        self.attention = values(WIDTH, 3 * WIDTH)
        self.projection = values(WIDTH, WIDTH)
        self.widen, self.narrow = values(WIDTH, 4 * WIDTH), values(4 * WIDTH, WIDTH)
        self.scales = [values(WIDTH) for _ in range(4)]

    def __call__(self, x: Tensor) -> Tensor:
        first, second = self.scales[:2], self.scales[2:]
        x = x + self.attend(x.layer_norm((WIDTH,), *first))
        hidden = (x.layer_norm((WIDTH,), *second) @ self.widen).gelu()
        return x + hidden @ self.narrow

    def attend(self, x: Tensor) -> Tensor:
        heads = (x @ self.attention).reshape(TOKENS, 3, HEADS, WIDTH // HEADS)
        query, key, value = heads.permute(1, 2, 0, 3).unbind(0)
        scores = query @ key.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        return mixed.transpose(0, 1).reshape(TOKENS, WIDTH) @ self.projection


def transformer(layers: int) -> list[Node]:
    """The graph of equal layers, one after the other, without markers."""
    x = values(TOKENS, WIDTH)
    # Nobody reads it, but it is no loop whose rounds may run apart.
    with relief_paused():
        for _ in range(layers):
            x = Layer()(x)
    return without_markers([x.node])


def count_operations(layers: int) -> dict[str, int]:
    """Build and lower a transformer of that many layers, and generate its code."""
    # What another graph has left behind is not this one's work.
    repeats._templates.clear()
    with counting(WATCHED) as counts, override(device="reference", verify=False):
        nodes = transformer(layers)
        groups, lowered = kernels_of(nodes, TARGET, settings())
        kernels = dict.fromkeys(entry.kernel for entry in lowered)
        lines = sum(code_of(kernel).count("\n") for kernel in kernels)
    counts["graph nodes"] = structure_of(nodes).nodes
    counts["kernels"] = len(groups)
    counts["distinct kernels"] = len(kernels)
    counts["lines of target text"] = lines
    return dict(sorted(counts.items()))


def code_of(kernel: Kernel) -> str:
    """The target text of one kernel."""
    plan = choose_plan(kernel, TARGET, settings())
    return emit.emit(build(kernel, plan, TARGET), TARGET, settings())


def count_calls() -> dict[str, int]:
    """Functions called to schedule one layer and to generate its code.

    Python's own are counted, too. Only the first time in a process is all of the work.
    """
    nodes = transformer(1)
    with counting_calls() as scheduling:
        _, lowered = kernels_of(nodes, TARGET, settings())
    with counting_calls() as generating:
        for kernel in dict.fromkeys(entry.kernel for entry in lowered):
            code_of(kernel)
    return {"schedule": scheduling.total(), "code": generating.total()}


@contextmanager
def counting_calls() -> Iterator[Counter[str]]:
    """Count the calls of all functions meanwhile."""
    counts: Counter[str] = Counter()

    def count(frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            counts[event] += 1

    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(None)


def calls_in_fresh_process() -> dict[str, int]:
    """What ``count_calls`` finds where nothing has been compiled yet."""
    command = [sys.executable, "-m", "tests.engine.operations", "--calls"]
    environment = {
        **os.environ,
        "TETRAGRAD_VERIFY": "0",
        "TETRAGRAD_DEVICE": "reference",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def write() -> None:
    """Replace the committed counts by those of the code as it is."""
    counts = {str(layers): count_operations(layers) for layers in (1, 32)}
    counts["calls"] = calls_in_fresh_process()
    COMMITTED.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--calls"]:
        print(json.dumps(count_calls()))
    else:
        write()
