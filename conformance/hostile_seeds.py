"""Valid files of every format that is read, for mutations to start from."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tetragrad.data.idx import parse_idx
from tetragrad.state import load, load_safetensors, load_torch


@dataclass(frozen=True)
class Seed:
    """A valid file, and the function that reads files of its kind."""

    format: str
    name: str
    contents: bytes
    read: Callable[[bytes], Any]


def _idx(contents: bytes) -> Any:
    return parse_idx(contents, "hostile")


# --- safetensors ----------------------------------------------------------------------


def safetensors(header: dict[str, Any], elements: bytes) -> bytes:
    """A safetensors file of a header and the bytes that it describes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + elements


def _safetensors_seeds() -> list[bytes]:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, code, shape, size in (
        ("weight", "F32", [2, 3], 4),
        ("bias", "BF16", [3], 2),
        ("count", "I64", [], 8),
        ("none", "F16", [0, 4], 2),
        ("flags", "BOOL", [5], 1),
    ):
        nbytes = int(np.prod(shape)) * size
        offsets = [position, position + nbytes]
        entries[name] = {"dtype": code, "shape": shape, "data_offsets": offsets}
        position += nbytes
    one = {"x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}
    return [
        safetensors(entries, bytes(range(position))),
        safetensors(one, bytes(8)),
        safetensors({}, b""),
    ]


# --- torch checkpoints ----------------------------------------------------------------


def _torch_structures() -> list[Any]:
    import torch

    shared = torch.arange(12.0)
    layers = OrderedDict(
        weight=torch.nn.Parameter(shared.reshape(3, 4)),
        bias=shared[:3],
        turned=shared.reshape(3, 4).t(),
        half=torch.ones(2, dtype=torch.bfloat16),
        empty=torch.empty(0, 3),
        count=torch.tensor(7),
    )
    training = {
        "model": layers,
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}],
        },
        "epoch": 3,
        "note": "text",
        "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
    }
    return [layers, training, {"numpy": np.float64(0.5), "array": np.arange(3)}]


def _torch_seeds() -> list[bytes]:
    import torch

    files = []
    for structure in _torch_structures():
        for new in (True, False):
            stream = io.BytesIO()
            torch.save(structure, stream, _use_new_zipfile_serialization=new)
            files.append(stream.getvalue())
    return files


# --- NumPy and IDX --------------------------------------------------------------------


def _numpy_seeds() -> list[bytes]:
    arrays = {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "turned": np.asfortranarray(np.ones((2, 3))),
        "count": np.array(7),
        "empty": np.zeros((0, 3), np.int16),
    }
    files = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **arrays)  # type: ignore[operator]
        files.append(stream.getvalue())
    for array in arrays.values():
        stream = io.BytesIO()
        np.save(stream, array)
        files.append(stream.getvalue())
    objects = io.BytesIO()
    np.save(objects, np.array([print, {}], object), allow_pickle=True)
    return [*files, objects.getvalue()]


def _idx_seeds() -> list[bytes]:
    images = struct.pack(">2x2B3I", 8, 3, 2, 3, 4) + bytes(range(24))
    labels = struct.pack(">2x2BI", 8, 1, 10) + bytes(range(10))
    wide = struct.pack(">2x2BI", 0x0E, 1, 2) + struct.pack(">2d", 1, 2)
    return [images, labels, wide, gzip.compress(images, mtime=0)]


# --- ONNX -----------------------------------------------------------------------------


def _onnx(contents: bytes) -> Any:
    from tetragrad import onnx

    return onnx.load(contents)


def _onnx_seeds() -> list[bytes]:
    """A small network, and one whose operators hold graphs; none without ``onnx``."""
    if importlib.util.find_spec("onnx") is None:
        return []
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], constants: list[Any]) -> bytes:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            nodes,
            "network",
            [value("x", TensorProto.FLOAT, ["batch", 4])],
            [value("y", TensorProto.FLOAT, None)],
            constants,
        )
        imports = [helper.make_opsetid("", 20)]
        return helper.make_model(graph, opset_imports=imports).SerializeToString()

    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "weight")
    shape = numpy_helper.from_array(np.array([-1, 3, 1]), "shape")
    chosen = numpy_helper.from_array(np.array(True), "chosen")
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["negative"])],
        "branch",
        [],
        [helper.make_tensor_value_info("negative", TensorProto.FLOAT, None)],
    )
    network = [
        helper.make_node("MatMul", ["x", "weight"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Reshape", ["active", "shape"], ["y"]),
    ]
    choice = helper.make_node(
        "If", ["chosen"], ["y"], then_branch=branch, else_branch=branch
    )
    return [model(network, [weight, shape]), model([choice], [chosen])]


# --- programs -------------------------------------------------------------------------


class _Calls:
    """Pickles as a call of a function, which plain unpickling would run."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _programs() -> list[bytes]:
    """Pickles that would run code, alone and as old checkpoints."""
    import os

    hostile = [
        _Calls(os.system, "touch /tmp/hostile-file-was-run"),
        _Calls(eval, "__import__('os').getpid()"),
        _Calls(exec, "raise SystemExit"),
        _Calls(__import__, "subprocess"),
        _Calls(getattr, _Calls(__import__, "os"), "system"),
        _Calls(bytearray, 1 << 40),
        _Calls(np.zeros, (1 << 40,)),
    ]
    return [pickle.dumps({"weight": entry}, protocol=2) for entry in hostile]


def legacy_checkpoint(program: bytes) -> bytes:
    """A torch checkpoint from before 1.6 whose structure is a program of ours."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = (0x1950A86A20F9469CFC6C, 1001, system)
    head = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    return head + program + pickle.dumps([], protocol=2)


def zip_checkpoint(program: bytes) -> bytes:
    """A torch checkpoint of today whose structure is a program of ours."""
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(48))
    return stream.getvalue()


def all_seeds() -> list[Seed]:
    """Every seed; the same for every run, and for PyTorch of one version."""
    seeds = []
    listed: list[tuple[str, Callable[[bytes], Any], list[bytes]]] = [
        ("safetensors", load_safetensors, _safetensors_seeds()),
        ("torch", load_torch, _torch_seeds()),
        ("npz", load, _numpy_seeds()),
        ("idx", _idx, _idx_seeds()),
        ("onnx", _onnx, _onnx_seeds()),
        ("program", load_torch, [legacy_checkpoint(entry) for entry in _programs()]),
        ("program", load_torch, [zip_checkpoint(entry) for entry in _programs()]),
    ]
    for format, read, files in listed:
        for number, contents in enumerate(files):
            seeds.append(Seed(format, f"{format} {number}", contents, read))
    return seeds
