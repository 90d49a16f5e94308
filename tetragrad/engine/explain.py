"""Show what becomes of a graph at every level, without running anything.

    graph      the nodes that are still to be computed
    kernels    which of them share a kernel, and why
    plan       the choices of tiles for each kernel
    tile       how the data moves
    text       what the backend's assembler receives
    launches   in which order, on which memory

Equal kernels are shown once. Target text is long, so that a general explanation shows
its beginning only; ``level="text"`` shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.errors import SettingError, UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings, settings
from tetragrad.engine import realize
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.placement import place
from tetragrad.engine.schedule import Argument, Schedule, Source
from tetragrad.engine.structure import results_of, structure_of
from tetragrad.graph.extents import NO_EXTENTS, has_symbols
from tetragrad.graph.host_call import HostCall
from tetragrad.graph.node import Node, walk
from tetragrad.graph.symbolic import general_form
from tetragrad.graph.text import graph_text
from tetragrad.graph.transfer import Transfer
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.lowering import Lowered
from tetragrad.kernel.naming import kernel_name
from tetragrad.kernel.text import kernel_text

LEVELS = ("graph", "kernel", "plan", "tile", "text", "launch")
#: Lines of target text in a general explanation.
SHORTENED = 12
_INDENT = "  "


@frozen
class KernelStory:
    """One kernel at the levels below the graph; code is "" for an interpreter."""

    name: str
    reasons: tuple[str, ...]
    kernel: str
    plan: str
    tile: str
    text: str
    equal_to: int | None = None


@frozen
class Explanation:
    """What becomes of a graph; printing it shows ``level``, or all levels if ""."""

    graph: str
    kernels: tuple[KernelStory, ...]
    launches: tuple[str, ...]
    memory: str
    level: str = ""
    complete: bool = False

    def __str__(self) -> str:
        return "\n".join(self._lines())

    # A notebook shows what is returned.
    __repr__ = __str__

    def _shows(self, level: str) -> bool:
        return self.level in ("", level)

    def _lines(self) -> Iterator[str]:
        if not self.kernels:
            yield "nothing to compute: every value is in memory"
            return
        if self._shows("graph"):
            yield "graph"
            yield from _indented(self.graph)
        for number, story in enumerate(self.kernels, 1):
            yield from self._kernel_lines(number, story)
        if self._shows("launch"):
            yield "launches"
            for number, launch in enumerate(self.launches, 1):
                yield f"{_INDENT}{number}. {launch}"
            yield f"{_INDENT}{self.memory}"

    def _kernel_lines(self, number: int, story: KernelStory) -> Iterator[str]:
        if self.level in ("graph", "launch"):
            return
        yield f"kernel {number} of {len(self.kernels)}: {story.name}"
        for reason in story.reasons:
            yield f"{_INDENT}because {reason}"
        if story.equal_to is not None:
            yield f"{_INDENT}the same code as kernel {story.equal_to}"
            return
        if self._shows("kernel"):
            yield from _indented(story.kernel)
        for level, content in (("plan", story.plan), ("tile", story.tile)):
            if self._shows(level) and content:
                yield f"{_INDENT}{level}"
                yield from _indented(content, 2)
        if self._shows("text") and story.text:
            yield from self._text_lines(story.text)

    def _text_lines(self, text: str) -> Iterator[str]:
        lines = text.splitlines()
        yield f"{_INDENT}text, {len(lines)} lines"
        is_whole = self.level or self.complete or len(lines) <= SHORTENED
        yield from _indented("\n".join(lines if is_whole else lines[:SHORTENED]), 2)
        if not is_whole:
            rest = len(lines) - SHORTENED
            yield f'{_INDENT * 2}… {rest} more lines; level="text" shows them'


def _indented(text: str, depth: int = 1) -> Iterator[str]:
    for line in text.splitlines():
        yield _INDENT * depth + line


def explain(nodes: Node | Sequence[Node], level: str = "") -> Explanation:
    """Every level that pending nodes go through; nothing is run.

    Args:
        nodes: the values asked for, together.
        level: one of graph, kernel, plan, tile, text and launch to see only that,
            "all" to see everything in full, or "" for all with target text shortened.
    """
    _check_level(level)
    wanted = [nodes] if isinstance(nodes, Node) else list(nodes)
    pending = results_of(realize.without_markers(wanted))
    if any(isinstance(node, Transfer | HostCall) for node in walk(pending)):
        raise UnsupportedError(
            "explaining a graph that copies a value from one device to another, or "
            "calls a function of the host",
            hint="realize that value first, then explain the rest",
        )
    names = {node.device for node in pending if node.device is not None}
    name = names.pop() if names else settings().device
    return explain_on(pending, realize.device(name), settings(), level)


def explain_on(
    pending: Sequence[Node], device: Device, active: Settings, level: str = ""
) -> Explanation:
    """The same for one device, which need not be of this machine."""
    _check_level(level)
    extents = NO_EXTENTS
    if has_symbols(pending):
        general = general_form(pending)
        pending, extents = general.nodes, general.extents
    groups, lowered = kernels_of(pending, device.target, active, extents)
    stories = _stories(groups, lowered, device, active)
    programs = [_NeverLoaded() for _ in lowered]
    schedule = place(
        lowered, groups, programs, pending, structure_of(pending, (), extents)
    )
    return Explanation(
        graph=graph_text(pending),
        kernels=tuple(stories),
        launches=tuple(_launch_lines(schedule)),
        memory=_memory_line(lowered, pending, schedule),
        level="" if level == "all" else level,
        complete=level == "all",
    )


def _check_level(level: str) -> None:
    if level not in ("", "all", *LEVELS):
        raise SettingError(
            f"explain has no level {level!r}",
            hint=f"use one of {', '.join(LEVELS)}, all",
        )


class _NeverLoaded(Executable):
    """Stands where code would be: explaining compiles no machine code."""

    __slots__ = ()

    def launch(self, addresses: Sequence[int]) -> None:
        raise AssertionError("an explained kernel was launched")


# --- kernels -----------------------------------------------------------------------


def _stories(
    groups: Sequence[Group],
    lowered: Sequence[Lowered],
    device: Device,
    active: Settings,
) -> Iterator[KernelStory]:
    first: dict[Kernel, int] = {}
    for number, (group, entry) in enumerate(zip(groups, lowered, strict=True), 1):
        kernel = entry.kernel
        name, reasons = kernel_name(kernel), tuple(group.reasons)
        if kernel in first:
            yield KernelStory(name, reasons, "", "", "", "", first[kernel])
            continue
        first[kernel] = number
        code = _code_of(kernel, device, active)
        yield KernelStory(name, reasons, kernel_text(kernel), *code)


def _code_of(kernel: Kernel, device: Device, active: Settings) -> tuple[str, str, str]:
    """Plan, tile program and target text."""
    if device.interpret(kernel) is not None:
        return "", "", ""
    from tetragrad.engine.assembly import compile_kernel, plan_name
    from tetragrad.tile.plans.candidates import plan_named
    from tetragrad.tile.text import program_text

    name = plan_name(kernel, device, active)
    plan = plan_named(name, kernel, device.target, active)
    program, text = compile_kernel(kernel, device, active, name)
    return _plan_text(plan), program_text(program), text


def _plan_text(plan: object) -> str:
    """A plan's dataclasses, a line each for the cuts and the stages."""
    cuts = [f"cut {cut}" for cut in getattr(plan, "cuts", ())]
    stages = [
        f"stage {number}: {grid}"
        for number, stage in enumerate(getattr(plan, "stages", ()), 1)
        for grid in stage
    ]
    return "\n".join([*cuts, *stages]) or str(plan)


