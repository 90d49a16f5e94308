"""Imports point down: a package may use only those that come after it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tetragrad

PACKAGE = Path(tetragrad.__file__).parent

#: From top to bottom. Neighbours on one line do not import each other.
LAYERS = """
    cli
    llm onnx distributed autograd utils
    func
    nn optim state data random xp jit masked habits cuda
    amp linalg fft distributions signal special
    capture
    tensor
    engine
    backends
    tile
    kernel
    graph
    core
"""
#: Exceptions: optimisers may walk the parameters of modules.
ALSO_ALLOWED = {("optim", "nn")}
#: The front page gathers names from everywhere; the other is the command line.
FRONT_PAGES = {"__init__.py", "__main__.py"}

LEVEL = {
    package: level
    for level, line in enumerate(LAYERS.strip().splitlines())
    for package in line.split()
}


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Packages that a file imports anywhere in it, with the line."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            root, _, rest = name.partition(".")
            if root == "tetragrad" and rest.partition(".")[0] in LEVEL:
                yield rest.partition(".")[0], node.lineno


def test_imports_point_down() -> None:
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        relative = file.relative_to(PACKAGE)
        if str(relative) in FRONT_PAGES:
            continue
        importer = relative.parts[0]
        for imported, line in imports_of(file):
            points_down = LEVEL[importer.removesuffix(".py")] < LEVEL[imported]
            is_listed = (importer, imported) in ALSO_ALLOWED
            if importer != imported and not points_down and not is_listed:
                wrong.append(f"{relative}:{line}: {importer} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_every_package_has_its_place() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found <= set(LEVEL)
