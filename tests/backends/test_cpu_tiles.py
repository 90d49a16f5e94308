"""Products by whole tiles: assembled for processors that have such instructions, and
run here, where functions stand for the instructions that this processor lacks."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from llvmlite import binding

from tests.backends.test_cpu_dot_steps import BF16, random_integers, with_features
from tests.backends.test_cpu_products import TRANSPOSITIONS
from tests.tile.test_dot_steps import narrow_product
from tetragrad.backends.cpu import compiler, host
from tetragrad.backends.cpu.device import facts_of
from tetragrad.backends.cpu.emit.program import emit
from tetragrad.backends.cpu.target import make_target
from tetragrad.core import dtypes
from tetragrad.core.settings import Settings
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan

AMX = with_features(
    replace(BF16, name="sapphirerapids"), "+amx-tile", "+amx-int8", "+amx-bf16"
)
INTEGERS = [
    (dtypes.int8, dtypes.int8, "tdpbssd"),
    (dtypes.uint8, dtypes.int8, "tdpbusd"),
    (dtypes.int8, dtypes.uint8, "tdpbsud"),
    (dtypes.uint8, dtypes.uint8, "tdpbuud"),
]
SPELLINGS = [*INTEGERS, (dtypes.bfloat16, dtypes.bfloat16, "tdpbf16ps")]


def text_for(kernel: Kernel) -> tuple[str, object, object]:
    """The text for a processor with tiles, its program and the target."""
    target = replace(make_target(AMX), units=1)
    settings = Settings()
    program = build(kernel, choose_plan(kernel, target, settings), target)
    return emit(program, target, settings), program, target


@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
@pytest.mark.parametrize(("lhs", "rhs", "instruction"), SPELLINGS)
def test_instructions(lhs, rhs, instruction, transposed):
    """Two by two tiles of totals, which stay in registers along the depth."""
    total = dtypes.float32 if lhs.is_floating_point else dtypes.int32
    kernel = narrow_product((96, 96, 512), (lhs, rhs), total, transposed=transposed)
    text, _, _ = text_for(kernel)
    assert "gather" not in text
    lines = compiler.disassemble(text, AMX).splitlines()
    used = [line.split()[0] for line in lines if line.split()]
    assert used.count(instruction) == 4
    assert used.count("tileloadd") == 4 + 4 and used.count("tilestored") == 4
    assert used.count("ldtilecfg") == used.count("tilerelease") == 1
    # Every register is named: those of the totals, and two of each operand's.
    products = [line for line in lines if line.split()[:1] == [instruction]]
    named = [tuple(map(int, re.findall(r"%tmm(\d)", line))) for line in products]
    assert {entry[2] for entry in named} == {0, 1, 2, 3}
    assert {entry[1] for entry in named} == {4, 5}
    assert {entry[0] for entry in named} == {6, 7}


# --- the same, run -------------------------------------------------------------------


#: The instruction for operands that changed sides, where it is another one.
TURNED = {"tdpbusd": "tdpbsud", "tdpbsud": "tdpbusd"}


class Tiles:
    """Eight tile registers, and what the instructions do with them."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.tiles: list[np.ndarray] = []

    def ldtilecfg(self, place: int) -> None:
        data = bytes((ctypes.c_uint8 * 64).from_address(place))
        assert data[0] == 1 and not any(data[1:16])
        widths = np.frombuffer(data[16:32], np.uint16).tolist()
        self.shapes = list(zip(data[48:56], widths, strict=True))
        assert all(rows <= 16 and width <= 64 for rows, width in self.shapes)
        self.tiles = [np.zeros(shape, np.uint8) for shape in self.shapes]

    def tilerelease(self) -> None:
        self.tiles = []

    def tileloadd64(self, tile: int, place: int, step: int) -> None:
        rows, width = self.shapes[tile]
        for row in range(rows):
            source = (ctypes.c_uint8 * width).from_address(place + row * step)
            self.tiles[tile][row] = np.frombuffer(source, np.uint8)

    def tilestored64(self, tile: int, place: int, step: int) -> None:
        for row, values in enumerate(self.tiles[tile]):
            ctypes.memmove(place + row * step, values.tobytes(), len(values))

    def multiply(self, lhs: np.dtype, rhs: np.dtype, *tiles: int) -> None:
        total, first, second = (self.tiles[number] for number in tiles)
        group = 4 // lhs.itemsize
        wide = np.float32 if lhs.kind == "V" else np.int32
        left = first.view(lhs).astype(wide)
        right = second.view(rhs).astype(wide)
        groups = right.reshape(len(right), -1, group).transpose(0, 2, 1)
        total.view(wide)[...] += left @ groups.reshape(len(right) * group, -1)

    def symbols(self, lhs: np.dtype, rhs: np.dtype, name: str) -> dict[str, object]:
        """The functions by name, as native code can call them."""
        small, wide = ctypes.c_uint8, ctypes.c_int64

        def product(*tiles: int) -> None:
            self.multiply(lhs, rhs, *tiles)

        def turned(*tiles: int) -> None:
            self.multiply(rhs, lhs, *tiles)

        moved = (small, wide, wide)
        kinds = {
            "ldtilecfg": (self.ldtilecfg, (wide,)),
            "tilerelease": (self.tilerelease, ()),
            "tileloadd64": (self.tileloadd64, moved),
            "tilestored64": (self.tilestored64, moved),
            # The plan may let operands change sides, and signs with them.
            TURNED.get(name, name): (turned, (small, small, small)),
            name: (product, (small, small, small)),
        }
        return {
            f"emulated_{key}": ctypes.CFUNCTYPE(None, *arguments)(function)
            for key, (function, arguments) in kinds.items()
        }


