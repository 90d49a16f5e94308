"""Counting what it takes to plan and write kernels for a GPU.

Counts, unlike times, are the same on every machine and every run. The committed ones
are in ``cuda_operations.json``; after a change that is meant to raise or lower them:

    python -m tests.backends.cuda_operations

and commit the file with the change that explains it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.counting import counting
from tetragrad.backends.cuda.emit.forms import Forms
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.emit.ptx import Builder, Value
from tetragrad.backends.cuda.emit.values import Points
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.substitution import Substitution
from tetragrad.tensor import Tensor
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.roles import choose_roles, depth_parts, role_cost, ways

COMMITTED = Path(__file__).parent / "cuda_operations.json"

#: What the work is made of.
WATCHED = (
    (role_cost.Pricing, "__init__", "products priced"),
    (role_cost.Pricing, "cycles_of", "blocks priced"),
    (ways.Way, "_with_sizes", "blocks looked at closely"),
    (Substitution, "apply", "expressions rewritten"),
    (Points, "evaluate", "values asked for"),
    (Forms, "linear", "affine forms asked for"),
    (Value, "__init__", "operands made"),
    (Builder, "assign", "instructions asked for"),
)


def values(*shape: int) -> Tensor:
    """Zeros in bfloat16, which nobody computes with."""
    return Tensor(np.zeros(shape, dtypes.bfloat16.numpy), device="reference")


def computations() -> dict[str, Callable[[], Tensor]]:
    """One of each kind: by roles, in parts, with an epilogue; rows, also sorted."""
    return {
        "product": lambda: values(512, 512) @ values(512, 512).T,
        "product in parts": lambda: values(64, 8192) @ values(64, 8192).T,
        "epilogue": lambda: (values(256, 512) @ values(512, 256) + values(256)).gelu(),
        "softmax": lambda: values(512, 1024).softmax(1),
        "layer norm": lambda: values(512, 768).layer_norm((768,)),
        "sort": lambda: values(256, 512).sort(1).values,
    }


def count_operations(name: str) -> dict[str, int]:
    """Plan a computation for an H200, build it and write it."""
    # What was found out for another one is not found out again.
    for function in (choose_roles.cheapest_plan, depth_parts.divided_cycles):
        function.cache_clear()
    with override(device="reference", verify=False):
        nodes = without_markers([computations()[name]().node])
        _, lowered = kernels_of(nodes, SM_90A, settings())
        kernels = dict.fromkeys(entry.kernel for entry in lowered)
        with counting(WATCHED) as counts:
            for kernel in kernels:
                plan = choose_plan(kernel, SM_90A, settings())
                program = build(kernel, plan, SM_90A)
                text = emit_program(program, SM_90A, settings()).text
                counts["lines of target text"] += text.count("\n")
    return dict(sorted(counts.items()))


def write() -> None:
    """Replace the committed counts by those of the code as it is."""
    counts = {name: count_operations(name) for name in computations()}
    COMMITTED.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
