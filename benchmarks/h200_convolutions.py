"""Check and time convolutions on the CUDA backend against cuDNN, channels last.

    python benchmarks/h200_convolutions.py --output results.json [--only weight]

Each shape of ResNet-50, three times: the result, the gradient of the input and that of
the weight. Both libraries read the same memory, in which channels are next to one
another, as a user has them with ``x.permute(0, 3, 1, 2)`` of an (n, h, w, c) tensor
here and with ``memory_format=torch.channels_last`` there. cuDNN tries its algorithms
first (``cudnn.benchmark``). Results are compared with float64; times are taken as in
h200_products.py. Some shapes are timed with channels first too. ``--variants`` also
times the plans that the model likes next best, ``--part 1/4`` runs a quarter of the
cases.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
from benchmarks.h200_products import ROTATED_BYTES, line, poison, shown, times_in_turns
from benchmarks.h200_timing import (
    Watchdog,
    graph_timer,
    relative_error,
    torch_timer,
    write_rows,
)
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import scalar_cells, without_markers
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan, build, cut_kernel
from tetragrad.tile.plans.choose import choose_plan, choose_stage
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.cuts import Cut
from tetragrad.tile.plans.products.contraction import hosted_contraction
from tetragrad.tile.plans.roles.choose_roles import role_plans

WHAT = ("result", "input", "weight")
#: How many other plans ``--variants`` times.
VARIANTS = 7
#: Channels, side, filters, side of a filter, stride: all that ResNet-50 has.
SHAPES = (
    (64, 56, 64, 1, 1),
    (64, 56, 64, 3, 1),
    (64, 56, 256, 1, 1),
    (256, 56, 64, 1, 1),
    (256, 56, 128, 1, 1),
    (128, 56, 128, 3, 2),
    (128, 28, 512, 1, 1),
    (256, 56, 512, 1, 2),
    (512, 28, 128, 1, 1),
    (128, 28, 128, 3, 1),
    (512, 28, 256, 1, 1),
    (256, 28, 256, 3, 2),
    (256, 14, 1024, 1, 1),
    (512, 28, 1024, 1, 2),
    (1024, 14, 256, 1, 1),
    (256, 14, 256, 3, 1),
    (1024, 14, 512, 1, 1),
    (512, 14, 512, 3, 2),
    (512, 7, 2048, 1, 1),
    (1024, 14, 2048, 1, 2),
    (2048, 7, 512, 1, 1),
    (512, 7, 512, 3, 1),
    (3, 224, 64, 7, 2),
    # The one that targets name.
    (256, 56, 256, 3, 1),
)
#: Those that are also timed with PyTorch's own layout, in which both must turn around.
FIRST = ((128, 28, 128, 3, 1), (256, 14, 256, 3, 1), (64, 56, 256, 1, 1))


@dataclass(frozen=True)
class Case:
    """One convolution, or one of its gradients."""

    what: str
    channels: int
    side: int
    filters: int
    taps: int
    stride: int
    batch: int = 64
    dtype: str = "bfloat16"
    channels_last: bool = True

    @property
    def name(self) -> str:
        sizes = f"{self.batch}x{self.channels}x{self.side}x{self.side}"
        taps = f"{self.filters}x{self.taps}x{self.taps}"
        first = "" if self.channels_last else " channels first"
        return f"{self.what} {sizes} * {taps} / {self.stride} {self.dtype}{first}"

    @property
    def padding(self) -> int:
        return self.taps // 2

    @property
    def places(self) -> int:
        """Lines of the result."""
        return (self.side + 2 * self.padding - self.taps) // self.stride + 1

    @property
    def operations(self) -> float:
        products = self.channels * self.taps**2 * self.filters
        return 2.0 * self.batch * self.places**2 * products

    def shapes(self) -> list[tuple[int, ...]]:
        """Image, weight and gradient of the result, as they lie in memory."""
        shapes = [
            (self.batch, self.side, self.side, self.channels),
            (self.filters, self.taps, self.taps, self.channels),
            (self.batch, self.places, self.places, self.filters),
        ]
        if self.channels_last:
            return shapes
        return [(count, last, *middle) for count, *middle, last in shapes]

    def viewed(self, stored: Any) -> Any:
        """What lies in memory as (n, c, h, w)."""
        return stored.permute(0, 3, 1, 2) if self.channels_last else stored

    def stored(self, viewed: Any) -> Any:
        """The other way round."""
        return viewed.permute(0, 2, 3, 1) if self.channels_last else viewed

    @property
    def result_shape(self) -> tuple[int, ...]:
        image, weight, gradient = self.shapes()
        return {"result": gradient, "input": image, "weight": weight}[self.what]

    def our_result(self, *stored: Any) -> Any:
        """What is asked for, as it is to lie in memory."""
        image, weight, gradient = map(self.viewed, stored)
        image, weight = image.requires_grad_(), weight.requires_grad_()
        y = image.conv2d(weight, stride=self.stride, padding=self.padding)
        if self.what == "result":
            return self.stored(y)
        y.backward(gradient)
        found = image.grad if self.what == "input" else weight.grad
        return self.stored(found)

    def their_result(self, *stored: Any) -> Any:
        image, weight, gradient = map(self.viewed, stored)
        stride, padding = [self.stride] * 2, [self.padding] * 2
        if self.what == "result":
            found = torch.conv2d(image, weight, None, stride, padding)
        else:
            wanted = [self.what == "input", self.what == "weight", False]
            gradients = torch.ops.aten.convolution_backward(
                gradient,
                image,
                weight,
                None,
                stride,
                padding,
                [1, 1],
                False,
                [0, 0],
                1,
                wanted,
            )
            found = gradients[WHAT.index(self.what) - 1]
        return self.stored(found)


def cases() -> Iterator[Case]:
    for shape, what in itertools.product(SHAPES, WHAT):
        yield Case(what, *shape)
    for what in WHAT:
        yield Case(what, 128, 28, 128, 3, 1, dtype="float16")
    for shape, what in itertools.product(FIRST, WHAT):
        yield Case(what, *shape, channels_last=False)


# --- our kernels ---------------------------------------------------------------------


@dataclass
class Step:
    """One loaded program; where each of its arguments is found."""

    plan: Plan
    executable: Any
    inputs: list[tuple[Any, int]]
    output: Any
    scalars: Any


@dataclass
class Ready:
    """All programs of a case, in order, with room for what is between them."""

    steps: list[Step]
    between: dict[Any, Any]

    def launch(self, leaves: list[Any], operands: list[Any], result: Any) -> None:
        found = dict(zip(leaves, operands, strict=True)) | self.between
        for step in self.steps:
            addresses = [
                found[node].data_ptr() + offset for node, offset in step.inputs
            ]
            last = step is self.steps[-1]
            addresses.append((result if last else found[step.output]).data_ptr())
            count = step.executable.facts.scalars
            addresses += [step.scalars.ctypes.data + 8 * slot for slot in range(count)]
            step.executable.launch(addresses)


@dataclass
class Lowered:
    """The kernels of a case and its leaves."""

    leaves: list[Any]
    entries: list[Any]


def lowered(case: Case, device: CudaDevice) -> Lowered:
    dtype = getattr(tetragrad, case.dtype)
    leaves = [Buffer(object(), shape, dtype, "cuda") for shape in case.shapes()]
    tensors = [tetragrad.Tensor.from_node(leaf) for leaf in leaves]
    node = case.our_result(*tensors).node
    _, entries = kernels_of(without_markers([node]), device.target, settings())
    return Lowered(leaves, list(entries))


def prepare(found: Lowered, device: CudaDevice, plans: list[Plan]) -> Ready:
    """Emit, assemble and load all kernels."""
    steps, between = [], {}
    for entry, plan in zip(found.entries, plans, strict=True):
        program = build(entry.kernel, plan, device.target)
        code = device.assemble(device.emit(program, settings()), program)
        inputs = [
            (node, offset * node.dtype.itemsize)
            for node, offset in zip(entry.inputs, entry.offsets, strict=True)
        ]
        (output,) = entry.outputs
        dtype = getattr(torch, str(output.dtype))
        between[output] = torch.empty(output.shape, device="cuda", dtype=dtype)
        scalars = scalar_cells(entry.scalars)
        steps.append(Step(plan, device.load(code), inputs, output, scalars))
    return Ready(steps, between)


def other_plans(
    found: Lowered, plans: list[Plan], device: CudaDevice
) -> Iterator[list[Plan]]:
    """The first kernel's next best plans, each with other blocks or other parts."""
    kernel = simplify_axes(found.entries[0].kernel)
    candidates = []
    for cuts in _cuts(kernel, plans[0]):
        *_, rest = pieces = cut_kernel(kernel, cuts)
        contraction = hosted_contraction(pieces[0], guarded=True)
        if contraction is None:
            continue
        last = () if not cuts else (choose_stage(rest, device.target),)
        for cycles, grid in role_plans(pieces[0], contraction, device.target):
            plan = Plan(cuts, ((grid,), *last))
            candidates.append((cycles * (1 + 0.02 * len(cuts)), plan))
    seen = {_blocks_of(plans[0])}
    for _, plan in sorted(candidates, key=lambda entry: entry[0]):
        if _blocks_of(plan) not in seen and len(seen) <= VARIANTS:
            seen.add(_blocks_of(plan))
            yield [plan, *plans[1:]]


