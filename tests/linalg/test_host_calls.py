"""The node of a host function: order, devices, captures, text, and the reference."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.backends.backend import Device
from tetragrad.backends.reference.graph import evaluate
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError, VerifyError
from tetragrad.engine import realize as engine
from tetragrad.graph.host_call import Call, HostCall, HostFunction, Operand, register
from tetragrad.graph.node import Shape, walk
from tetragrad.graph.text import graph_text, names_of, parse_graph
from tetragrad.graph.verify import verify_graph
from tetragrad.tensor import host

COUNTS = {"calls": 0}


def _count(array: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    COUNTS["calls"] += 1
    return array * np.float32(factor), array.sum(keepdims=True)


register(
    HostFunction(
        "test.scaled",
        _count,
        lambda operand, _: (operand, Operand((1,) * len(operand.shape), operand.dtype)),
    )
)


def _scaled(tensor: Tensor, factor: float) -> list[Tensor]:
    return host.call("test.scaled", tensor, options=(factor,))


def test_it_runs_once_for_all_outputs_between_kernels() -> None:
    COUNTS["calls"] = 0
    scaled, total = _scaled(Tensor([1.0, 2.0]) + 1, 10.0)
    combined = (scaled / total).relu()
    assert combined.tolist() == [4, 6]
    assert (total - 1).tolist() == [4]
    assert COUNTS["calls"] == 1


def test_calls_follow_one_another() -> None:
    value = Tensor([1.0])
    for _ in range(20):
        value = _scaled(value + 1, 2.0)[0]
    assert value.item() == 2.0**21 - 2 + 2.0**20


def test_the_options_are_part_of_the_node() -> None:
    source = Tensor([1.0])
    assert _scaled(source, 2.0)[0].node is _scaled(source, 2.0)[0].node
    assert _scaled(source, 2.0)[0].node is not _scaled(source, 3.0)[0].node


def test_its_value_is_on_the_device_of_its_inputs() -> None:
    matrix = Tensor([[4.0]], device="reference")
    factor = tetragrad.linalg.cholesky(matrix)
    assert factor.device == "reference"
    assert (factor + 1).tolist() == [[3]]


def test_constants_can_be_factorised() -> None:
    assert tetragrad.linalg.cholesky(Tensor.eye(2) * 4).tolist() == [[2, 0], [0, 2]]


def test_captured_functions_copy_to_the_host_and_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = type(engine.device("cpu"))
    copies = []

    def read_at(on: Device, address: int, shape: Shape, dtype: DType) -> np.ndarray:
        copies.append(("to the host", shape))
        return Device.read_at(on, address, shape, dtype)

    def write_at(on: Device, address: int, array: np.ndarray) -> None:
        copies.append(("back", array.shape))
        Device.write_at(on, address, array)

    monkeypatch.setattr(device, "has_host_memory", property(lambda on: False))
    monkeypatch.setattr(device, "read_at", read_at, raising=False)
    monkeypatch.setattr(device, "write_at", write_at, raising=False)

    @tetragrad.jit
    def invert(matrix: Tensor) -> Tensor:
        return tetragrad.linalg.inv(matrix * 2) + 1

    for number in range(1, 5):
        found = invert(Tensor.eye(2) * number)
        np.testing.assert_allclose(found.numpy(), np.eye(2) / (2 * number) + 1)
    assert copies.count(("to the host", (2, 2))) == 3
    assert copies.count(("back", (2, 2))) == 3


def test_text_reference_and_verifier() -> None:
    matrix = Tensor(np.array([[4.0, 2.0], [2.0, 5.0]]))
    lower = host.call("linalg.cholesky", matrix * 1.5)[0]
    (factor,) = (node for node in walk([lower.node]) if isinstance(node, HostCall))
    text = graph_text([factor])
    assert "HostCall float64[2,2] function='linalg.cholesky'" in text
    assert parse_graph(text, names_of([factor])) == [factor]
    verify_graph([factor])
    (value,) = evaluate([factor], engine.read_buffer)
    np.testing.assert_allclose(value @ value.T, matrix.numpy() * 1.5)


def test_complex_numbers_are_pairs_in_the_graph() -> None:
    matrix = Tensor(np.array([[2 + 0j, 1j], [-1j, 2]]))
    inverse = tetragrad.linalg.inv(matrix)
    assert inverse.dtype is tetragrad.complex128
    np.testing.assert_allclose(matrix.numpy() @ inverse.numpy(), np.eye(2), atol=1e-15)
    (node,) = (entry for entry in walk([inverse.real_node]) if entry.shape == (2, 2, 2))
    assert node.dtype is tetragrad.float64


def test_broken_promises_are_found() -> None:
    register(
        HostFunction("test.broken", lambda x: (x[:1],), lambda operand: (operand,))
    )
    with pytest.raises(VerifyError, match=r"test\.broken promised"):
        host.call_now("test.broken", Tensor([1.0, 2.0]))


def test_explaining_says_what_to_do() -> None:
    with pytest.raises(UnsupportedError, match="realize that value first"):
        host.call("linalg.cholesky", Tensor([[4.0]]) * 2)[0].explain()


def test_a_call_knows_its_outputs() -> None:
    source = Tensor([1.0, 2.0]).node
    call = Call("test.scaled", (2.0,), "cpu", (tetragrad.float32,), (source,))
    assert [node.shape for node in call.nodes()] == [(2,), (1,)]
