"""Registers of their own for what a loop or branch changes."""

from __future__ import annotations

from tetragrad.backends.cuda.emit.ptx import Value, register_class
from tetragrad.backends.cuda.emit.values import Values

Key = tuple[int, ...]
"""Which of a thread's registers of a tile, by its constant indices."""

Carried = dict[tuple[str, Key], tuple[str, str]]
"""(tile, element) -> the register that keeps it, and that register's type."""


class Carriers:
    """Gives elements that a loop or branch changes a register of their own."""

    def __init__(self, values: Values, names: set[str]) -> None:
        self.values = values
        self.names = names
        self.carried: Carried = {}

    def __enter__(self) -> Carried:
        builder = self.values.builder
        for name in sorted(self.names & self.values.registers.keys()):
            elements = self.values.registers[name]
            for key, value in elements.items():
                kind = register_class(value.dtype)
                register = builder.register(kind)
                builder.move(register, kind, value)
                builder.changing.add(register)
                self.carried[name, key] = (register, kind)
                elements[key] = Value(register, value.dtype)
        return self.carried

    def __exit__(self, *error: object) -> None:
        for (name, key), (register, _) in self.carried.items():
            elements = self.values.registers[name]
            elements[key] = Value(register, elements[key].dtype)
