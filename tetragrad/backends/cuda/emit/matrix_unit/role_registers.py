"""How the registers of a multiprocessor are divided among a block's roles.

A kernel begins with equal shares; a role that needs few gives the rest up for those
that hold sums (PTX ISA, "setmaxnreg").
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cuda.emit.blocks import WARP
from tetragrad.backends.cuda.emit.matrix_unit.channels import warps_of
from tetragrad.backends.cuda.emit.matrix_unit.filling import fills
from tetragrad.tile.ir import Copy, Role, every_statement

#: Threads that multiply together.
WARPGROUP = 4 * WARP
#: Registers of a multiprocessor; each thread has a multiple of eight, up to a limit.
REGISTERS = 65536
REGISTER_STEP = 8
MOST_REGISTERS = 240
#: What a thread that only copies needs, and one that computes operands.
COPYING_REGISTERS = 40
FILLING_REGISTERS = 112


def copies_only(role: Role) -> bool:
    """Whether a role has work for one thread only."""
    return any(isinstance(entry, Copy) for entry in every_statement(role.body))


def divide_registers(roles: Sequence[Role]) -> dict[str, int] | None:
    """Registers of a thread of each role; None where equal shares are enough.

    A kernel starts with equal shares, and nobody can take what the others have not
    given up: a sum beyond the first division would wait for ever.
    """
    threads = {role.name: warps_of(role) * WARP for role in roles}
    share = equal_share(roles)
    copying = [role.name for role in roles if copies_only(role)]
    filling = [role.name for role in roles if fills(role)]
    working = [role.name for role in roles if role.name not in (*copying, *filling)]
    if share >= MOST_REGISTERS or not working or not (copying or filling):
        return None
    pool = share * sum(threads.values())
    found = dict.fromkeys(copying, min(share, COPYING_REGISTERS))
    found |= dict.fromkeys(filling, min(share, FILLING_REGISTERS))
    left = pool - sum(threads[name] * count for name, count in found.items())
    many = sum(threads[name] for name in working)
    large = min(MOST_REGISTERS, _whole_steps(left // many))
    if copying:
        few = sum(threads[name] for name in copying)
        rest = left + few * found[copying[0]] - many * large
        found |= dict.fromkeys(copying, min(share, _whole_steps(rest // few)))
    found |= dict.fromkeys(working, large)
    assert sum(threads[name] * found[name] for name in threads) <= pool
    return found


def role_threads(roles: Sequence[Role]) -> int:
    """Threads of a block with these roles."""
    return sum(warps_of(role) for role in roles) * WARP


def equal_share(roles: Sequence[Role]) -> int:
    """What each thread begins with."""
    return _whole_steps(REGISTERS // role_threads(roles))


def _whole_steps(registers: int) -> int:
    return registers // REGISTER_STEP * REGISTER_STEP
