"""The CPU emitter against the definitions of the ops, on random and special values."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from tetragrad.backends.cpu import compiler
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.device import CpuProgram, facts_of
from tetragrad.backends.cpu.emit.program import emit
from tetragrad.backends.cpu.target import host_target, make_target
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.settings import Settings
from tetragrad.graph import elementwise as op
from tetragrad.graph import reduce
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    anything,
    literal,
)
from tetragrad.kernel.ir import Mode, Slot
from tetragrad.kernel.substitution import substitute
from tetragrad.tile.ir import (
    Alloc,
    Copy,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Program,
    Role,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    When,
    row_major,
)

SETTINGS = Settings()
SSE2 = Processor("x86_64-unknown-linux-gnu", "x86-64")
AVX2 = Processor("x86_64-unknown-linux-gnu", "haswell", ("+avx2", "+fma", "+f16c"))
AVX512 = Processor(
    "x86_64-unknown-linux-gnu",
    "skylake-avx512",
    ("+avx512f", "+avx512bw", "+avx512dq", "+avx512vl", "+avx2", "+fma", "+f16c"),
)
NEON = Processor("aarch64-unknown-linux-gnu", "generic", ("+neon",))

f32, f64, i32, i64 = dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64


def make_program(
    slots: Sequence[tuple[DType, int]],
    body: Sequence[Statement],
    *,
    scalars: Sequence[DType] = (),
    scratch: Sequence[Tile] = (),
    axes: Sequence[tuple[int, int]] = (),
) -> Program:
    """A program whose statements run in one grid, if they are not grids already."""
    if not all(isinstance(statement, Grid) for statement in body):
        body = (Grid((), tuple(body)),)
    return Program(
        "program",
        tuple(Slot(dtype, numel) for dtype, numel in slots),
        tuple(scalars),
        tuple(scratch),
        tuple(body),
        axes=tuple(axes),
    )


def run(
    program: Program, *arrays: np.ndarray, processor: Processor | None = None
) -> None:
    """Emit, assemble and launch a program on buffers, then on scalars."""
    target = host_target() if processor is None else make_target(processor)
    code = compiler.assemble(emit(program, target, SETTINGS), processor)
    loaded = CpuProgram(facts_of(program, target), code)
    loaded.launch([entry.ctypes.data for entry in arrays])


def load(slot: int, address: Affine, dtype: DType = f32, guard: Guard = ()) -> Load:
    return Load(slot, address, guard, dtype)


def form(constant: int = 0, **parts: int) -> Affine:
    """``form(3, a0=16, a1=1)`` is 3 + 16·axis0 + axis1."""
    total = Affine(constant)
    for name, part in parts.items():
        total = total + axis_form(int(name[1:])).scale(part)
    return total


def alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal bits, but for the many encodings of NaN."""
    assert found.dtype == expected.dtype
    if dtypes.from_numpy(found.dtype).is_floating_point:
        with np.errstate(invalid="ignore"):
            both_nan = np.isnan(found) & np.isnan(expected)
        found, expected = found[~both_nan], expected[~both_nan]
    bits = np.dtype(f"u{found.dtype.itemsize}")
    differ = found.view(bits) != expected.view(bits)
    assert not differ.any(), (found[differ][:5], expected[differ][:5])


@functools.cache
def samples(dtype: DType, count: int, seed: int) -> np.ndarray:
    """Random values of every size, then the special ones."""
    rng = np.random.default_rng(seed)
    if dtype.is_bool:
        return rng.integers(0, 2, count).astype(np.bool_)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        values = rng.integers(limits.min, limits.max, count, dtype.numpy, endpoint=True)
        special = [0, 1, limits.max, limits.min, 2, 3, 7, dtype.bits, dtype.bits - 1]
        if dtype.is_signed:
            special += [-1, -2, -3, -7]
        chosen = np.asarray(special, dtype.numpy)
        small = rng.integers(0, 20, count).astype(dtype.numpy)
        values = np.where(rng.random(count) < 0.4, small, values)
    else:
        bits = (
            rng.integers(0, 1 << dtype.bits, count, np.uint64, endpoint=False)
            if (dtype.bits < 64)
            else rng.integers(0, 2**63, count, np.uint64) * 2
        )
        values = bits.astype(f"u{dtype.itemsize}").view(dtype.numpy)
        with np.errstate(all="ignore"):
            usual = (rng.standard_normal(count) * 4).astype(dtype.numpy)
            special = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, math.inf, -math.inf, math.nan]
            chosen = np.asarray(special).astype(dtype.numpy)
        values = np.where(rng.random(count) < 0.5, usual, values)
    places = rng.random(count) < 0.3
    return np.where(places, rng.choice(chosen, count), values).astype(dtype.numpy)


