"""Run what is pending: turn nodes into buffers.

``realize`` is the one way from the graph to memory. It removes markers, looks up or
compiles the schedule of the graph's structure, allocates, and launches.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tetragrad.backends.backend import Device, open_device
from tetragrad.core import dtypes
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.core.settings import Settings, override, settings
from tetragrad.engine import capture, kept, varying
from tetragrad.engine.held import (
    kinds_computed_again,
    note_what_is_computed_again,
    note_what_is_left_out,
    within_reach,
    worth_storing,
)
from tetragrad.engine.leaf_joins import joins_in_memory
from tetragrad.engine.plain import is_made_here, plain_graph
from tetragrad.engine.schedule import Argument, Launch, Schedule, Source
from tetragrad.engine.seen import (
    Outline,
    Ran,
    Seen,
    described,
    forget_seen,
    outline_of,
    remember,
    seen_before,
)
from tetragrad.engine.structure import Structure, results_of, structure_of
from tetragrad.engine.varying import General, general_schedule
from tetragrad.graph.extents import NO_EXTENTS, Extents, has_symbols, layout_shape
from tetragrad.graph.host_call import Call, HostCall
from tetragrad.graph.leaves import Buffer, LaunchValue
from tetragrad.graph.markers import InRange
from tetragrad.graph.node import Node, walk
from tetragrad.graph.transfer import Transfer

#: What has run: node -> the buffer with its value, for as long as the node lives.
_realized: WeakKeyDictionary[Node, Buffer] = WeakKeyDictionary()

#: Schedules by graph structure, device and settings; the oldest is forgotten.
_schedules: dict[Hashable, Schedule] = {}
MAXIMUM_SCHEDULES = 512
#: Nodes of graphs whose schedules may be on disk.
WORTH_LOOKING = 64

#: Worst elements of indices on devices that nobody has waited for since.
_unchecked: dict[Buffer, InRange] = {}

_devices: dict[str, Device] = {}
_lock = threading.RLock()


def known_values() -> WeakKeyDictionary[Node, Buffer]:
    """What has run, as this thread may use it: a recorder starts from nothing."""
    recorder = capture.active()
    return _realized if recorder is None else recorder.realized


def remembered() -> WeakKeyDictionary[Node, Buffer]:
    """What has run, for a recorder that gives up."""
    return _realized


def realize(nodes: Sequence[Node], held: Sequence[Node] = ()) -> list[Buffer]:
    """Compute the values of nodes, all together, and give their buffers.

    What is stored on the way is remembered for those nodes that somebody holds, and
    of these some are stored for that alone: they need not be computed again.
    """
    with _lock, capture.unobserved():
        realized = known_values()
        # A constant is never stored: graphs do not differ in which are held.
        held = [node for node in held if node.device is not None]

        def is_known(node: Node) -> bool:
            return node.device is not None and node in realized

        order = walk(nodes, stop=is_known)
        nearby = within_reach(order, held, is_known)
        if nearby:
            order = walk([*nodes, *nearby], stop=is_known)
        # A recorder wants what is computed: a replay may have other pieces.
        asked = [*nodes, *nearby]
        if capture.active() is None and not has_symbols(asked):
            joins = joins_in_memory(order, realized, device)
            if joins:
                realized.update(joins)
                order = walk(asked, stop=is_known)
        if held:
            note_what_is_computed_again(order)
        outline = _outline(order, asked, held)
        seen = None if outline is None else seen_before(outline)
        if outline is not None and seen is not None:
            buffers = _run_seen(outline, seen)
        else:
            buffers = _run_new(asked, held, outline)
        for node, buffer in zip(asked, buffers, strict=True):
            if node is not buffer:
                realized[node] = buffer
        return buffers[: len(nodes)]


def _outline(
    order: Sequence[Node], asked: Sequence[Node], held: Sequence[Node]
) -> Outline | None:
    """The outline of a graph, if what ran before may be done again for it."""
    if capture.active() is not None or has_symbols(asked):
        return None
    active = settings()
    state = active.device, active.code_key(), kinds_computed_again()
    return outline_of(order, asked, held, known_values(), state)


def _run_seen(outline: Outline, seen: Seen) -> list[Buffer]:
    """Run again what an outline has led to before."""
    realized = known_values()
    results: list[Buffer] = []
    if seen.schedule is not None:
        leaves = [outline.leaves[place] for place in seen.leaves]
        constants = [outline.constants[place] for place in seen.constants]
        results = run(seen.schedule, leaves, constants, seen.device)
    values = [*results, *reversed(outline.leaves)]
    for index, place in zip(outline.checks, seen.checks, strict=True):
        check_indices([(index, values[place])])
    for node, stored in zip(outline.held, seen.held, strict=True):
        if stored is None:
            note_what_is_left_out([node])
        elif stored >= 0:
            realized[node] = results[stored]
    return [values[place] for place in seen.asked]


def _run_new(
    asked: Sequence[Node], held: Sequence[Node], outline: Outline | None
) -> list[Buffer]:
    """Run a graph for the first time; what it leads to is remembered by its outline."""
    realized = known_values()
    _run_boundaries(asked)
    plain, inner, checks = plain_graph(asked, held, realized)
    stored = worth_storing(inner)
    # What says whether indices are in range comes first: until then a replay may
    # write nothing in place.
    runs = _run_all(results_of([*checks, *plain, *stored]), list(inner))
    for worst, indices in checks.items():
        _check(indices, worst if isinstance(worst, Buffer) else realized[worst])
    for node, holders in inner.items():
        for holder in holders if node in realized else ():
            realized[holder] = realized[node]
        if node not in realized:
            note_what_is_left_out(holders)
    if outline is not None:
        became = {holder: node for node, holders in inner.items() for holder in holders}
        worsts = {index: node for node, indices in checks.items() for index in indices}
        seen = described(outline, runs, plain, became, worsts)
        if seen is not None:
            remember(outline, seen)
    return [entry if isinstance(entry, Buffer) else realized[entry] for entry in plain]


def _check(indices: list[InRange], worst: Buffer) -> None:
    """Raise if an index was out of range, which reads as zero; replays do the same."""
    recorder = capture.active()
    if recorder is not None:
        recorder.checks += [(index, worst) for index in indices]
    check_indices([(index, worst) for index in indices])


def check_indices(checks: Sequence[tuple[InRange, Buffer]]) -> None:
    """Raise IndexingError for the first index that was out of range.

    Waiting for a device whose memory is its own would cost more than the check: what
    ran there is checked when the host next reads from it.
    """
    for index, worst in checks:
        if device(worst.buffer_device).has_host_memory:
            index.check(_number(worst))
        else:
            _unchecked[worst] = index


def _number(scalar: Buffer) -> int:
    where = device(scalar.buffer_device)
    return int(where.copy_out(scalar.memory, (), scalar.dtype))


def _check_all() -> None:
    while _unchecked:
        worst, index = _unchecked.popitem()
        index.check(_number(worst))


def _run_boundaries(nodes: Sequence[Node]) -> None:
    """Copy what other devices hold, and call what the host computes.

    What must be computed before runs first, as a schedule of its own.
    """
    realized = known_values()
    for node in walk(nodes, stop=realized.__contains__):
        if isinstance(node, Transfer) and node.source.device is None:
            if not is_made_here(node) and node not in realized:
                # What needs no memory is computed where it is wanted, not moved there.
                with override(device=node.target):
                    (realized[node],) = realize([node.source])
        elif isinstance(node, Transfer):
            (source,) = realize([node.source])
            realized[node] = from_array(read_buffer(source), node.target)
        elif isinstance(node, HostCall) and node not in realized:
            call_host(Call.of(node))


def call_host(call: Call) -> None:
    """Run a host function, and keep all of its outputs."""
    recorder = capture.active()
    inputs = realize(call.inputs)
    with capture.unobserved(), capture.recording(None):
        elements = [read_buffer(buffer) for buffer in inputs]
        results = [from_array(array, call.home) for array in call.compute(elements)]
    known_values().update(zip(call.nodes(), results, strict=True))
    if recorder is not None:
        # Imported with the first: most captured functions have none.
        from tetragrad.engine.host_launch import host_run

        recorder.runs.append(host_run(call, inputs, results, device(call.home)))


def without_markers(nodes: Sequence[Node]) -> list[Node]:
    """The graph without markers, and with buffers for what has already run."""
    return plain_graph(nodes, (), known_values())[0]


def _run_all(
    pending: list[Node], held: list[Node], extents: Extents = NO_EXTENTS
) -> list[Ran]:
    """Run the pending values of each device together."""
    default = settings().device
    by_device: dict[str, list[Node]] = {}
    for node in pending:
        by_device.setdefault(node.device or default, []).append(node)
    runs = []
    for name, nodes in by_device.items():
        if has_symbols(nodes):
            _run_symbolic(nodes)
            continue
        structure = structure_of(nodes, held, extents)
        buffers, kept, schedule = _run_structure(nodes, structure, name)
        results = (*nodes, *[structure.held[position] for position in kept])
        known_values().update(zip(results, buffers, strict=True))
        leaves, constants = structure.buffers, structure.constants
        runs.append(Ran(schedule, name, leaves, constants, results))
    return runs


def _run_structure(
    nodes: list[Node], structure: Structure, name: str
) -> tuple[list[Buffer], tuple[int, ...], Schedule | None]:
    """The results, then those of the held values at the positions that come with them.

    A graph that differs from earlier ones only in where slices begin, in integers, or
    in sizes, runs as the one that serves all of them; else its schedule comes, too.
    """
    on, active = device(name), settings()
    key = _schedule_key(structure, on, active)
    if key not in _schedules and capture.active() is None:
        general = general_schedule(nodes, structure, on, active, _new_schedule)
        if general is not None:
            buffers = _run_general(general, structure, name)
            return buffers, general.schedule.kept, None
        grown = _run_grown(nodes, structure, name)
        if grown is not None:
            return grown, (), None
    schedule = schedule_for(nodes, structure, on, active)
    buffers = run(schedule, structure.buffers, structure.constants, name)
    note_run(schedule, structure, buffers, name)
    return buffers, schedule.kept, schedule


def _run_general(general: General, structure: Structure, name: str) -> list[Buffer]:
    """Run the schedule of all graphs of an outline for one of them."""
    on = device(name)
    variants = varying.arguments(structure, general.positions, on)
    leaves = [*structure.buffers, *variants]
    results = run(general.schedule, leaves, structure.constants, name)
    outputs = [
        varying.copy(variants[place], on) if is_slice else results[place]
        for is_slice, place in general.outputs
    ]
    return outputs + results[general.computed :]


def _run_grown(
    nodes: Sequence[Node], structure: Structure, name: str
) -> list[Buffer] | None:
    """Run the schedule of all graphs of a family for one of them, if there is one."""
    # Imported with the first graph that is new here, as the compiler is.
    from tetragrad.engine import growing

    on = device(name)
    found = growing.grown_schedule(nodes, structure, on, settings(), _new_schedule)
    if found is None:
        return None
    grown, values = found
    leaves, constants = growing.arguments(grown, values, nodes, structure, on)
    try:
        results = run(grown.schedule, leaves, constants, name)
    except OutOfMemoryError:
        return None  # It is laid out for larger sizes than this.
    return growing.outputs(grown, results, nodes, on)


def _run_symbolic(nodes: list[Node]) -> None:
    """Run a graph with symbolic sizes as the one that serves all of their values."""
    from tetragrad.graph.symbolic import general_form

    general = general_form(nodes)
    if general.reason:
        message = f"{capture.user_line()}: compiled for this value of a size only"
        warnings.warn(f"{message}: {general.reason}", stacklevel=2)
    _run_all(results_of(general.nodes), [], general.extents)
    for node, computed in zip(nodes, general.nodes, strict=True):
        shape = computed.shape if general.reason else node.shape
        buffer = computed if isinstance(computed, Buffer) else known_values()[computed]
        known_values()[node] = Buffer(
            buffer.memory, shape, buffer.dtype, buffer.buffer_device
        )


def note_run(
    schedule: Schedule, structure: Structure, results: list[Buffer], name: str
) -> None:
    """Tell the recorder of this thread, if there is one, what has run."""
    recorder = capture.active()
    if recorder is not None:
        leaves, constants = structure.buffers, structure.constants
        run = capture.Run(schedule, leaves, constants, tuple(results), name)
        recorder.runs.append(run)


def schedule_for(
    nodes: Sequence[Node], structure: Structure, on: Device, active: Settings
) -> Schedule:
    """The schedule of a graph, compiled if its structure is new."""
    key = _schedule_key(structure, on, active)
    found = _schedules.get(key)
    if found is None:
        found = _new_schedule(nodes, structure, on, active)
        _schedules[key] = found
        if len(_schedules) > MAXIMUM_SCHEDULES:
            del _schedules[next(iter(_schedules))]
    return found


def forget_schedules() -> None:
    """Forget what was compiled for which graph: for tests."""
    from tetragrad.engine import growing

    _schedules.clear()
    growing.forget()
    forget_seen()


def _schedule_key(structure: Structure, on: Device, active: Settings) -> Hashable:
    return structure.key, structure.values, on.name, active.code_key()


def _new_schedule(
    nodes: Sequence[Node], structure: Structure, on: Device, active: Settings
) -> Schedule:
    """The schedule of a graph that is new here: from disk, or compiled now."""
    # The compiler is imported when it is needed: importing stays light.
    if structure.nodes >= WORTH_LOOKING:
        from tetragrad.engine.stored_schedules import stored_schedule

        found = stored_schedule(structure, on, active)
        if found is not None:
            return found
    from tetragrad.engine.pipeline import compile_graph

    return compile_graph(nodes, structure, on, active)


def run(
    schedule: Schedule,
    leaves: Sequence[Buffer],
    constants: Sequence[LaunchValue],
    device_name: str,
) -> list[Buffer]:
    """Launch every kernel of a schedule; returns the buffers of its results."""
    on = device(device_name)
    check_fits(schedule, on)
    results = [on.allocate(result.nbytes) for result in schedule.results]
    arena = on.allocate(schedule.arena_bytes) if schedule.arena_bytes else None
    bases = {
        Source.LEAF: [leaf.memory.address for leaf in leaves],
        Source.OUTPUT: [memory.address for memory in results],
    }
    cells = scalar_cells(constants)
    calls: list[tuple[Launch, list[int]]] = []
    for launch in schedule.launches:
        addresses = [_address(entry, bases, arena) for entry in launch.arguments]
        addresses += [cells.ctypes.data + 8 * slot for slot in launch.scalars]
        calls.append((launch, addresses))
    kept.read_packed(schedule, leaves, calls, on, settings())
    _launch_all(calls, device_name)
    return [
        Buffer(memory, result.shape, result.dtype, device_name)
        for memory, result in zip(results, schedule.results, strict=True)
    ]


def check_fits(schedule: Schedule, on: Device) -> None:
    """Raise OutOfMemoryError, before anything is allocated, if it cannot fit."""
    if not schedule.results:
        return
    nbytes = schedule.arena_bytes + sum(result.nbytes for result in schedule.results)
    largest = max(schedule.results, key=lambda result: result.nbytes)
    on.check_fits(
        nbytes,
        f"{len(schedule.results)} results, the largest of shape {largest.shape} and "
        f"{largest.dtype}, and {schedule.arena_bytes:,} bytes of temporaries",
    )


def _address(argument: Argument, bases: dict[Source, list[int]], arena: Any) -> int:
    if argument.source is Source.ARENA:
        assert arena is not None
        return arena.address + argument.position + argument.offset
    return bases[argument.source][argument.position] + argument.offset


def _launch_all(calls: list[tuple[Launch, list[int]]], device_name: str) -> None:
    if settings().debug >= 2:
        from tetragrad.engine import profile

        profile.run_timed(device(device_name), calls)
        return
    for launch, addresses in calls:
        launch.executable.launch(addresses)


def scalar_cells(constants: Sequence[LaunchValue]) -> np.ndarray:
    """One 8-byte cell for each constant that is given at launch."""
    cells = np.zeros(max(len(constants), 1), np.uint64)
    for cell, constant in zip(
        cells.view(np.uint8).reshape(-1, 8), constants, strict=False
    ):
        cell[: len(constant.bits)] = np.frombuffer(constant.bits, np.uint8)
    return cells


def device(name: str) -> Device:
    """The opened device of that name."""
    found = _devices.get(name)
    if found is None:
        found = _devices[name] = open_device(name)
        found.keep_own_code(lambda make: _kept_own_code(found, make))
    return found


def _kept_own_code(on: Device, make: Callable[[], bytes]) -> bytes:
    """What all programs of a device share: from disk, or made now."""
    from tetragrad.engine.disk_cache import DiskCache

    cache = DiskCache(settings())
    key = cache.key_of_own_code(on.target)
    code = cache.read(key)
    if code is None:
        code = make()
        cache.write(key, code)
    return code


def read_buffer(buffer: Buffer) -> np.ndarray:
    """The elements of a buffer, sharing its memory; do not write to it."""
    capture.refuse_reading()
    _check_all()
    where = device(buffer.buffer_device)
    shape = layout_shape(buffer.shape)
    array = where.copy_out(buffer.memory, shape, buffer.dtype)
    if shape == buffer.shape:
        return array
    return array[tuple(slice(size) for size in buffer.shape)]


def from_array(array: np.ndarray, device_name: str) -> Buffer:
    """A new buffer with a copy of the array's elements."""
    dtype = dtypes.from_numpy(array.dtype)
    buffer = varying.uploaded(array, dtype, device(device_name))
    recorder = capture.active()
    if recorder is not None:
        recorder.host_data.append(buffer)
    return buffer
