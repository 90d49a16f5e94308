"""Habits that hold for the whole tree: files, settings, words, links, examples."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tetragrad"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")]
)
MAXIMUM_EXAMPLE_LINES = 150

#: Captures watch what a user's function reads of the environment.
READS_ENVIRONMENT = {"core/settings.py", "capture/state.py"}

#: Marks of unfinished work, and paths that exist on one machine only.
FORBIDDEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|/(?:home|root|work|Users)/\w")


def source_files() -> list[Path]:
    """Every text file that git tracks, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    kinds = {".py", ".md", ".toml", ".yaml", ".txt", ""}
    return [file for file in files if file.suffix in kinds and file.is_file()]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in modules()
        if not ast.get_docstring(ast.parse(file.read_text("utf-8")))
    ]
    assert not silent, f"no docstring: {silent}"


def test_settings_are_read_in_one_file() -> None:
    reading = re.compile(r"\benviron\b|\bgetenv\b")
    readers = {
        file.relative_to(PACKAGE).as_posix()
        for file in modules()
        if reading.search(file.read_text("utf-8"))
    }
    assert readers <= READS_ENVIRONMENT


def test_no_unfinished_work_and_no_private_paths() -> None:
    found = []
    for file in source_files():
        if file == Path(__file__):
            continue
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
            if FORBIDDEN.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_examples_fit_a_sitting() -> None:
    lengths = {
        file.name: len(file.read_text("utf-8").splitlines())
        for file in (ROOT / "examples").glob("*.py")
    }
    long = {name: n for name, n in lengths.items() if n >= MAXIMUM_EXAMPLE_LINES}
    assert not long


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(file.name[:4]) for file in (ROOT / "docs/decisions").glob("[0-9]*")]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_decisions_are_in_their_index_under_their_titles() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")
    for file in folder.glob("[0-9]*"):
        number, title = file.read_text("utf-8").splitlines()[0][2:].split(". ", 1)
        assert f"| {number} | [{title}]({file.name}) |" in index, file.name


def test_files_that_packages_name_exist() -> None:
    for package in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(package.read_text("utf-8"))) or ""
        for name in re.findall(r"``(\w+)\.py``", text):
            assert (package.parent / f"{name}.py").exists(), f"{package} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path) if path else document
        assert linked.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{document.name} links to {target}"


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_files_that_documents_name_exist(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.M | re.S)
    for name in re.findall(r"`((?:tetragrad|tests|examples|docs)/[\w./]+)`", text):
        assert (ROOT / name).exists(), f"{document.name} names {name}"
