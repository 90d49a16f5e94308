"""Check and time attention with its gradients on the CUDA backend, against PyTorch.

    python benchmarks/h200_attention_gradient.py --output results.json [--only causal]

The forward pass and the gradients of queries, keys and values are one graph, and all
its kernels run on the memory that PyTorch reads. A head is compared with float64.
PyTorch's time is that of its fastest way for forward and backward, captured as a CUDA
graph as ours is. Memory is what the kernels hand to one another.

The cases run in a process of their own, as in ``h200_attention.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@dataclass(frozen=True)
class Case:
    """Attention of so many positions to themselves; fewer heads of keys if given."""

    batch: int
    heads: int
    length: int
    features: int
    causal: bool = False
    key_heads: int = 0
    dtype: str = "bfloat16"

    @property
    def name(self) -> str:
        heads = f"{self.heads}/{self.key_heads}" if self.key_heads else f"{self.heads}"
        way = "causal" if self.causal else "full"
        return f"{self.batch}x{heads}x{self.length}x{self.features} {way} {self.dtype}"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Queries, keys, values and the result's gradient."""
        queries = (self.batch, self.heads, self.length, self.features)
        keys = (self.batch, self.key_heads or self.heads, *queries[2:])
        return [queries, keys, keys, queries]

    @property
    def options(self) -> dict[str, Any]:
        return {"is_causal": self.causal, "enable_gqa": bool(self.key_heads)}

    @property
    def operations(self) -> float:
        """Two products forward and five backward, of the scores that a mask leaves."""
        scores = self.batch * self.heads * self.length**2
        return 2.0 * 7 * scores * self.features * (0.5 if self.causal else 1.0)


def cases() -> Iterator[Case]:
    """What models are trained with."""
    yield Case(4, 32, 4096, 128)
    yield Case(4, 32, 4096, 128, causal=True)
    yield Case(4, 32, 4096, 64)
    yield Case(4, 32, 4096, 64, causal=True)
    yield Case(16, 12, 1024, 64, causal=True)
    yield Case(2, 32, 4096, 128, causal=True, key_heads=8)
    yield Case(1, 16, 16384, 128, causal=True)
    yield Case(3, 5, 1000, 96)


# --- one process that measures -------------------------------------------------------


class Step:
    """All kernels of a case, loaded, and the memory that they work on."""

    def __init__(self, case: Case, device: Any, operands: list[Any]) -> None:
        import torch

        from tetragrad.core.settings import settings
        from tetragrad.engine.pipeline import kernels_of
        from tetragrad.engine.realize import scalar_cells, without_markers
        from tetragrad.tile.plans.build import build
        from tetragrad.tile.plans.choose import choose_plan

        leaves, nodes = graph_of(case)
        nodes = without_markers(nodes)
        _, kernels = kernels_of(nodes, device.target, settings())
        self.memory: dict[Any, Any] = dict(zip(leaves, operands, strict=True))
        self.launches: list[tuple[Any, list[int], Any]] = []
        self.plans: list[str] = []
        self.temporary = 0
        for entry in kernels:
            plan = choose_plan(entry.kernel, device.target, settings())
            program = build(entry.kernel, plan, device.target)
            code = device.assemble(device.emit(program, settings()), program)
            for node in entry.outputs:
                dtype = getattr(torch, node.dtype.name)
                self.memory[node] = torch.empty(node.shape, dtype=dtype, device="cuda")
                is_result = node in nodes
                self.temporary += 0 if is_result else self.memory[node].nbytes
            addresses = [
                self.memory[node].data_ptr() + offset * node.dtype.itemsize
                for node, offset in zip(entry.inputs, entry.offsets, strict=True)
            ]
            addresses += [self.memory[node].data_ptr() for node in entry.outputs]
            cells = scalar_cells(entry.scalars)
            executable = device.load(code)
            count = executable.facts.scalars
            addresses += [cells.ctypes.data + 8 * slot for slot in range(count)]
            self.launches.append((executable, addresses, cells))
            self.plans.append(shown(plan))
        self.results = [self.memory[node] for node in nodes]

    def run(self) -> None:
        for executable, addresses, _ in self.launches:
            executable.launch(addresses)


def graph_of(case: Case) -> tuple[list[Any], list[Any]]:
    """The leaves, and the nodes of the result and of the gradients."""
    import tetragrad
    from tetragrad.graph.leaves import Buffer

    dtype = getattr(tetragrad, case.dtype)
    leaves = [Buffer(object(), shape, dtype, "cuda") for shape in case.shapes]
    tensors = [tetragrad.Tensor.from_node(leaf) for leaf in leaves]
    inputs = [tensor.requires_grad_() for tensor in tensors[:3]]
    result = inputs[0].scaled_dot_product_attention(*inputs[1:], **case.options)
    gradients = tetragrad.grad(result, inputs, tensors[3])
    return leaves, [entry.node for entry in (result, *gradients) if entry is not None]


def shown(plan: Any) -> str:
    """A plan in a few words."""
    grid = plan.stages[-1][-1]
    if not hasattr(grid, "members"):
        return type(grid).__name__
    return f"{grid.members}x64 by {grid.keys}"


