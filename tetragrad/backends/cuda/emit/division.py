"""Quotients of indices by constants, without the division that the assembler writes.

For numbers that are the same in all lanes it does not look at the divisor, and divides
8 by way of floats. Below 2**31, n // d is n * m >> 31 + s with s = ceil(log2 d) and
m = 2**(31 + s) // d + 1: m is too large by less than d <= 2**s, n times which is less
than 2**(31 + s) (Granlund and Montgomery, "Division by invariant integers").
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit.ptx import Builder


def quotient(builder: Builder, number: str, divisor: int) -> str:
    """The quotient of a 32-bit index, which is not negative, by a constant."""
    if divisor == 1:
        return number
    bits = (divisor - 1).bit_length()
    if divisor == 1 << bits:
        return builder.assign("b32", "shr.u32", f"{number}, {bits}")
    factor = (1 << (31 + bits)) // divisor + 1
    high = builder.assign("b32", "mul.hi.u32", f"{number}, {factor}")
    return builder.assign("b32", "shr.u32", f"{high}, {bits - 1}")


def remainder(builder: Builder, number: str, divisor: int) -> str:
    """The remainder of such an index."""
    if divisor & (divisor - 1) == 0:
        return builder.assign("b32", "and.b32", f"{number}, {divisor - 1}")
    whole = quotient(builder, number, divisor)
    return builder.assign("b32", "mad.lo.s32", f"{whole}, {-divisor}, {number}")