def run(kernel: Kernel, name: str, *arrays: np.ndarray) -> None:
    """Run the text for tiles, with functions for the instructions."""
    text, program, target = text_for(kernel)
    names = "ldtilecfg|tilerelease|tileloadd64|tilestored64|tdp[a-z0-9]+"
    text = re.sub(rf"@llvm\.x86\.({names})\b", r"@emulated_\1", text)
    text = text.replace("i8 immarg", "i8")
    lhs, rhs = arrays[0].dtype, arrays[1].dtype
    functions = Tiles().symbols(lhs, rhs, name)
    addresses = {
        key: ctypes.cast(function, ctypes.c_void_p).value
        for key, function in functions.items()
    }
    facts = facts_of(program, target)
    module = compiler.load(compiler.assemble(text), addresses)
    scratch = [np.zeros(size + 64, np.uint8) for size in facts.scratch_bytes]
    cells = [array.ctypes.data for array in (*arrays, *scratch)]
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    arguments = np.array(cells, np.uint64)
    entry(module.address(facts.name))(None, arguments.ctypes.data)


SIZES = [(37, 70, 133), (5, 20, 64), (20, 9, 2309), (64, 96, 30)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
@pytest.mark.parametrize(("lhs", "rhs", "name"), INTEGERS)
def test_integers_are_exact(lhs, rhs, name, transposed, sizes):
    rows, columns, depth = sizes
    first = random_integers(lhs, (rows, depth))
    second = random_integers(rhs, (depth, columns))
    result = np.full((rows, columns), 7, np.int32)
    kernel = narrow_product(sizes, (lhs, rhs), transposed=transposed)
    run(kernel, name, *stored(transposed, first, second), result)
    wanted = first.astype(np.int64) @ second.astype(np.int64)
    np.testing.assert_array_equal(result, wanted.astype(np.int32))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
def test_bfloat16(transposed, sizes):
    rows, columns, depth = sizes
    random = np.random.default_rng(0)
    first = random.standard_normal((rows, depth)).astype(ml_dtypes.bfloat16)
    second = random.standard_normal((depth, columns)).astype(ml_dtypes.bfloat16)
    result = np.zeros((rows, columns), np.float32)
    kind = dtypes.bfloat16
    kernel = narrow_product(sizes, (kind, kind), dtypes.float32, transposed=transposed)
    run(kernel, "tdpbf16ps", *stored(transposed, first, second), result)
    wanted = first.astype(np.float64) @ second.astype(np.float64)
    np.testing.assert_allclose(result, wanted, atol=1e-3)


def stored(transposed: tuple[bool, bool], *arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays as they lie in memory."""
    return [
        np.ascontiguousarray(array.T if is_turned else array)
        for array, is_turned in zip(arrays, transposed, strict=True)
    ]


@pytest.mark.parametrize("allowed", [False, True])
def test_the_system_is_asked_for_tiles(monkeypatch, allowed):
    found = {"amx-tile": True, "amx-int8": True, "avx512f": True, "sse4a": False}
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: found)
    monkeypatch.setattr(host, "may_use_tiles", lambda: allowed)
    features = set(host.host.__wrapped__().features)
    assert ("+amx-tile" in features) is ("+amx-int8" in features) is allowed
    assert {"+avx512f", "-sse4a"} <= features
