"""The compiler's table of contents: every stage, in order, by name.

Nothing else orders passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.backend import Device
from tetragrad.core.settings import Settings
from tetragrad.engine.assembly import executables
from tetragrad.engine.placement import place
from tetragrad.engine.schedule import Schedule
from tetragrad.engine.structure import Structure
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion import fuse
from tetragrad.kernel.lowering import lower


def compile_graph(
    outputs: Sequence[Node], structure: Structure, device: Device, settings: Settings
) -> Schedule:
    """Turn a graph without markers into launches, in the order to run them."""
    groups = fuse(outputs, device.target, join=settings.fuse)
    groups = [group for group in groups if group.roots[0].numel > 0]
    in_memory = {root for group in groups for root in group.roots}
    kernels = [lower(group.roots, in_memory) for group in groups]
    programs = executables([entry.kernel for entry in kernels], device, settings)
    return place(kernels, groups, programs, outputs, structure)
