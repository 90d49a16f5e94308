"""The command line prints what it promises, and fails kindly."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import tetragrad
from tetragrad.cli.main import main
from tetragrad.core.settings import Settings, override


def test_info_names_versions_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    with override(data="somewhere"):
        assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"tetragrad {tetragrad.__version__}\n")
    assert "device reference: numpy, 1 units" in text
    assert "device cpu: " in text
    assert "data folder: somewhere" in text


def test_settings_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    with override(threads=3):
        assert main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        entry.metadata["variable"] for entry in fields(Settings)
    ]
    assert [line.split()[1] for line in lines if "THREADS" in line] == ["3"]


def test_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2
    assert "invalid choice: 'fly'" in capsys.readouterr().err


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "tetragrad", "settings"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TETRAGRAD_DEVICE" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "tetragrad", "settings"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_mistake_in_an_explained_script_is_shown_at_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import tetragrad\ntetragrad.ones(2, 3) @ tetragrad.ones(2, 3)\n")
    assert main(["explain", str(script)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].endswith('script.py", line 2, in <module>')
    assert lines[-1].startswith("hint: ")


def test_explain_names_a_script_that_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "absent.py"]) == 1
    assert "there is no script 'absent.py'" in capsys.readouterr().err
