"""Check and time attention on the CUDA backend against PyTorch, case by case.

    python benchmarks/h200_attention.py --output results.json [--only causal] [--plans]
    python benchmarks/h200_attention.py --output results.json --random 40 [--seed 7]

Each case is the plain graph, one program, on the very memory that PyTorch reads. Its
results are poisoned first and compared with attention in float64, of a few heads. Then
both are timed in turns, as CUDA graphs; the medians count. PyTorch's time is that of
its fastest way: cuDNN, flash attention, or what it chooses by itself. ``--plans`` also
times other block sizes than the ones chosen; ``--random`` measures shapes that nobody
chose instead of those that are named here.

The cases run in a process of their own, which is ended when one of them takes too
long; the others then go on in a new one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROUNDS = 7
SECONDS = 0.02
PATIENCE_SECONDS = 40
#: Heads that are compared with float64; all others with PyTorch's own result.
HEADS_CHECKED = 4
#: What a matrix unit does for one score is done twice, for queries and for values.
PRODUCTS = 2
#: So many bytes of operands leave the cache before they are read again, if there are
#: sets enough.
CACHE_BYTES = 200 << 20
MOST_SETS = 16


@dataclass(frozen=True)
class Case:
    """Attention of so many queries to keys; ``way`` says what is masked, and how."""

    batch: int
    heads: int
    queries: int
    keys: int
    features: int
    way: str = "full"
    dtype: str = "bfloat16"
    key_heads: int = 0
    plans: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> str:
        heads = f"{self.heads}/{self.key_heads}" if self.key_heads else f"{self.heads}"
        shape = f"{self.batch}x{heads}x{self.queries}x{self.keys}x{self.features}"
        return f"{shape} {self.way} {self.dtype}"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        key_heads = self.key_heads or self.heads
        keys = (self.batch, key_heads, self.keys, self.features)
        shapes = [(self.batch, self.heads, self.queries, self.features), keys, keys]
        return [*shapes, (self.queries, self.keys)] if self.way == "mask" else shapes

    @property
    def operations(self) -> float:
        """Of all scores, or of those that a causal mask leaves."""
        scores = self.queries * self.keys
        if self.way == "causal":
            # Half of the diagonal, as is usual.
            square = min(self.queries, self.keys)
            scores -= square**2 // 2 + square * (self.keys - square)
        heads = self.batch * self.heads
        return 2.0 * PRODUCTS * heads * scores * self.features

    def our_result(self, query: Any, key: Any, value: Any, *mask: Any) -> Any:
        if self.way == "plain":
            scores = (query @ key.transpose(-1, -2)) * self.features**-0.5
            return scores.softmax(-1) @ value
        return query.scaled_dot_product_attention(
            key,
            value,
            attn_mask=mask[0] if mask else None,
            is_causal=self.way == "causal",
            enable_gqa=bool(self.key_heads),
        )


def cases() -> Iterator[Case]:
    """What the targets name; other head sizes, grouped heads, ragged sizes, masks."""
    plans = (
        (2, 128, 2, 0, 0),
        (2, 128, 2, 0, 64),
        (2, 128, 2, 132, 64),
        (2, 160, 2, 132, 64),
        (2, 176, 2, 0, 0),
        (2, 176, 2, 132, 32),
    )
    yield Case(4, 32, 4096, 4096, 128, plans=plans)
    yield Case(4, 32, 4096, 4096, 128, "causal", plans=plans)
    yield Case(4, 32, 4096, 4096, 128, dtype="float16")
    small = (
        (2, 192, 2, 132, 64),
        (2, 208, 2, 132, 64),
        (3, 112, 2, 0, 64),
        (3, 112, 2, 132, 64),
        (3, 96, 2, 132, 64),
    )
    yield Case(4, 32, 4096, 4096, 64, plans=small)
    yield Case(4, 32, 4096, 4096, 64, "causal", plans=small)
    yield Case(16, 12, 1024, 1024, 64, "causal", plans=small)
    yield Case(2, 16, 8192, 8192, 128, "causal")
    yield Case(4, 32, 4096, 4096, 128, "causal", key_heads=8)
    yield Case(
        2,
        16,
        4096,
        4096,
        256,
        plans=((2, 80, 2, 0, 0), (2, 80, 2, 132, 0), (2, 64, 2, 132, 64)),
    )
    yield Case(2, 16, 4096, 4096, 80)
    yield Case(3, 5, 1000, 1555, 96)
    yield Case(3, 7, 777, 777, 128, "causal")
    yield Case(4, 16, 1024, 1024, 64, "mask")
    yield Case(1, 8, 2264, 2264, 40, "mask")
    yield Case(4, 32, 4096, 4096, 128, "plain")
    # A token at a time, or a few, beside what was said before.
    yield Case(1, 32, 1, 4096, 128)
    yield Case(1, 32, 1, 4096, 128, key_heads=8)
    yield Case(1, 32, 1, 32768, 128, key_heads=8)
    yield Case(8, 32, 1, 8191, 128, key_heads=8)
    yield Case(64, 32, 1, 4096, 128, key_heads=8)
    yield Case(1, 32, 1, 16384, 64, key_heads=1)
    yield Case(2, 32, 5, 10001, 128, key_heads=8)
    yield Case(1, 12, 1, 1024, 64)
    yield Case(1, 8, 512, 16384, 128)


#: Head sizes of random cases, and how many bytes and operations those have at most.
RANDOM_FEATURES = (32, 40, 64, 72, 80, 96, 112, 128, 160, 192, 256)
RANDOM_BYTES = 1 << 30
RANDOM_OPERATIONS = 1e12


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Shapes that nobody chose: few queries or as many as keys, heads that share keys.

    Sizes are drawn evenly by their logarithm.
    """
    drawn = random.Random(seed)

    def size(low: int, high: int) -> int:
        return round(math.exp(drawn.uniform(math.log(low), math.log(high))))

    found = 0
    while found < count:
        keys, key_heads = size(16, 40000), drawn.choice((1, 2, 3, 4, 8, 12, 16))
        shared = drawn.choice((1, 1, 1, 2, 4, 8))
        few, same = size(1, 64), drawn.random() < 0.5
        queries = drawn.choice((few, keys if same else size(16, 16000)))
        case = Case(
            size(1, 64),
            key_heads * shared,
            queries,
            keys,
            drawn.choice(RANDOM_FEATURES),
            drawn.choice(("full", "full", "causal", "mask")),
            drawn.choice(("bfloat16", "float16")),
            key_heads if shared > 1 else 0,
        )
        elements = sum(math.prod(shape) for shape in case.shapes)
        if 2 * elements < RANDOM_BYTES and case.operations < RANDOM_OPERATIONS:
            found += 1
            yield case