def _cuts(kernel: Kernel, plan: Plan) -> Iterator[tuple[Cut, ...]]:
    """Other numbers of parts than a plan's, if it cuts the depth at all."""
    yield plan.cuts
    for cut in plan.cuts[:1]:
        if isinstance(cut, Cut) and cut.parts > 1:
            for parts in (cut.parts // 2, cut.parts * 2):
                yield () if parts == 1 else (replace(cut, parts=parts),)


def _blocks_of(plan: Plan) -> tuple[Any, ...]:
    names = ("swap", "rows", "columns", "cluster")
    sizes = (getattr(plan.stages[0][0], name, 0) for name in names)
    return (*sizes, *(getattr(cut, "parts", 0) for cut in plan.cuts))


# --- measuring -----------------------------------------------------------------------


@dataclass
class Data:
    """Sets of operands and results, the same for both libraries."""

    operands: list[list[Any]]
    results: list[Any]

    @classmethod
    def of(cls, case: Case) -> Data:
        dtype = getattr(torch, case.dtype)
        shapes = case.shapes()
        nbytes = 2 * sum(torch.Size(shape).numel() for shape in shapes)
        count = max(1, min(8, ROTATED_BYTES // nbytes))
        sets = [
            [torch.randn(shape, device="cuda").to(dtype) for shape in shapes]
            for _ in range(count)
        ]
        shape = case.result_shape
        return cls(sets, [torch.empty(shape, device="cuda", dtype=dtype) for _ in sets])


def exact_result(case: Case, data: Data) -> Any:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False):
        return case.their_result(*(entry.double() for entry in data.operands[0]))


def our_error(
    found: Lowered, ready: Ready, data: Data, exact: Any, device: CudaDevice
) -> float:
    """On a result that was poisoned before."""
    poison(data.results[0])
    torch.cuda.synchronize()
    ready.launch(found.leaves, data.operands[0], data.results[0])
    device.synchronize()
    return relative_error(data.results[0], exact)


def our_record(found: Lowered, ready: Ready, data: Data) -> Callable[[], None]:
    def record() -> None:
        for operands, result in zip(data.operands, data.results, strict=True):
            ready.launch(found.leaves, operands, result)

    return record


def measure_case(
    case: Case, device: CudaDevice, dog: Watchdog, *, variants: bool
) -> list[dict[str, Any]]:
    """A case, timed in turns with cuDNN."""
    data, found = Data.of(case), lowered(case, device)
    exact = exact_result(case, data)
    their_error = relative_error(case.their_result(*data.operands[0]), exact)
    plans = [
        choose_plan(entry.kernel, device.target, settings()) for entry in found.entries
    ]
    rows, timers, kept = [], [], []
    others = list(other_plans(found, plans, device)) if variants else []
    for chosen in (plans, *others):
        ready = prepare(found, device, chosen)
        # A recorded graph does not keep its code and buffers alive.
        kept.append(ready)
        error = our_error(found, ready, data, exact, device)
        names = " + ".join(shown(step.plan) for step in ready.steps)
        rows.append({"case": case.name, "plan": names, "error": error})
        timers.append(graph_timer(our_record(found, ready, data), device))
        dog.progress()

    def record() -> None:
        for operands in data.operands:
            case.their_result(*operands)

    timers.append(torch_timer(record))
    rows = times_in_turns(rows, timers, len(data.operands), dog)
    for row in rows:
        row["teraflops"] = case.operations / row["microseconds"] / 1e6
        row["torch_error"] = their_error
        print(line(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--variants", action="store_true")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    device, dog = CudaDevice("cuda"), Watchdog()
    results: list[dict[str, Any]] = []
    names = arguments.only.split(",")
    wanted = [case for case in cases() if any(name in case.name for name in names)]
    with override(device="cuda"):
        for case in wanted[part - 1 :: parts]:
            try:
                results += measure_case(case, device, dog, variants=arguments.variants)
            except Exception as problem:
                print(f"{case.name}: {type(problem).__name__}: {problem}"[:600])
                if "cu" in str(problem) and "gave" in str(problem):
                    break
            write_rows(arguments.output, results)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