def seed_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


# --- ops -------------------------------------------------------------------------

REAL = tuple(dtype for dtype in dtypes.ALL if not dtype.is_complex)
REAL_ARITHMETIC = tuple(d for d in dtypes.ARITHMETIC if not d.is_complex)
EXACT_UNARY = (op.Neg, op.Not, op.Reciprocal, op.Sqrt, op.Floor, op.Trunc)
EXACT_BINARY = (
    op.Add, op.Sub, op.Mul, op.Div, op.IDiv, op.Mod, op.Maximum, op.Lt, op.Eq,
    op.And, op.Or, op.Xor, op.Shl, op.Shr,
)  # fmt: skip
COUNT = 991  # 30 strips of 32, and a tail of 16 + 8 + 4 + 2 + 1


def check_ops(
    cases: Sequence[tuple[type[op.Elementwise], DType, DType]],
    processor: Processor | None = None,
) -> None:
    """All cases (op, operand dtype, result dtype) as one program."""
    slots, body, arrays, expected = [], [], [], []
    for kind, dtype, result in cases:
        seed = seed_of(kind.__name__, dtype, result)
        arity = 2 if issubclass(kind, op.Binary) else 1
        values = [samples(dtype, COUNT, seed + place) for place in range(arity)]
        first = len(slots)
        loads = tuple(load(first + place, form(a0=1), dtype) for place in range(arity))
        slots += [(dtype, COUNT)] * arity + [(result, COUNT)]
        value = Compute(kind, result, loads)
        # Strips and a tail, so that every width of vector is met.
        body.append(strips(first + arity, value))
        with np.errstate(all="ignore"):
            expected.append(kind.apply(result, *values))
        arrays += [*values, np.zeros(COUNT, result.numpy)]
    program = make_program(slots, [entry for part in body for entry in part])
    run(program, *arrays, processor=processor)
    place = 0
    for (kind, _, _), wanted in zip(cases, expected, strict=True):
        place += 2 if issubclass(kind, op.Binary) else 1
        found = arrays[place]
        if kind is op.Maximum and found.dtype != np.bool_:
            # Which zero max(0, -0) is depends on NumPy's own dispatch.
            with np.errstate(invalid="ignore"):
                found, wanted = found + 0, wanted + 0
        try:
            alike(found, wanted)
        except AssertionError as error:
            inputs = arrays[place - 2 : place]
            raise AssertionError(
                f"{kind.__name__} {inputs[0].dtype}: {error}"
            ) from None
        place += 1


