"""Names for doctests, and which engine the tests of this folder run on.

By default a node means what ``backends/reference/graph.py`` says, so that these tests
find mistakes of the tensor alone. ``TETRAGRAD_TEST_ENGINE=compiled`` runs them through
the whole compiler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import tetragrad
from tetragrad.backends.reference.graph import evaluate
from tetragrad.engine import realize as engine
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node


def interpret(nodes: Sequence[Node], held: Sequence[Node] = ()) -> list[Buffer]:
    """The meaning of nodes, without a compiler."""
    arrays = evaluate(nodes, engine.read_buffer)
    return [
        node
        if isinstance(node, Buffer)
        else engine.from_array(np.asarray(array), node.device or "cpu")
        for node, array in zip(nodes, arrays, strict=True)
    ]


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if os.environ.get("TETRAGRAD_TEST_ENGINE") != "compiled":
        monkeypatch.setattr(engine, "realize", interpret)
    yield


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace["tetragrad"] = tetragrad
    doctest_namespace["Tensor"] = tetragrad.Tensor
    doctest_namespace["np"] = np