# --- one process that measures -------------------------------------------------------


@dataclass
class Prepared:
    """A case as one loaded program."""

    plan: str
    executable: Any
    inputs: list[int]
    scalars: Any

    def launch(self, operands: list[Any], result: Any) -> None:
        addresses = [operands[number].data_ptr() for number in self.inputs]
        addresses.append(result.data_ptr())
        count = self.executable.facts.scalars
        addresses += [self.scalars.ctypes.data + 8 * slot for slot in range(count)]
        self.executable.launch(addresses)


def prepare(case: Case, device: Any, sizes: tuple[int, ...] | None) -> Prepared:
    """Plan, emit, assemble and load; ``sizes`` are those of a plan."""
    import tetragrad
    from tetragrad.core.settings import settings
    from tetragrad.engine.pipeline import kernels_of
    from tetragrad.engine.realize import scalar_cells, without_markers
    from tetragrad.graph.leaves import Buffer
    from tetragrad.tile.plans.build import Plan, build
    from tetragrad.tile.plans.choose import choose_plan
    from tetragrad.tile.plans.roles.online_roles import OnlineRolePlan

    dtypes = [case.dtype] * 3 + ["bool"]
    leaves = [
        Buffer(object(), shape, getattr(tetragrad, dtype), "cuda")
        for shape, dtype in zip(case.shapes, dtypes, strict=False)
    ]
    tensors = [tetragrad.Tensor.from_node(leaf) for leaf in leaves]
    result = case.our_result(*tensors)
    _, kernels = kernels_of(without_markers([result.node]), device.target, settings())
    (entry,) = kernels
    plan = choose_plan(entry.kernel, device.target, settings())
    if sizes is not None:
        plan = Plan((), ((OnlineRolePlan(*sizes),),))
    program = build(entry.kernel, plan, device.target)
    code = device.assemble(device.emit(program, settings()), program)
    inputs = [leaves.index(node) for node in entry.inputs]
    return Prepared(shown(plan), device.load(code), inputs, scalar_cells(entry.scalars))


