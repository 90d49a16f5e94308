"""The command line: one subcommand each, which prints plain text.

tetragrad info                versions, devices and folders
tetragrad settings            every setting, its variable, its value and its meaning
tetragrad explain script.py   what becomes of each graph that a script computes
tetragrad onnx model.onnx     what is in an ONNX file; --check runs it, --bench times it
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib import metadata

import tetragrad
from tetragrad.backends.backend import BACKENDS, open_device
from tetragrad.cli import explain, onnx
from tetragrad.core.errors import TetragradError
from tetragrad.core.settings import Settings, settings
from tetragrad.data.location import cache_folder, data_folder

DEPENDENCIES = ("numpy", "llvmlite", "ml_dtypes")


def info() -> None:
    """Print what someone who helps with a problem would ask first."""
    print(f"tetragrad {tetragrad.__version__}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for package in DEPENDENCIES:
        print(f"{package} {metadata.version(package)}")
    for name in sorted(BACKENDS):
        print(f"device {name}: {describe_device(name)}")
    print(f"data folder: {data_folder() or 'TETRAGRAD_DATA is not set'}")
    print(f"downloads: {cache_folder()}")


def describe_device(name: str) -> str:
    """A device's target in a few words, or why it cannot be opened."""
    try:
        target = open_device(name).target
    except TetragradError as error:
        return f"not here ({error})"
    width = f"vectors of {target.vector_bytes} bytes"
    return f"{target.architecture}, {target.units} units, {width}"


def show_settings() -> None:
    """Print the settings as a table."""
    active = settings()
    entries = fields(Settings)
    width = max(len(entry.metadata["variable"]) for entry in entries)
    for entry in entries:
        value = getattr(active, entry.name)
        variable = entry.metadata["variable"]
        print(f"{variable:<{width}} {value!r:<12} {entry.metadata['text']}")


COMMANDS: dict[str, tuple[Callable[[], None], str]] = {
    "info": (info, "versions, devices and folders"),
    "settings": (show_settings, "every setting, its value here and its meaning"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="tetragrad", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    text = "what becomes of each graph that a script computes"
    explain.add_arguments(commands.add_parser("explain", help=text))
    text = "what is in an ONNX file, whether it runs, and how fast"
    onnx.add_arguments(commands.add_parser("onnx", help=text))
    options = parser.parse_args(arguments)
    try:
        if options.command == "explain":
            return explain.explain_script(options)
        if options.command == "onnx":
            onnx.run(options)
        else:
            COMMANDS[options.command][0]()
        sys.stdout.flush()
    except TetragradError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read, `head` say, has seen enough. What is left goes nowhere, or
        # Python would complain about it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