def their_step(case: Case, operands: list[Any], backends: list[Any]) -> Any:
    """PyTorch's forward and backward as a function."""
    import torch
    from torch.nn.attention import sdpa_kernel

    inputs = [entry.detach().requires_grad_() for entry in operands[:3]]

    def run() -> list[Any]:
        with sdpa_kernel(backends):
            result = torch.nn.functional.scaled_dot_product_attention(
                *inputs, **case.options
            )
            return [result, *torch.autograd.grad(result, inputs, operands[3])]

    return run


def error(case: Case, operands: list[Any], found: list[Any]) -> list[float]:
    """The relative errors of the last head, or of the keys that its group shares."""
    import torch

    shared = case.heads // (case.key_heads or case.heads)
    query, upstream = (operands[n][-1:, -shared:].double() for n in (0, 3))
    key, value = (entry[-1:, -1:].double() for entry in operands[1:3])
    inputs = [entry.requires_grad_() for entry in (query, key, value)]
    options = {"is_causal": case.causal, "enable_gqa": shared > 1}
    result = torch.nn.functional.scaled_dot_product_attention(*inputs, **options)
    exact = [result, *torch.autograd.grad(result, inputs, upstream)]
    return [
        float((ours[-1:, -good.shape[1] :].double() - good).norm() / good.norm())
        for ours, good in zip(found, exact, strict=True)
    ]


def measure_case(case: Case, device: Any) -> dict[str, Any]:
    """One row: times in turns, errors, and every kernel's own time."""
    import torch
    from torch.nn.attention import SDPBackend

    from benchmarks.h200_attention import in_turns
    from benchmarks.h200_timing import graph_timer, torch_timer

    dtype = getattr(torch, case.dtype)
    operands = [torch.randn(s, device="cuda").to(dtype) for s in case.shapes]
    step = Step(case, device, operands)
    for result in step.results:
        result.fill_(float("nan"))
    torch.cuda.synchronize()
    step.run()
    device.synchronize()
    errors = error(case, operands, step.results)
    theirs: dict[str, Callable[[], float]] = {}
    their_errors: list[float] = []
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        run = their_step(case, operands, [backend])
        try:
            their_errors = error(case, operands, [r.detach() for r in run()])
            theirs[backend.name] = torch_timer(run)
        except RuntimeError as problem:
            print(f"{backend.name}: {str(problem)[:200]}", flush=True)
            torch.cuda.synchronize()
    quick = {name: min(timer() for _ in range(3)) for name, timer in theirs.items()}
    peer = min(quick, key=lambda name: quick[name])
    times = in_turns(graph_timer(step.run, device), theirs[peer])
    ours, best = (statistics.median(entry) for entry in times)
    single = []
    for executable, addresses, _ in step.launches:

        def record(executable: Any = executable, at: Any = addresses) -> None:
            executable.launch(at)

        timer = graph_timer(record, device)
        single.append(min(timer() for _ in range(5)) * 1e6)
    return {
        "case": case.name,
        "plans": step.plans,
        "microseconds": ours * 1e6,
        "kernels": single,
        "torch": best * 1e6,
        "peer": peer,
        "ratio": best / ours,
        "teraflops": case.operations / ours / 1e12,
        "errors": errors,
        "torch_errors": their_errors,
        "temporary_bytes": step.temporary,
    }


def child(numbers: list[int]) -> None:
    """Measure some cases; a line of JSON for each row, and one when it is done."""
    import torch

    from benchmarks.h200_attention import say
    from tetragrad.backends.cuda.device import CudaDevice
    from tetragrad.core.settings import override

    torch.manual_seed(time.time_ns())
    device, everything = CudaDevice("cuda"), list(cases())
    with override(device="cuda"):
        for number in numbers:
            try:
                say({"number": number, "row": measure_case(everything[number], device)})
            except Exception as problem:
                text = f"{everything[number].name}: {type(problem).__name__}: {problem}"
                say({"number": number, "problem": text[:600]})
            say({"number": number, "done": True})
            torch.cuda.empty_cache()


# --- the process that watches --------------------------------------------------------


def main() -> None:
    from benchmarks.h200_attention import watched
    from benchmarks.h200_timing import write_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--child", default="")
    arguments = parser.parse_args()
    if arguments.child:
        child([int(number) for number in arguments.child.split(",")])
        os._exit(0)
    chosen = [n for n, case in enumerate(cases()) if arguments.only in case.name]
    results = []
    for message in watched([__file__], chosen):
        if "row" in message:
            results.append(message["row"])
            print(line(message["row"]), flush=True)
        elif "problem" in message:
            print(message["problem"], flush=True)
        write_rows(arguments.output, results)


def line(row: dict[str, Any]) -> str:
    errors = " ".join(f"{value:.1e}" for value in row["errors"])
    parts = " + ".join(f"{value:.0f}" for value in row["kernels"])
    return (
        f"{row['case']:<36} {row['microseconds']:9.1f} us ({parts}) "
        f"{row['teraflops']:6.1f} TFLOP/s {row['torch']:9.1f} {row['peer']} "
        f"{row['ratio']:5.3f}  {errors}  {row['plans']}"
    )


if __name__ == "__main__":
    main()
