"""The compiler's table of contents: every stage, in order, by name.

Nothing else orders passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.backend import Device
from tetragrad.core.collector import collector_paused
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.engine.joining import join, programs_of
from tetragrad.engine.placement import place
from tetragrad.engine.schedule import Schedule, watchers
from tetragrad.engine.stored_schedules import store_schedule
from tetragrad.engine.structure import Structure
from tetragrad.graph.extents import NO_EXTENTS, Extents
from tetragrad.graph.node import Node
from tetragrad.graph.samples import refuse_samples
from tetragrad.kernel.chains import join_chains
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.repeats import lower_groups
from tetragrad.kernel.layouts.choose import choose_layouts
from tetragrad.kernel.lowering import Lowered


@collector_paused()  # The many small objects of a compilation are no garbage yet.
def compile_graph(
    outputs: Sequence[Node], structure: Structure, device: Device, settings: Settings
) -> Schedule:
    """Turn a graph without markers into launches, in the order to run them."""
    refuse_samples(outputs)
    for watcher in watchers:
        watcher(outputs, device, settings)
    extents = structure.extents
    seen = (*outputs, *structure.held)
    groups, kernels = kernels_of(outputs, device.target, settings, extents, seen)
    if settings.graph:
        from tetragrad.engine.picture import draw

        draw(groups, kernels)
    groups, launches = join(groups, kernels, device, settings)
    programs = programs_of(launches, device, settings)
    schedule = place(launches, groups, programs, outputs, structure)
    store_schedule(schedule, launches, structure, device, settings)
    return schedule


def kernels_of(
    outputs: Sequence[Node],
    target: Target,
    settings: Settings,
    extents: Extents = NO_EXTENTS,
    seen: Sequence[Node] = (),
) -> tuple[list[Group], list[Lowered]]:
    """Fuse and lower a graph: the groups that compute something, and their kernels.

    What is ``seen`` besides the outputs is row-major too.
    """
    if settings.verify:
        # Imported where they run, as most programs start without them.
        from tetragrad.graph.verify import verify_graph

        verify_graph(outputs)
    groups = fuse(outputs, target, join=settings.fuse)
    groups = [group for group in groups if group.roots[0].numel > 0]
    kernels = lower_groups(groups, extents)
    layouts = choose_layouts(kernels, {*outputs, *seen}, target)
    if layouts:
        kernels = lower_groups(groups, extents, layouts, kernels)
    if settings.verify:
        from tetragrad.kernel.verify import verify_kernel

        for kernel in {entry.kernel for entry in kernels}:
            verify_kernel(kernel)
    return join_chains(groups, kernels, {*outputs, *seen}, target)
