"""An ONNX file as a module: it can be looked at, called, captured and trained."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.onnx.describe import operators_of
from tetragrad.onnx.evaluate import run
from tetragrad.onnx.graph import ModelFile, Node, ValueType
from tetragrad.onnx.parsing import parse_file
from tetragrad.onnx.placement import Uses, uses_of
from tetragrad.onnx.program import bind
from tetragrad.onnx.values import STORED_ONLY, Value, to_tensor
from tetragrad.tensor import Tensor

#: A module, and the name of a tensor in it.
RegisteredAt: TypeAlias = tuple[Module, str]

_TRAINABLE = frozenset(
    (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
)


def load(source: str | os.PathLike[str] | bytes | Any) -> OnnxModel:
    """Read an ONNX model from a path, from bytes, or from an ``onnx.ModelProto``.

    >>> from onnx import helper
    >>> node = helper.make_node("Neg", ["x"], ["y"])
    >>> x, y = (helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    >>> graph = helper.make_graph([node], "negation", [x], [y])
    >>> model = load(helper.make_model(graph))
    >>> model
    OnnxModel(
      input x: float32[2]
      output y: float32[2]
      1 nodes, 0 parameters
    )
    >>> model(Tensor([1.0, -2.0]))
    tensor([-1.,  2.])

    Raises:
        FileFormatError: the file is damaged, or contradicts itself.
        UnsupportedError: it uses operators that are not there; the message lists them.
        DataError: there is no such file.
    """
    return OnnxModel(parse_file(source))


class OnnxModel(Module):
    """The graph of an ONNX file, as a module.

    Calling it computes the outputs from inputs that are passed in their order or by
    their names: tensors, arrays or numbers. A Python number is a constant: what
    depends on it is decided when the model is captured. One output is returned as it
    is, several as a tuple.

    Float constants of the file that are computed with are parameters under the file's
    own names; a dot in a name is a module. Other constants are buffers.

    >>> from tetragrad.onnx import OnnxModel
    >>> issubclass(OnnxModel, nn.Module)
    True
    """

    def __init__(self, file: ModelFile) -> None:
        super().__init__()
        self._file = file
        self._program = bind(file)
        uses = uses_of(self._program)
        # Tuples, because they cannot change: a replay need not compare them.
        #: Each trained constant's name in the file, and where it is registered.
        self._places = tuple(self._register_trained(uses))
        #: Arrays of the file that are on the device too, and where they are registered.
        self._copies = tuple(self._register_others(uses))

    # --- what is in it ----------------------------------------------------------------

    @property
    def inputs(self) -> tuple[ValueType, ...]:
        """Name, dtype and shape of each input."""
        return self._file.graph.inputs

    @property
    def outputs(self) -> tuple[ValueType, ...]:
        """Name, dtype and shape of each output."""
        return self._file.graph.outputs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the graph in the order in which they run."""
        return self._file.graph.nodes

    @property
    def opsets(self) -> Mapping[str, int]:
        """The version of each operator set that the file uses; '' is ONNX's own."""
        return self._file.opsets

    def operators(self) -> Counter[str]:
        """How often each operator occurs, graphs inside of nodes included."""
        return operators_of(self._file.graph)

    def extra_repr(self) -> str:
        lines = [f"input {entry}" for entry in self.inputs]
        lines += [f"output {entry}" for entry in self.outputs]
        count = sum(entry.numel() for entry in self.parameters())
        lines.append(f"{len(self.nodes)} nodes, {count:,} parameters")
        return "\n".join(lines)

    def __repr__(self) -> str:
        inner = self.extra_repr().replace("\n", "\n  ")
        return f"OnnxModel(\n  {inner}\n)"

    # --- running ----------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs."""
        ordered = self._ordered(args, kwargs)
        values = [
            _accepted(value, entry)
            for value, entry in zip(ordered, self.inputs, strict=True)
        ]
        trained = {name: _tensor_at(at) for name, at in self._places}
        on_device = {id(array): _tensor_at(at) for array, at in self._copies}
        results = run(self._program, values, on_device, given=trained)
        outputs = tuple(_finished(value) for value in results)
        return outputs[0] if len(outputs) == 1 else outputs

    def _ordered(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """The arguments in the order of the inputs; None for one left out."""
        names = [entry.name for entry in self.inputs]
        listed = ", ".join(map(str, self.inputs)) or "none"
        unknown = [name for name in kwargs if name not in names]
        if unknown or len(args) > len(names):
            asked = f"an input {unknown[0]!r}" if unknown else f"{len(args)} inputs"
            raise TetragradError(f"{asked} for a model with the inputs {listed}")
        given = {**dict(zip(names, args, strict=False))}
        for name, value in kwargs.items():
            if name in given:
                raise TetragradError(f"input {name!r} is given twice")
            given[name] = value
        for entry in self.inputs:
            if entry.name not in given and entry.kind != "optional":
                raise TetragradError(f"input {entry.name!r} is missing of {listed}")
            yield given.get(entry.name)

    # --- constants --------------------------------------------------------------------

    def _register_trained(self, uses: Uses) -> Iterator[tuple[str, RegisteredAt]]:
        """Parameters for the float constants that a device computes with."""
        for name, array in self._program.graph.constants.items():
            if id(array) not in uses.on_device:
                continue
            is_float = _dtype(array) in _TRAINABLE
            if is_float and id(array) not in uses.on_host | uses.statistics:
                value = Parameter(Tensor(array))
                yield name, self._register_value(name, value)

    def _register_others(self, uses: Uses) -> Iterator[tuple[np.ndarray, RegisteredAt]]:
        """Buffers for the other constants that a device computes with."""
        taken = {id(self._program.graph.constants[name]) for name, _ in self._places}
        for number, array in enumerate(uses.arrays):
            if id(array) in taken or array.size < 2 or array.dtype in STORED_ONLY:
                continue
            if id(array) in uses.on_device:
                yield array, self._register_value(f"constants.{number}", Tensor(array))

    def _register_value(self, name: str, value: Tensor) -> RegisteredAt:
        """Register under a name of the file; each part before a dot is a module."""
        module: Module = self
        *path, last = [part or "_" for part in name.split(".")]
        for part in path:
            module = _submodule(module, part)
        while hasattr(module, last):
            last += "_"
        if isinstance(value, Parameter):
            module.register_parameter(last, value)
        else:
            module.register_buffer(last, value, persistent=False)
        return module, last


def _submodule(module: Module, name: str) -> Module:
    """The module of a name inside another, made if it is not there."""
    while True:
        found = module._modules.get(name)
        if found is not None:
            return found
        if not hasattr(module, name):
            made = Module()
            module.register_module(name, made)
            return made
        name += "_"


def _tensor_at(place: RegisteredAt) -> Tensor:
    """The tensor that is registered in a module under a name."""
    module, name = place
    found = module._parameters.get(name)
    return module._buffers[name] if found is None else found


def _dtype(array: np.ndarray) -> dtypes.DType | None:
    return None if array.dtype in STORED_ONLY else dtypes.from_numpy(array.dtype)


def _accepted(value: Any, entry: ValueType) -> Value:
    """An argument as a value of the graph, if it is what the file says."""
    if value is None or entry.kind not in ("", "tensor"):
        return _as_sequence(value)
    if isinstance(value, bool | int | float | str) or (
        isinstance(value, list | tuple) and entry.dtype is not None
    ):
        made = np.asarray(value, entry.dtype)
        converted: Value = made if made.ndim == 0 else _as_tensor(made)
    else:
        converted = _as_tensor(value)
    _check(converted, entry)
    return converted


def _as_sequence(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return [_as_sequence(entry) for entry in value]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _as_tensor(value)
    converted: Value = value
    return converted


def _as_tensor(value: Any) -> Value:
    """A tensor, unless no device has the type."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "SU":
        array = array.astype(object)
    return array if array.dtype in STORED_ONLY else Tensor(array)


def _check(value: Value, entry: ValueType) -> None:
    """Raise if the dtype or the sizes are not those that the file says."""
    assert isinstance(value, Tensor | np.ndarray)
    found = value.dtype.numpy if isinstance(value, Tensor) else value.dtype
    if entry.dtype is not None and found != entry.dtype:
        raise DTypeError(
            f"an input of {found.name} where the model takes {entry}",
            hint="convert it first, for example with .to(...) or .astype(...)",
        )
    if entry.shape is None:
        return
    fits = len(value.shape) == len(entry.shape) and all(
        not isinstance(wanted, int) or wanted == have
        for wanted, have in zip(entry.shape, value.shape, strict=False)
    )
    if not fits:
        raise ShapeError(f"an input of shape {value.shape} for the model's {entry}")


def _finished(value: Value) -> Any:
    """A value as it leaves the model: a tensor wherever tensors have the type."""
    if isinstance(value, list):
        return [_finished(entry) for entry in value]
    if isinstance(value, np.ndarray) and value.dtype not in STORED_ONLY:
        return to_tensor(value)
    return value
