"""The README's commands are the real ones, and Python in prose runs as printed."""

from __future__ import annotations

import doctest
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if ">>> " in page.read_text("utf-8")
]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def check_shell(text: str) -> None:
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_first_block_is_the_main_job() -> None:
    language, text = BLOCKS[0]
    assert language == "sh"
    check_shell(text)
    assert "python3 -m venv .venv" in text
    script = re.search(r"^\.venv/bin/python (\S+)$", text, re.MULTILINE)
    assert script is not None
    assert (ROOT / script[1]).exists()


def test_second_block_is_what_the_ci_runs() -> None:
    language, text = BLOCKS[1]
    assert language == "sh"
    check_shell(text)
    assert text.strip() in (ROOT / ".ci/run").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_prose_runs_as_printed(page: Path) -> None:
    results = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert results.attempted > 0
    assert results.failed == 0