def strips(slot: int, value: Expression) -> list[Statement]:
    """slot[i] = value(i) for axis 0 up to COUNT, 32 at a time."""
    strip = form(a1=32, a2=1)
    rest = form(COUNT // 32 * 32, a2=1)
    main = Store(((2, 32),), slot, strip, substitute(value, {0: strip}))
    tail = Store(((2, COUNT % 32),), slot, rest, substitute(value, {0: rest}))
    return [For(1, COUNT // 32, (main,)), tail]


def accepted(kinds: Sequence[type[op.Elementwise]], dtype: DType) -> list:
    found = []
    for kind in kinds:
        if dtype not in op.operation._ACCEPTED[kind.accepts]:
            continue
        if kind is op.Mod and dtype.is_bool:
            continue
        result = dtypes.bool_ if issubclass(kind, op.Comparison) else dtype
        found.append((kind, dtype, result))
    return found


@pytest.mark.parametrize("dtype", REAL_ARITHMETIC, ids=str)
def test_ops_are_exact(dtype):
    check_ops(accepted((*EXACT_UNARY, *EXACT_BINARY), dtype))


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_casts_are_exact(dtype):
    check_ops([(op.Cast, dtype, target) for target in REAL])


@pytest.mark.skipif(
    not host_target().architecture.startswith("x86"),
    reason="runs code for older x86 processors",
)
@pytest.mark.parametrize("processor", [SSE2, AVX2], ids=["sse2", "avx2"])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_ops_and_casts_on_older_processors(dtype, processor):
    if processor is AVX2 and "avx2" not in host_target().features:
        pytest.skip("this processor has no AVX2")
    cases = [(op.Cast, dtype, target) for target in REAL]
    if dtype in REAL_ARITHMETIC:
        cases += accepted((*EXACT_UNARY, *EXACT_BINARY), dtype)
    check_ops(cases, processor)


@pytest.mark.parametrize("dtype", REAL_ARITHMETIC, ids=str)
def test_bitcasts_keep_bits(dtype):
    targets = [entry for entry in REAL_ARITHMETIC if entry.bits == dtype.bits]
    targets = [entry for entry in targets if not (entry.is_bool or dtype.is_bool)]
    if targets:
        check_ops([(op.Bitcast, dtype, target) for target in targets])


ELEMENTARY = (op.Exp, op.Exp2, op.Log, op.Log2, op.Sin, op.Cos, op.Tanh, op.Erf)


@pytest.mark.parametrize("dtype", [f32, f64, dtypes.float16, dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [*ELEMENTARY, op.Pow], ids=lambda kind: kind.__name__)
def test_elementary_functions(kind, dtype):
    """Within a few units in the last place; special values exactly."""
    arity = 2 if kind is op.Pow else 1
    inputs = [samples(dtype, COUNT, seed_of(kind, place)) for place in range(arity)]
    result = np.zeros(COUNT, dtype.numpy)
    loads = tuple(load(place, form(a0=1), dtype) for place in range(arity))
    body = strips(arity, Compute(kind, dtype, loads))
    run(make_program([(dtype, COUNT)] * (arity + 1), body), *inputs, result)
    with np.errstate(all="ignore"):
        expected = kind.apply(dtype, *inputs)
    finite = np.isfinite(expected)
    alike(result[~finite], expected[~finite])
    limit = {f32: 4, f64: 4}.get(dtype, 1)
    distance = units_apart(result[finite], expected[finite])
    assert distance.max() <= limit


def units_apart(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """How many representable numbers two arrays are apart."""
    bits = np.dtype(f"i{lhs.dtype.itemsize}")
    places = []
    for array in (lhs, rhs):
        whole = array.view(bits).astype(object)
        places.append(np.where(whole < 0, -(whole & np.iinfo(bits).max), whole))
    return np.abs(places[0] - places[1]).astype(np.float64)


# --- addresses -------------------------------------------------------------------


def guarded_copy(array: np.ndarray) -> np.ndarray:
    """The array between two pages that must not be touched."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    block = mmap.mmap(-1, size + 2 * page)
    whole = np.frombuffer(block, np.uint8)
    start = whole.ctypes.data
    protect = ctypes.CDLL(None).mprotect
    for place in (start, start + page + size):
        assert protect(ctypes.c_void_p(place), ctypes.c_size_t(page), 0) == 0
    end = page + size
    inside = whole[end - array.nbytes : end].view(array.dtype)
    inside[:] = array
    return inside


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 7, -1, -2, -3, -5, 0])
@pytest.mark.parametrize("dtype", [f32, f64, dtypes.uint8, dtypes.bfloat16], ids=str)
def test_strided_loads_and_stores(stride, dtype):
    """Every length of a tail, right up to the last byte of a page."""
    lanes = 64 // max(4, dtype.itemsize)
    slots, body, arrays, checks = [], [], [], []
    for extent in range(1, 2 * lanes + 2):
        span = abs(stride) * (extent - 1) + 1
        start = span - 1 if stride < 0 else 0
        values = samples(dtype, span, seed_of(extent))
        target, back = np.zeros(extent, dtype.numpy), np.zeros(span, dtype.numpy)
        target = guarded_copy(target)
        place, first = form(start, a0=stride), len(slots)
        axes, here = ((0, extent),), form(a0=1)
        body += [
            Store(axes, first + 1, here, load(first, place, dtype)),
            Store(axes, first + 2, place, load(first + 1, here, dtype)),
        ]
        slots += [(dtype, span), (dtype, extent), (dtype, span)]
        arrays += [guarded_copy(values), target, back]
        checks.append((values, target, back, start + stride * np.arange(extent)))
    run(make_program(slots, body), *arrays)
    for values, target, back, places in checks:
        alike(target, values[places])
        alike(back[places], values[places])


@pytest.mark.parametrize("stride", [1, -1, 2, -2, 3, -4, 5])
@pytest.mark.parametrize("dtype", [f32, f64, dtypes.int8, dtypes.float16], ids=str)
def test_guards_keep_memory_untouched(stride, dtype):
    """A window that hangs over both ends of its buffer reads zeros there."""
    size, extent, margin = 21, 27, 3
    values = samples(dtype, size * abs(stride), 5)
    source = guarded_copy(values)
    first = -margin if stride > 0 else margin + size * -stride - 1
    place = form(0, a0=1) if stride > 0 else form(0, a0=-1)
    address = place.scale(abs(stride)).shift(first * (stride if stride > 0 else 1))
    last = len(values) - 1
    guard = (address, Affine(last) - address)
    inside = load(0, address, dtype, guard)
    outside = literal(1, dtype)
    target = np.zeros(extent, dtype.numpy)
    body = [Store(((0, extent),), 1, form(a0=1), Select(guard, inside, outside))]
    run(make_program([(dtype, len(values)), (dtype, extent)], body), source, target)
    places = address.constant + address.coefficient(0) * np.arange(extent)
    valid = (places >= 0) & (places <= last)
    expected = np.where(valid, values[np.clip(places, 0, last)], dtype.numpy.type(1))
    alike(target, expected.astype(dtype.numpy))


def test_guards_by_loop_are_branch_free_and_exact():
    rows, columns = 5, 9
    values = guarded_copy(samples(f32, rows * columns, 1))
    target = np.zeros((rows + 2) * columns, np.float32)
    address = form(-columns, a0=columns, a1=1)
    guard = (form(-1, a0=1), form(rows, a0=-1))
    value = Select(guard, load(0, address, f32, guard), literal(0.0, f32))
    store = Store(((1, columns),), 1, form(a0=columns, a1=1), value)
    body = [Grid(((0, rows + 2),), (store,))]
    slots = [(f32, rows * columns), (f32, target.size)]
    run(make_program(slots, body), values, target)
    alike(target, np.pad(values.reshape(rows, columns), ((1, 1), (0, 0))).ravel())


def test_a_guarded_statement_protects_its_loads():
    values = guarded_copy(np.arange(13, dtype=np.float32))
    target = np.zeros(64, np.float32)
    guard = (form(12, a0=-1),)
    body = [Store(((0, 64),), 1, form(a0=1), load(0, form(a0=1)), guard)]
    run(make_program([(f32, 13), (f32, 64)], body), values, target)
    alike(target, np.r_[values, np.zeros(51, np.float32)])


@pytest.mark.parametrize("index_dtype", [dtypes.int32, dtypes.int64, dtypes.uint8])
def test_gather_checks_its_index(index_dtype):
    """Rows chosen by data; an index out of range reads nothing."""
    rows, columns = 11, 40
    table = guarded_copy(samples(f32, rows * columns, 2))
    chosen = np.array([3, 0, 10, 200, 5], np.int64).astype(index_dtype.numpy)
    result = np.zeros(5 * columns, np.float32)
    loaded = load(1, form(a0=1), index_dtype)
    index, unknown = axis_of(Indexed(loaded, 0, rows - 1)), axis_of(anything(loaded))
    guard = (unknown, Affine(rows - 1) - unknown)
    address = index.scale(columns) + form(a1=1)
    value = Select(guard, load(0, address, f32, guard), literal(7.0, f32))
    along_row = Store(((1, columns),), 2, form(a0=columns, a1=1), value)
    # The same with the index varying by lane.
    across = np.zeros(5 * columns, np.float32)
    across_rows = Store(((1, columns), (0, 5)), 3, form(a0=columns, a1=1), value)
    body = [Grid(((0, 5),), (along_row,)), Grid((), (across_rows,))]
    slots = [
        (f32, table.size),
        (index_dtype, 5),
        (f32, result.size),
        (f32, across.size),
    ]
    run(make_program(slots, body), table, chosen, result, across)
    positions = chosen.astype(np.int64)
    valid = (positions >= 0) & (positions < rows)
    expected = table.reshape(rows, columns)[np.where(valid, positions, 0)]
    expected = np.where(valid[:, None], expected, np.float32(7)).ravel()
    alike(result, expected)
    alike(across, expected)


def axis_of(atom: Expression) -> Affine:
    return Affine(0, ((atom, 1),))


def test_quotients_and_remainders():
    """A reshape whose sizes do not nest, with lanes along and across it."""
    count = 6 * 35
    values = samples(f32, count, 3)
    result = np.zeros(count, np.float32)
    linear = form(a0=35, a1=1)
    quotient = axis_of(Quotient(linear, 14, 15))
    remainder = axis_of(Remainder(linear, 14))
    address = remainder.scale(15) + quotient
    body = [Grid(((0, 6),), (Store(((1, 35),), 1, linear, load(0, address)),))]
    run(make_program([(f32, count), (f32, count)], body), values, result)
    alike(result, values.reshape(14, 15).T.ravel().copy())


def test_positions_and_scalars():
    result, wide = np.zeros(40, np.float32), np.zeros(40, np.int64)
    scalar = np.array([2.5], np.float32)
    place = Position(form(1, a0=3), f32)
    value = Compute(op.Add, f32, (place, Scalar(0, f32)))
    body = [
        Store(((0, 40),), 0, form(a0=1), value),
        Store(((0, 40),), 1, form(a0=1), Position(form(-5, a0=1 << 33), i64)),
    ]
    program = make_program([(f32, 40), (i64, 40)], body, scalars=[f32])
    run(program, result, wide, scalar)
    alike(result, (1 + 3 * np.arange(40) + 2.5).astype(np.float32))
    alike(wide, -5 + np.arange(40, dtype=np.int64) * (1 << 33))


# --- stores that combine -----------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.ADD, Mode.MAX])
def test_stores_combine_with_memory(mode):
    """Along lanes, onto one element, and scattered with repeated indices."""
    rng = np.random.default_rng(0)
    values = rng.integers(-50, 50, 100).astype(np.float32)
    chosen = rng.integers(0, 7, 100).astype(np.int64)
    along, single, scattered = (np.ones(n, np.float32) for n in (100, 1, 7))
    loaded = load(1, form(a0=1), i64)
    index, unknown = axis_of(Indexed(loaded, 0, 6)), axis_of(anything(loaded))
    guard = (unknown, Affine(6) - unknown)
    body = [
        Store(((0, 100),), 2, form(a0=1), load(0, form(a0=1)), mode=mode),
        Store(((0, 100),), 3, ZERO, load(0, form(a0=1)), mode=mode),
        Store(((0, 100),), 4, index, load(0, form(a0=1)), guard, mode),
    ]
    slots = [(f32, 100), (i64, 100), (f32, 100), (f32, 1), (f32, 7)]
    run(make_program(slots, body), values, chosen, along, single, scattered)
    universal = np.add if mode is Mode.ADD else np.maximum
    expected = np.ones(7, np.float32)
    universal.at(expected, chosen, values)
    alike(along, universal(values, np.float32(1)))
    alike(single, np.array([universal.reduce(values, initial=1)], np.float32))
    alike(scattered, expected)


# --- reductions --------------------------------------------------------------------

REDUCTIONS = (reduce.Sum, reduce.Prod, reduce.Max, reduce.Min)


def reducible(kind: type[reduce.Reduce], dtype: DType) -> bool:
    return not (dtype.is_bool and kind in (reduce.Sum, reduce.Prod))


@pytest.mark.parametrize("dtype", REAL_ARITHMETIC, ids=str)
@pytest.mark.parametrize("kind", REDUCTIONS, ids=lambda kind: kind.__name__)
def test_reductions_inside_expressions(kind, dtype):
    """Down columns (lanes along the result) and along rows (lanes along the loop)."""
    if not reducible(kind, dtype):
        return
    rows, columns = 6, 150
    values = samples(dtype, rows * columns, seed_of(kind, dtype))
    if dtype.is_floating_point:
        # Rounding depends on the order of a sum: compare what is exact.
        rng = np.random.default_rng(1)
        values = rng.choice([1, 2, -1, 0.5], values.size).astype(dtype.numpy)
    values = values.reshape(rows, columns)
    down, along = np.zeros(columns, dtype.numpy), np.zeros(rows, dtype.numpy)
    element = load(0, form(a0=columns, a1=1), dtype)
    body = [
        Store(((1, columns),), 1, form(a1=1), Reduction(kind, (0,), element)),
        Store(((0, rows),), 2, form(a0=1), Reduction(kind, (1,), element)),
    ]
    slots = [(dtype, rows * columns), (dtype, columns), (dtype, rows)]
    program = make_program(slots, body, axes=[(0, rows), (1, columns)])
    run(program, values, down, along)
    with np.errstate(all="ignore"):
        alike(down, kind.reduce(values, (0,)).ravel())
        alike(along, kind.reduce(values, (1,)).ravel())


@pytest.mark.parametrize("kind", [reduce.Max, reduce.Min], ids=lambda k: k.__name__)
def test_extremes_keep_nan(kind):
    values = np.zeros((4, 100), np.float32)
    values[0, 3] = values[1, 99] = values[2, 64] = np.nan
    result = np.zeros(4, np.float32)
    element = load(0, form(a0=100, a1=1))
    body = [Store((), 1, form(a0=1), Reduction(kind, (1,), element))]
    program = make_program(
        [(f32, 400), (f32, 4)], [Grid(((0, 4),), tuple(body))], axes=[(1, 100)]
    )
    run(program, values, result)
    assert np.isnan(result).tolist() == [True, True, True, False]


def test_a_reduction_over_nothing_is_the_identity():
    result = np.full(3, 7.0, np.float32)
    nothing = Reduction(reduce.Sum, (1,), load(0, form(a0=1, a1=1)))
    store = Store(((0, 3),), 1, form(a0=1), nothing)
    program = make_program([(f32, 1), (f32, 3)], [store], axes=[(1, 0)])
    run(program, np.zeros(1, np.float32), result)
    alike(result, np.zeros(3, np.float32))


def test_nested_reductions():
    """Each row's variance: a reduction whose body holds another, and two axes."""
    rows, columns = 3, 77
    values = np.random.default_rng(4).standard_normal((rows, columns)).astype("f")
    result, total = np.zeros(rows, np.float32), np.zeros(1, np.float32)
    element = load(0, form(a0=columns, a1=1))
    count = literal(columns, f32)
    again = load(0, form(a0=columns, a2=1))
    mean = Compute(op.Div, f32, (Reduction(reduce.Sum, (2,), again), count))
    centred = Compute(op.Sub, f32, (element, mean))
    squares = Reduction(reduce.Sum, (1,), Compute(op.Mul, f32, (centred, centred)))
    everything = Reduction(reduce.Sum, (0, 1), element)
    body = [
        Grid(((0, rows),), (Store((), 1, form(a0=1), squares),)),
        Grid((), (Store((), 2, ZERO, everything),)),
    ]
    slots = [(f32, values.size), (f32, rows), (f32, 1)]
    axes = [(0, rows), (1, columns), (2, columns)]
    run(make_program(slots, body, axes=axes), values, result, total)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(result, wide.var(1) * columns, rtol=1e-5)
    np.testing.assert_allclose(total, wide.sum(), rtol=1e-4)


# --- tiles -------------------------------------------------------------------------


def register(name: str, *shape: int, dtype: DType = f32) -> Tile:
    return Tile(name, shape, dtype, Space.REGISTER, row_major(shape))


def shared(name: str, *shape: int, dtype: DType = f32) -> Tile:
    return Tile(name, shape, dtype, Space.SHARED, row_major(shape))


@pytest.mark.parametrize("kind", REDUCTIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("columns", [5, 16, 100, 131])
def test_row_reduction_with_lanes(kind, columns):
    """The form of tile/ir.py: a vector of totals, combined at the end."""
    rows = 9
    values = np.random.default_rng(5).choice([1.0, 2.0, -1.0, 0.5], (rows, columns))
    values = values.astype(np.float32)
    result = np.zeros(rows, np.float32)
    total, row = register("total", 16), register("row")
    identity = literal(kind.identity(f32), f32)
    lane = (axis_form(2),)
    address = form(a0=columns, a1=16, a2=1)
    guard = (Affine(columns - 1) - form(a1=16, a2=1),)
    fold = Fold(((2, 16),), total, lane, kind, load(0, address), guard)
    body = (
        Alloc(total),
        Alloc(row),
        Map(((2, 16),), total, lane, identity),
        Map((), row, (), identity),
        For(1, -(-columns // 16), (fold,)),
        Fold(((2, 16),), row, (), kind, TileLoad(total, lane)),
        Store((), 1, form(a0=1), TileLoad(row, ())),
    )
    slots = [(f32, values.size), (f32, rows)]
    run(make_program(slots, [Grid(((0, rows),), body)]), values, result)
    alike(result, kind.reduce(values, (1,)).ravel())


def test_fold_contracts_products_only_if_asked():
    total = register("total", 16)
    product = Compute(op.Mul, f32, (load(0, form(a0=1)), load(0, form(a0=1))))
    lane = (axis_form(0),)
    body = [Alloc(total), Fold(((0, 16),), total, lane, reduce.Sum, product)]
    body.append(Store(((0, 16),), 1, form(a0=1), TileLoad(total, lane)))
    program = make_program([(f32, 16), (f32, 16)], body)
    assert "llvm.fma" in emit(program, host_target(), Settings(fma=True))
    assert "llvm.fma" not in emit(program, host_target(), Settings(fma=False))


def test_a_map_that_reads_its_own_tile_reads_what_was_there():
    tile = register("tile", 40)
    values, result = np.arange(40, dtype=np.float32), np.zeros(40, np.float32)
    backwards = (form(39, a0=-1),)
    body = [
        Alloc(tile),
        Map(((0, 40),), tile, (axis_form(0),), load(0, form(a0=1))),
        Map(((0, 40),), tile, (axis_form(0),), TileLoad(tile, backwards)),
        Store(((0, 40),), 1, form(a0=1), TileLoad(tile, (axis_form(0),))),
    ]
    run(make_program([(f32, 40), (f32, 40)], body), values, result)
    alike(result, values[::-1].copy())


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_tiles_of_every_dtype_and_space(dtype):
    count = 37
    values = samples(dtype, count, 8)
    result = np.zeros(count, dtype.numpy)
    first, second = (
        register("first", count, dtype=dtype),
        shared("second", count, dtype=dtype),
    )
    scratch = Tile("third", (count,), dtype, Space.GLOBAL, row_major((count,)))
    here = (axis_form(0),)
    axes = ((0, count),)
    body = (
        Alloc(first),
        Alloc(second),
        Map(axes, first, here, load(0, form(a0=1), dtype)),
        Map(axes, second, here, TileLoad(first, here)),
        Map(axes, scratch, here, TileLoad(second, here)),
    )
    last = Store(axes, 1, form(a0=1), TileLoad(scratch, here))
    program = make_program(
        [(dtype, count), (dtype, count)],
        [Grid((), body), Grid((), (last,))],
        scratch=[scratch],
    )
    run(program, values, result)
    alike(result, values)


def test_when_and_unrolled_loops():
    """A body with two outcomes, in a loop that is written out and one that is not."""
    result = np.zeros(24, np.float32)

    def store(value: float) -> tuple[Statement, ...]:
        return (Store(((2, 4),), 0, form(a0=12, a1=4, a2=1), literal(value, f32)),)

    when = When((form(-1, a0=1, a1=1),), store(1.0), store(2.0))
    body = [For(0, 2, (For(1, 3, (when,)),), unroll=True)]
    run(make_program([(f32, 24)], body), result)
    expected = np.where(np.add.outer(np.arange(2), np.arange(3)) >= 1, 1.0, 2.0)
    alike(result, np.repeat(expected.ravel(), 4).astype(np.float32))


@pytest.mark.parametrize(("limit", "step"), [(-1, 1), (0, 3), (7, 2), (9, 1), (40, 5)])
def test_a_loop_ends_where_its_condition_fails(limit, step):
    result = np.zeros((4, 10), np.float32)
    store = Store((), 0, form(a0=10, a1=1), literal(1.0, f32), mode=Mode.ADD)
    when = When((form(limit, a0=-3, a1=-step),), (store,))
    grid = Grid(((0, 4),), (For(1, 10, (when,)),))
    run(make_program([(f32, 40)], [grid]), result.reshape(-1))
    rows, columns = np.indices(result.shape)
    np.testing.assert_array_equal(result, limit - 3 * rows - step * columns >= 0)


def test_grids_split_into_parts_cover_everything_once():
    """Any number of parts, each any slice of a grid with three axes."""
    shape = (3, 5, 7)
    memory = np.zeros(106, np.float32)
    result = memory[:105]
    address = form(a0=35, a1=7, a2=1)
    store = Store((), 0, address, literal(1.0, f32), mode=Mode.ADD)
    grid = Grid(tuple(enumerate(shape)), (store,))
    # Of two grids, none is put in place of its call.
    other = Grid((), (Store((), 0, form(105), literal(1.0, f32)),))
    program = make_program([(f32, 106)], [grid, other])
    module = compiler.load(compiler.assemble(emit(program, host_target(), SETTINGS)))
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function = signature(module.address("program_0"))
    arguments = np.array([memory.ctypes.data], np.uint64)
    for parts in (1, 2, 3, 8, 64, 200):
        result[:] = 0
        for part in range(parts):
            function(arguments.ctypes.data, part, parts)
        assert (result == 1).all(), parts


def test_an_only_grid_of_one_thread_is_no_function():
    result = np.zeros(8, np.float32)
    store = Store((), 0, form(a0=1), literal(1.0, f32))
    program = make_program([(f32, 8)], [Grid(((0, 8),), (store,))])
    assembly = compiler.disassemble(emit(program, host_target(), SETTINGS))
    assert "program:" in assembly and "program_0:" not in assembly
    run(program, result)
    assert (result == 1).all()


def test_a_large_grid_runs_on_all_threads():
    count = 1 << 20
    values = np.random.default_rng(6).standard_normal(count).astype(np.float32)
    result = np.zeros(count, np.float32)
    address = form(a0=64, a1=1)
    value = Compute(op.Neg, f32, (load(0, address),))
    grid = Grid(((0, count // 64),), (Store(((1, 64),), 1, address, value),))
    program = make_program([(f32, count), (f32, count)], [grid])
    if host_target().units > 1:
        assert "@tetragrad_parallel(ptr %pool" in emit(program, host_target(), SETTINGS)
    run(program, values, result)
    alike(result, -values)


# --- matrix products -----------------------------------------------------------------


def matrix_product(rows, columns, depth, dtype, total_dtype, transposed=False):
    """One tile product with operands packed into shared tiles."""
    lhs = Tile("lhs", (depth, rows), dtype, Space.SHARED, row_major((depth, rows)))
    rhs = Tile(
        "rhs", (depth, columns), dtype, Space.SHARED, row_major((depth, columns))
    )
    total = register("total", rows, columns, dtype=total_dtype)
    lhs_address = form(a0=rows, a1=1) if transposed else form(a0=1, a1=depth)
    body = (
        Alloc(lhs),
        Alloc(rhs),
        Alloc(total),
        Copy(((0, depth), (1, rows)), lhs, 0, lhs_address),
        Copy(((0, depth), (1, columns)), rhs, 1, form(a0=columns, a1=1)),
        Map(((0, rows), (1, columns)), total, (axis_form(0), axis_form(1)),
            literal(0, total_dtype)),
        Mma(total, lhs, rhs, rows, columns, depth, (ZERO, ZERO), (ZERO, ZERO)),
        Store(((0, rows), (1, columns)), 2, form(a0=columns, a1=1),
              TileLoad(total, (axis_form(0), axis_form(1)))),
    )  # fmt: skip
    sizes = [(dtype, rows * depth), (dtype, depth * columns)]
    return make_program([*sizes, (total_dtype, rows * columns)], body)


@pytest.mark.parametrize(
    ("dtype", "total_dtype"),
    [
        (f32, f32),
        (f64, f64),
        (dtypes.bfloat16, f32),
        (dtypes.float16, f32),
        (dtypes.int8, i32),
        (dtypes.int64, i64),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("rows", "columns", "depth"), [(14, 32, 9), (3, 21, 64), (1, 1, 2)]
)
def test_matrix_products(dtype, total_dtype, rows, columns, depth):
    rng = np.random.default_rng(7)
    lhs = rng.integers(-8, 8, (rows, depth)).astype(dtype.numpy)
    rhs = rng.integers(-8, 8, (depth, columns)).astype(dtype.numpy)
    result = np.zeros((rows, columns), total_dtype.numpy)
    run(matrix_product(rows, columns, depth, dtype, total_dtype), lhs, rhs, result)
    expected = lhs.astype(np.float64) @ rhs.astype(np.float64)
    alike(result, expected.astype(total_dtype.numpy))


def test_matrix_product_keeps_its_totals_in_registers():
    program = matrix_product(12, 32, 64, f32, f32)
    target = make_target(AVX512)
    assembly = compiler.disassemble(emit(program, target, SETTINGS), AVX512)
    products = [line for line in assembly.splitlines() if "vfmadd" in line]
    # Steps of 12 x 2 registers, with no total among the memory operands.
    assert products and len(products) % (12 * 2) == 0
    assert all("zmm" in line for line in products)
    assert not any(
        "%rsp" in line and "%zmm" in line.split(",")[-1] for line in products
    )


# --- other processors, and what is refused --------------------------------------------


@pytest.mark.parametrize(
    "processor", [AVX2, AVX512, NEON], ids=["avx2", "avx512", "neon"]
)
def test_every_op_assembles_elsewhere(processor):
    """Without this machine's features, and without calls to missing libraries."""
    target = make_target(processor)
    for dtype in REAL_ARITHMETIC:
        cases = accepted((*EXACT_UNARY, *EXACT_BINARY), dtype)
        cases += [(op.Cast, dtype, entry) for entry in REAL]
        slots, body = [], []
        for kind, source, result in cases:
            arity = 2 if issubclass(kind, op.Binary) else 1
            first = len(slots)
            loads = tuple(load(first + n, form(a0=1), source) for n in range(arity))
            slots += [(source, 8)] * arity + [(result, 8)]
            value = Compute(kind, result, loads)
            store = Store(((0, 8),), first + arity, form(a0=1), value)
            # One function each: LLVM's time grows faster than a block's length.
            body.append(Grid((), (store,)))
        text = emit(make_program(slots, body), target, SETTINGS)
        code = compiler.assemble(text, processor)
        for helper in (b"__truncsfhf2", b"__extendhfsf2", b"__truncsfbf2"):
            assert helper not in code


def test_what_the_cpu_lacks_is_named():
    role = Role("producer", 1, ())
    with pytest.raises(UnsupportedError, match="Role"):
        emit(make_program([(f32, 1)], [role]), host_target(), SETTINGS)
    scan = Scan(reduce.Sum, 0, load(0, form(a0=1)), False)
    store = Store(((0, 4),), 0, form(a0=1), scan)
    with pytest.raises(UnsupportedError, match="scan"):
        emit(make_program([(f32, 4)], [store]), host_target(), SETTINGS)
    with pytest.raises(UnsupportedError, match="complex64"):
        emit(make_program([(dtypes.complex64, 4)], []), host_target(), SETTINGS)