# --- launches ----------------------------------------------------------------------


def _launch_lines(schedule: Schedule) -> Iterator[str]:
    for launch in schedule.launches:
        places = [_place_text(argument) for argument in launch.arguments]
        inputs, outputs = [], []
        # One launch over pieces has the slots of one member after those of another.
        slots = len(launch.kernel.slots)
        for start in range(0, len(places), slots):
            first_output = start + slots - len(launch.kernel.outputs)
            inputs += places[start:first_output]
            outputs += places[first_output : start + slots]
        inputs += [f"constant {slot}" for slot in launch.scalars]
        yield f"{launch.name}: {', '.join(inputs) or 'nothing'} -> {', '.join(outputs)}"


def _place_text(argument: Argument) -> str:
    match argument.source:
        case Source.LEAF:
            return f"b{argument.position}"
        case Source.OUTPUT:
            return f"result {argument.position}"
    return f"arena+{argument.position}"


def _memory_line(
    lowered: Sequence[Lowered], pending: Sequence[Node], schedule: Schedule
) -> str:
    results = set(results_of(pending))
    temporaries = {
        node for entry in lowered for node in entry.outputs if node not in results
    }
    together = sum(node.numel * node.dtype.itemsize for node in temporaries)
    stored = sum(result.nbytes for result in schedule.results)
    return (
        f"memory: {stored:,} bytes of results; an arena of {schedule.arena_bytes:,} "
        f"bytes (temporaries: {len(temporaries)}, side by side {together:,} bytes)"
    )
