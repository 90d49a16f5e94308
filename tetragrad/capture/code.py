"""What a piece of Python code may read: the names in its bytecode."""

from __future__ import annotations

import dis
import functools
import sys
from types import CodeType

from tetragrad.core.frozen import frozen

#: Packages of ours whose state is watched in other ways, or never changes.
_OWN = tuple(
    f"tetragrad.{name}"
    for name in (
        "core", "graph", "kernel", "tile", "backends", "engine", "tensor", "capture",
        "jit", "func.derivatives", "func.trees", "func.vmapping",
        "nn.backward_hooks", "onnx.evaluate", "onnx.graph", "onnx.operators",
        "onnx.program", "onnx.registry", "onnx.schemas", "onnx.values",
    )
)  # fmt: skip
_LIBRARIES = frozenset(sys.stdlib_module_names) - {"__main__"} | {
    "numpy",
    "llvmlite",
    "ml_dtypes",
    "tetragrad",
}

_GLOBAL = frozenset(("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"))
_ATTRIBUTE = frozenset(
    (
        "LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR",
        "IMPORT_FROM",
    )
)  # fmt: skip
#: Functions that reach attributes by names that the bytecode does not show.
_REFLECTION = frozenset(
    (
        "getattr", "setattr", "hasattr", "delattr", "vars", "dir", "eval", "exec",
        "asdict", "astuple", "fields",
    )
)  # fmt: skip
_REFLECTED = frozenset(("__dict__", "__getattribute__", "asdict", "astuple"))


@frozen(slots=True)
class Names:
    """The names that code uses: of globals, of attributes and keys, of modules."""

    global_names: frozenset[str]
    attributes: frozenset[str]
    modules: frozenset[str]
    #: Whether it may reach attributes whose names are computed.
    is_reflective: bool


def is_watched(module: str) -> bool:
    """Whether state that code of this module reads must be compared at a replay.

    The user's and other people's code is; the standard library's, NumPy's and the
    lower levels of this framework are not.
    """
    if is_own(module):
        return False
    if module.startswith("tetragrad."):
        return True
    return module.partition(".")[0] not in _LIBRARIES


def is_own(module: str) -> bool:
    """Whether a module is one of those whose state a replay need not compare."""
    return module.startswith(_OWN)


@functools.lru_cache(maxsize=4096)
def names_of(code: CodeType, is_own: bool) -> Names:
    """The names in one code object; our own code is known not to reflect."""
    used: dict[str, set[str]] = {"global": set(), "attribute": set(), "module": set()}
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in _GLOBAL:
            used["global"].add(name)
        elif instruction.opname in _ATTRIBUTE:
            used["attribute"].add(name)
        elif instruction.opname == "IMPORT_NAME":
            used["module"].add(name)
    strings = {entry for entry in code.co_consts if isinstance(entry, str)}
    reflective = bool(used["global"] & _REFLECTION or used["attribute"] & _REFLECTED)
    return Names(
        frozenset(used["global"]),
        frozenset(used["attribute"] | {entry for entry in strings if len(entry) < 80}),
        frozenset(used["module"]),
        reflective and not is_own,
    )
