"""What a replay on a GPU may write where an input lies; none of this needs a GPU."""

from __future__ import annotations

import json

import pytest

from tests.backends.cuda_programs import planned
from tetragrad import Tensor
from tetragrad.backends.cuda.programs import (
    CudaPieces,
    CudaProgram,
    facts_from,
    facts_text,
    target_text,
)
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.tile.ir import Program

TARGETS = [SM_80, SM_90A]


def pairs_of(program: Program, target: Target) -> tuple[tuple[int, int], ...]:
    text = target_text(program, target, settings())
    facts = facts_from(json.loads(json.dumps(facts_text(text, program))))
    return facts.in_place


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.architecture)
def test_updates_of_each_element(target: Target) -> None:
    weight, gradient = Tensor.ones(300, 70).realize(), Tensor.ones(300, 70).realize()
    ((_, program),) = planned([(weight - gradient * 0.1).node], target)
    assert pairs_of(program, target) == ((2, 0), (2, 1))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.architecture)
def test_a_row_of_a_cache(target: Target) -> None:
    cache = Tensor.zeros(4, 64, 16).realize()
    cache[:, 5] = Tensor.ones(4, 16).realize()
    ((kernel, program),) = planned([cache.node], target)
    slots = [slot.numel for slot in kernel.slots]
    assert (len(slots) - 1, slots.index(4096)) in pairs_of(program, target)


def test_not_where_others_read_it() -> None:
    rows = Tensor.ones(64, 1000).realize()
    ((_, program),) = planned([rows.flip(1).node], SM_90A)
    assert pairs_of(program, SM_90A) == ()


def test_the_buffers_of_every_member_of_a_launch_over_pieces() -> None:
    program = object.__new__(CudaProgram)
    program.facts = facts_from(
        '{"name": "p", "slots": 3, "scalars": 1, "launches": [], "scratch_bytes": [],'
        ' "in_place": [[2, 0]]}'
    )
    pieces = object.__new__(CudaPieces)
    pieces._program, pieces._steps, pieces._counts = program, (4, 4, 4), (10, 20)
    assert pieces.in_place == ((2, 0), (5, 3))