def shown(plan: Any) -> str:
    """The sizes of the pass that does most; in which parts, if it is divided."""
    grid = plan.stages[0][0]
    if not hasattr(grid, "keys"):
        return type(grid).__name__
    parts = "".join(f", parts of {cut.length}" for cut in plan.cuts)
    return (
        f"{grid.members}x64 by {grid.keys}, {grid.stages} stages, "
        f"{grid.workers} workers, by {grid.piece}{parts}"
    )


@dataclass
class Data:
    """Operands and a result on the device, as PyTorch's tensors."""

    case: Case
    operands: list[Any] = field(default_factory=list)
    result: Any = None

    def __post_init__(self) -> None:
        import torch

        dtype = getattr(torch, self.case.dtype)
        for shape in self.case.shapes[:3]:
            self.operands.append(torch.randn(shape, device="cuda").to(dtype))
        for shape in self.case.shapes[3:]:
            mask = torch.rand(shape, device="cuda") < 0.7
            # Every query sees some key.
            mask[:, 0] = True
            self.operands.append(mask)
        self.result = torch.empty(self.case.shapes[0], device="cuda", dtype=dtype)

    def options(self) -> dict[str, Any]:
        """What PyTorch's function is asked for."""
        found: dict[str, Any] = {"is_causal": self.case.way == "causal"}
        if self.case.key_heads:
            found["enable_gqa"] = True
        if self.case.way == "mask":
            found["attn_mask"] = self.operands[3]
        return found

    def exact(self, batch: int, head: int) -> Any:
        """One head in float64."""
        import torch

        case = self.case
        shared = case.heads // (case.key_heads or case.heads)
        query = self.operands[0][batch, head].double()
        key, value = (
            entry[batch, head // shared].double() for entry in self.operands[1:3]
        )
        options = {"is_causal": case.way == "causal"}
        if case.way == "mask":
            options["attn_mask"] = self.operands[3]
        return torch.nn.functional.scaled_dot_product_attention(
            query[None], key[None], value[None], **options
        )[0]

    def error(self, found: Any) -> float:
        """The relative error of a few heads."""
        difference, norm = 0.0, 0.0
        places = self.case.batch * self.case.heads
        step = max(1, (places - 1) // (HEADS_CHECKED - 1))
        for place in range(0, places, step):
            batch, head = divmod(place, self.case.heads)
            exact = self.exact(batch, head)
            difference += float((found[batch, head].double() - exact).norm()) ** 2
            norm += float(exact.norm()) ** 2
        return float((difference / norm) ** 0.5)


def peers(sets: list[Data]) -> dict[str, Callable[[], Any]]:
    """PyTorch's ways that can do a case, for all sets of operands."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    function = torch.nn.functional.scaled_dot_product_attention

    def run_all() -> Any:
        return [function(*data.operands[:3], **data.options()) for data in sets]

    def way(*backends: Any) -> Callable[[], Any]:
        def run() -> Any:
            with sdpa_kernel(list(backends)):
                return run_all()

        return run

    ways = {
        "cudnn": way(SDPBackend.CUDNN_ATTENTION),
        "flash": way(SDPBackend.FLASH_ATTENTION),
        "own choice": run_all,
    }
    found = {}
    for name, run in ways.items():
        try:
            run()
            torch.cuda.synchronize()
            found[name] = run
        except RuntimeError:
            continue
    return found


def sets_of(case: Case) -> list[Data]:
    """Operands, several times if a cache would hold them from one run to the next."""
    nbytes = 2 * sum(math.prod(shape) for shape in case.shapes)
    count = min(MOST_SETS, -(-CACHE_BYTES // nbytes))
    return [Data(case) for _ in range(count)]


def measure_case(case: Case, device: Any, *, plans: bool) -> Iterator[dict[str, Any]]:
    """Every plan of a case, timed in turns with PyTorch's fastest way."""
    import torch

    from benchmarks.h200_timing import graph_timer, torch_timer

    sets = sets_of(case)
    ways = peers(sets)
    theirs = {name: torch_timer(run) for name, run in ways.items()}
    quick = {name: min(timer() for _ in range(3)) for name, timer in theirs.items()}
    peer = min(quick, key=lambda name: quick[name])
    data, reference = sets[0], ways[peer]()[0]
    their_error = data.error(reference)
    for sizes in (None, *(case.plans if plans else ())):
        ready = prepare(case, device, sizes)
        data.result.fill_(float("nan"))
        torch.cuda.synchronize()
        ready.launch(data.operands, data.result)
        device.synchronize()
        error = data.error(data.result)
        apart = float((data.result.float() - reference.float()).norm())
        apart /= float(reference.float().norm())

        def record(ready: Prepared = ready) -> None:
            for each in sets:
                ready.launch(each.operands, each.result)

        times = in_turns(graph_timer(record, device), theirs[peer])
        medians = [statistics.median(entry) for entry in times]
        ours, best = (median / len(sets) for median in medians)
        ratios = sorted(b / a for a, b in zip(*times, strict=True))
        yield {
            "case": case.name,
            "plan": ready.plan,
            "microseconds": ours * 1e6,
            "torch": best * 1e6,
            "peer": peer,
            "ratio": best / ours,
            "ratios": [ratios[0], ratios[-1]],
            "teraflops": case.operations / ours / 1e12,
            "sets": len(sets),
            "error": error,
            "torch_error": their_error,
            "apart": apart,
        }


def in_turns(
    ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Seconds of each, measured one after the other several times."""
    once = max(ours(), theirs(), 1e-6)
    rounds = max(1, min(20, int(SECONDS / once)))
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for timer, times in zip((ours, theirs), found, strict=True):
            # The first replay of a turn finds the caches as the other left them.
            timer()
            times.append(statistics.fmean(timer() for _ in range(rounds)))
    return found


def child(everything: list[Case], numbers: list[int], *, plans: bool) -> None:
    """Measure some cases; a line of JSON for each row, and one when it is done."""
    import torch

    from tetragrad.backends.cuda.device import CudaDevice
    from tetragrad.core.settings import override

    torch.manual_seed(time.time_ns())
    device = CudaDevice("cuda")
    with override(device="cuda"):
        for number in numbers:
            case = everything[number]
            try:
                for row in measure_case(case, device, plans=plans):
                    say({"number": number, "row": row})
            except Exception as problem:
                text = f"{case.name}: {type(problem).__name__}: {problem}"
                say({"number": number, "problem": text[:600]})
            say({"number": number, "done": True})
            torch.cuda.empty_cache()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


# --- the process that watches --------------------------------------------------------


def line(row: dict[str, Any]) -> str:
    low, high = row["ratios"]
    return (
        f"{row['case']:<42} {row['plan']:<32} {row['microseconds']:9.1f} us "
        f"{row['teraflops']:6.1f} TFLOP/s  {row['torch']:9.1f} {row['peer']:<10} "
        f"{row['ratio']:5.3f} ({low:.3f} to {high:.3f})  "
        f"{row['error']:.1e} {row['torch_error']:.1e} {row['apart']:.1e}"
    )


def watched(command: list[str], numbers: list[int]) -> Iterator[dict[str, Any]]:
    """The messages of children that are told which cases are theirs.

    One that says nothing for long is ended, and its case left out.
    """
    waiting = list(numbers)
    while waiting:
        theirs = ["--child", ",".join(map(str, waiting))]
        process = subprocess.Popen(
            [sys.executable, *command, *theirs], stdout=subprocess.PIPE, text=True
        )
        lines: queue.Queue[str] = queue.Queue()

        def read(process: Any = process, lines: queue.Queue[str] = lines) -> None:
            for text in process.stdout:
                lines.put(text)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        while waiting:
            try:
                text = lines.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                text = ""
            if not text:
                yield {"problem": f"case {waiting.pop(0)} ended its process"}
                break
            if text.startswith("{"):
                message = json.loads(text)
                if message.get("done"):
                    waiting.remove(message["number"])
                yield message
            else:
                print(text, end="", flush=True)
        process.kill()
        process.wait()


def main() -> None:
    from benchmarks.h200_timing import write_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--plans", action="store_true")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", default="")
    arguments = parser.parse_args()
    drawn, seed = arguments.random, arguments.seed
    everything = list(random_cases(drawn, seed) if drawn else cases())
    if arguments.child:
        numbers = [int(number) for number in arguments.child.split(",")]
        child(everything, numbers, plans=arguments.plans)
        os._exit(0)
    chosen = [n for n, case in enumerate(everything) if arguments.only in case.name]
    command = [__file__, "--random", str(drawn), "--seed", str(seed)]
    results = []
    for message in watched(command + ["--plans"] * arguments.plans, chosen):
        if "row" in message:
            results.append(message["row"])
            print(line(message["row"]), flush=True)
        elif "problem" in message:
            print(message["problem"], flush=True)
        write_rows(arguments.output, results)


if __name__ == "__main__":
    main()
