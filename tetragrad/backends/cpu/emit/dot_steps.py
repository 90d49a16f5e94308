"""Instructions that sum products of narrow numbers, by the features that they take.

x86 and AArch64 have several, for groups of four bytes or of two 16-bit numbers. Each
is a row of :data:`INSTRUCTIONS`: what it computes, and LLVM's name for it at each
width of a register.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cpu.emit.vector import Builder, Value, type_of
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.core.target import DotStep


@frozen
class Spelling:
    """An LLVM intrinsic, and sets of features of which one must be there."""

    intrinsic: str
    features: tuple[frozenset[str], ...]


@frozen
class Instruction:
    """A dot step: its spelling for each width in bytes, and LLVM's operand type.

    An instruction that ``adds`` takes the total as its first operand.
    """

    step: DotStep
    architecture: str
    element: str
    spellings: dict[int, Spelling]
    adds: bool = True


def _either(*alternatives: str) -> tuple[frozenset[str], ...]:
    """Sets of features, each written as one string."""
    return tuple(frozenset(entry.split()) for entry in alternatives)


def _vnni(name: str, lhs: DType, rhs: DType, depth: int) -> Instruction:
    """Intel's vector neural network instructions, of AVX-512 or on their own."""
    prefix = f"llvm.x86.avx512.{name}"
    narrow = _either("avx512vnni avx512vl", "avxvnni")
    return Instruction(
        DotStep(name, lhs, rhs, dtypes.int32, depth),
        "x86_64",
        "i32",
        {
            64: Spelling(f"{prefix}.512", _either("avx512vnni")),
            32: Spelling(f"{prefix}.256", narrow),
            16: Spelling(f"{prefix}.128", narrow),
        },
    )


def _bf16() -> Instruction:
    """Products and sums are rounded to nearest; subnormal numbers count as zero."""
    prefix = "llvm.x86.avx512bf16.dpbf16ps"
    narrow = _either("avx512bf16 avx512vl")
    return Instruction(
        DotStep("vdpbf16ps", dtypes.bfloat16, dtypes.bfloat16, dtypes.float32, 2),
        "x86_64",
        "bfloat",
        {
            64: Spelling(f"{prefix}.512", _either("avx512bf16")),
            32: Spelling(f"{prefix}.256", narrow),
            16: Spelling(f"{prefix}.128", narrow),
        },
    )


def _pairs() -> Instruction:
    """What every x86 processor has: pairs of 16-bit numbers, summed to 32 bits."""
    return Instruction(
        DotStep("vpmaddwd", dtypes.int16, dtypes.int16, dtypes.int32, 2),
        "x86_64",
        "i16",
        {
            64: Spelling("llvm.x86.avx512.pmaddw.d.512", _either("avx512bw")),
            32: Spelling("llvm.x86.avx2.pmadd.wd", _either("avx2")),
            16: Spelling("llvm.x86.sse2.pmadd.wd", _either("")),
        },
        adds=False,
    )


def _tiles(name: str, lhs: DType, rhs: DType) -> Instruction:
    """Intel's advanced matrix extensions: 16 rows by 16 columns, 64 bytes deep.

    Of floats, sums are rounded to nearest, and subnormal numbers count as zero.
    """
    total = dtypes.float32 if lhs.is_floating_point else dtypes.int32
    needed = "amx-bf16" if lhs.is_floating_point else "amx-int8"
    step = DotStep(name, lhs, rhs, total, 4 // lhs.itemsize, rows=16, groups=16)
    spelling = Spelling(f"llvm.x86.{name}", _either(f"amx-tile {needed}"))
    return Instruction(step, "x86_64", "i32", {64: spelling})


def _neon(name: str, step: DotStep, feature: str) -> Instruction:
    kinds = "v4f32.v8bf16" if step.total is dtypes.float32 else "v4i32.v16i8"
    spelling = Spelling(f"llvm.aarch64.neon.{name}.{kinds}", _either(feature))
    element = "bfloat" if step.total is dtypes.float32 else "i8"
    return Instruction(step, "aarch64", element, {16: spelling})


def _neon_bytes(name: str, lhs: DType, rhs: DType, feature: str) -> Instruction:
    return _neon(name, DotStep(name, lhs, rhs, dtypes.int32, 4), feature)


#: The fastest first.
INSTRUCTIONS = (
    _tiles("tdpbssd", dtypes.int8, dtypes.int8),
    _tiles("tdpbusd", dtypes.uint8, dtypes.int8),
    _tiles("tdpbsud", dtypes.int8, dtypes.uint8),
    _tiles("tdpbuud", dtypes.uint8, dtypes.uint8),
    _tiles("tdpbf16ps", dtypes.bfloat16, dtypes.bfloat16),
    _vnni("vpdpbusd", dtypes.uint8, dtypes.int8, 4),
    _vnni("vpdpwssd", dtypes.int16, dtypes.int16, 2),
    _pairs(),
    _bf16(),
    _neon_bytes("sdot", dtypes.int8, dtypes.int8, "dotprod"),
    _neon_bytes("udot", dtypes.uint8, dtypes.uint8, "dotprod"),
    _neon_bytes("usdot", dtypes.uint8, dtypes.int8, "i8mm"),
    _neon(
        "bfdot",
        DotStep("bfdot", dtypes.bfloat16, dtypes.bfloat16, dtypes.float32, 2),
        "bf16",
    ),
)
_BY_NAME = {entry.step.name: entry for entry in INSTRUCTIONS}


def dot_steps(
    architecture: str, features: frozenset[str], vector_bytes: int
) -> tuple[DotStep, ...]:
    """The dot steps of a processor, at the width of its registers and below."""
    return tuple(
        entry.step
        for entry in INSTRUCTIONS
        if entry.architecture == architecture
        and vector_bytes in entry.spellings
        and all(
            any(needed <= features for needed in spelling.features)
            for width, spelling in entry.spellings.items()
            if width <= vector_bytes
        )
    )


def step_of(
    steps: Sequence[DotStep], lhs: DType, rhs: DType, total: DType, depth: int
) -> DotStep:
    """The instruction that a plan has chosen for operands of these dtypes."""
    return next(
        step
        for step in steps
        if (step.lhs, step.rhs, step.total, step.depth) == (lhs, rhs, total, depth)
    )


def emit_dot_step(
    builder: Builder, step: DotStep, lhs: Value, rhs: Value, total: Value
) -> Value:
    """``total`` and the products of two vectors of groups, each held as an int32."""
    instruction = _BY_NAME[step.name]
    spelling = instruction.spellings[total.lanes * total.dtype.itemsize]
    operands = [_of_elements(builder, instruction, entry) for entry in (lhs, rhs)]
    if instruction.adds:
        operands.insert(0, (type_of(total), total.text))
    result, function = type_of(total), f"@{spelling.intrinsic}"
    types = ", ".join(name for name, _ in operands)
    builder.declarations.add(f"declare {result} {function}({types})")
    arguments = ", ".join(f"{name} {text}" for name, text in operands)
    found = Value(
        builder.assign(f"call {result} {function}({arguments})"),
        total.dtype,
        total.lanes,
    )
    return found if instruction.adds else builder.binary("add", total, found)


def _of_elements(
    builder: Builder, instruction: Instruction, groups: Value
) -> tuple[str, str]:
    """A vector of groups as the type that the intrinsic takes, and its name."""
    if instruction.element == "i32":
        return type_of(groups), groups.text
    wanted = f"<{groups.lanes * instruction.step.depth} x {instruction.element}>"
    text = builder.assign(f"bitcast {type_of(groups)} {groups.text} to {wanted}")
    return wanted, text
