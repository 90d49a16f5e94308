"""Recurrent layers: RNN, LSTM and GRU, and the cells that make one step of each.

A layer multiplies all inputs by its input weights at once and then walks along the
sequence; the graph of a walk grows with the sequence, and its steps share kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn import init
from tetragrad.nn.linear import empty_parameter
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor

#: What a step carries: (hidden,), or (hidden, cell) for LSTM.
State = tuple[Tensor, ...]
#: step(input projection, hidden projection, state) -> next state.
Step = Callable[[Tensor, Tensor, State], State]


def _tanh_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    """h' = tanh(W_i x + b_i + W_h h + b_h)."""
    return ((from_input + from_hidden).tanh(),)


def _relu_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    """h' = max(0, W_i x + b_i + W_h h + b_h)."""
    return ((from_input + from_hidden).relu(),)


def _lstm_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    """c' = f·c + i·g and h' = o·tanh(c'), with gates i, f, g, o (Hochreiter 1997)."""
    gates = (from_input + from_hidden).chunk(4, dim=-1)
    input_gate, forget_gate, candidate, output_gate = gates
    kept = forget_gate.sigmoid() * state[1]
    cell = kept + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell.tanh(), cell


def _gru_step(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    """h' = (1 - z)·n + z·h with n = tanh(x_n + r·h_n) (Cho et al. 2014)."""
    input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
    hidden_reset, hidden_update, hidden_new = from_hidden.chunk(3, dim=-1)
    reset = (input_reset + hidden_reset).sigmoid()
    update = (input_update + hidden_update).sigmoid()
    new = (input_new + reset * hidden_new).tanh()
    return ((1 - update) * new + update * state[0],)


def _where(condition: Tensor, chosen: State, other: State) -> State:
    """Each part of a state from one of two, row by row."""
    pairs = zip(chosen, other, strict=True)
    return tuple(new.where(condition, old) for new, old in pairs)


def _nonlinear_step(nonlinearity: str) -> Step:
    steps = {"tanh": _tanh_step, "relu": _relu_step}
    if nonlinearity not in steps:
        raise ValueError(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
    return steps[nonlinearity]


class _RecurrentLayer(Module):
    """What RNN, LSTM and GRU share: weights for each layer and direction.

    Layer k has ``weight_ih_lk`` (gates·hidden, inputs), ``weight_hh_lk``
    (gates·hidden, hidden), ``bias_ih_lk`` and ``bias_hh_lk``, and the same with
    ``_reverse`` if bidirectional; all start as U(-1/√hidden, 1/√hidden).
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ValueError(f"a dropout probability lies in [0, 1], got {dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"proj_size {proj_size} must be smaller than hidden_size {hidden_size}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                self._add_parameters(layer, suffix, device, dtype)
        self.reset_parameters()

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        """What follows the names of a layer's parameters, for each direction."""
        forward = f"_l{layer}"
        return [forward, f"{forward}_reverse"] if self.bidirectional else [forward]

    def _add_parameters(
        self, layer: int, suffix: str, device: str | None, dtype: Any
    ) -> None:
        directions = 2 if self.bidirectional else 1
        inputs = self.input_size if layer == 0 else self._output_size * directions
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self._output_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            parameter = empty_parameter(*shape, device=device, dtype=dtype)
            self.register_parameter(name + suffix, parameter)

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: parameters need no particular place in memory here."""

    def _step(self) -> Step:
        raise NotImplementedError

    def _parameter(self, name: str, suffix: str) -> Parameter | None:
        return self._parameters.get(name + suffix)

    def _run(self, input: Any, initial: State | None) -> tuple[Any, State]:
        """Run all layers; sequence first or batch first as ``batch_first`` says."""
        if not isinstance(input, Tensor):
            return self._run_packed(input, initial)
        self._check_input(input)
        unbatched = input.ndim == 2
        if unbatched:
            sequence = input.unsqueeze(1)
        else:
            sequence = input.transpose(0, 1) if self.batch_first else input
        states = self._initial_states(sequence, initial, unbatched)
        output, last = self._run_layers(sequence, states)
        if unbatched:
            return output.squeeze(1), tuple(state.squeeze(1) for state in last)
        return output.transpose(0, 1) if self.batch_first else output, last

    def _run_packed(self, packed: Any, initial: State | None) -> tuple[Any, State]:
        """Run sequences of different lengths: a state stays where one has no step."""
        # Few programs pack sequences; the others need not import this.
        from tetragrad.nn.utils.rnn import Layout, PackedSequence

        if not isinstance(packed, PackedSequence):
            raise DTypeError(
                f"{type(self).__name__} of a {type(packed).__name__}",
                hint="pass a tensor, or what pack_padded_sequence() gives",
            )
        layout = Layout.of(packed)
        sequence = layout.pad(packed.data, len(layout.batch_sizes), 0.0)
        self._check_input(sequence)
        states = self._initial_states(sequence, initial, unbatched=False)
        is_step = layout.is_step(sequence.device)
        output, last = self._run_layers(sequence, states, is_step)
        return packed._replace(data=layout.pack(output).data), last

    def _run_layers(
        self, sequence: Tensor, states: State, is_step: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """All layers over (time, batch, features); the last states of all of them."""
        finals: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self._suffixes(layer):
                start = tuple(state[len(finals)] for state in states)
                output, final = self._walk(sequence, start, suffix, is_step)
                outputs.append(output)
                finals.append(final)
            sequence = F.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            if layer + 1 < self.num_layers and self.dropout:
                sequence = F.dropout(sequence, self.dropout, self.training)
        return sequence, tuple(F.stack(parts) for parts in zip(*finals, strict=True))

    def _walk(
        self, sequence: Tensor, state: State, suffix: str, is_step: Tensor | None
    ) -> tuple[Tensor, State]:
        """One layer in one direction, over a sequence (time, batch, features)."""
        weight_ih, weight_hh, bias_ih, bias_hh, projection = (
            self._parameter(name, suffix)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        )
        assert weight_ih is not None and weight_hh is not None
        step = self._step()
        from_input = F.linear(sequence, weight_ih, bias_ih)
        times = range(sequence.shape[0])
        outputs = []
        for time in reversed(times) if suffix.endswith("_reverse") else times:
            from_hidden = F.linear(state[0], weight_hh, bias_hh)
            before = state
            state = step(from_input[time], from_hidden, state)
            if projection is not None:
                state = F.linear(state[0], projection), *state[1:]
            if is_step is not None:
                state = _where(is_step[time], state, before)
            outputs.append(state[0])
        if suffix.endswith("_reverse"):
            outputs.reverse()
        return F.stack(outputs), state

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            order = "batch, time" if self.batch_first else "time, batch"
            raise ShapeError(
                f"{type(self).__name__} takes input ({order}, features) or (time, "
                f"features) with {self.input_size} features, got shape {input.shape}",
                hint="the last size is the layer's input_size; batch_first=True puts "
                "the batch first",
            )
        if 0 in input.shape[:-1]:
            raise ShapeError(
                f"{type(self).__name__} got an empty input {input.shape}",
                hint="pass at least one sequence of one step",
            )

    def _initial_states(
        self, sequence: Tensor, initial: State | None, unbatched: bool
    ) -> State:
        """The starting states, each (layers·directions, batch, size); zeros if None."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self._output_size, self.hidden_size)[: self.states]
        shapes = [(count, sequence.shape[1], size) for size in sizes]
        if initial is None:
            options = {"dtype": sequence.dtype, "device": sequence.device}
            return tuple(Tensor.zeros(*shape, **options) for shape in shapes)
        if len(initial) != len(shapes):
            raise ShapeError(
                f"{type(self).__name__} with {len(initial)} initial states instead of "
                f"{len(shapes)}",
                hint="an LSTM's state is a tuple, (hidden, cell)",
            )
        if unbatched:
            initial = tuple(state.unsqueeze(1) for state in initial)
        for state, shape in zip(initial, shapes, strict=True):
            if state.shape != shape:
                raise ShapeError(
                    f"{type(self).__name__}: the initial state has shape "
                    f"{state.shape}, the input and the layer need {shape}",
                    hint="its sizes are (layers * directions, batch, hidden_size)",
                )
        return initial

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False,
            "dropout": 0.0, "bidirectional": False, "proj_size": 0,
        }  # fmt: skip
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text


class RNN(_RecurrentLayer):
    """h' = tanh(W_i x + b_i + W_h h + b_h), or ReLU instead of tanh.

    Input: (time, batch, features), or (batch, time, features) if ``batch_first``, or
    (time, features); or a packed sequence (``nn.utils.rnn``), and then the output is
    one. Returns the outputs of the last layer at all times and the last state of every
    layer, (layers·directions, batch, hidden).

    >>> output, hidden = nn.RNN(4, 8, num_layers=2)(Tensor.zeros(5, 1, 4))
    >>> output.shape, hidden.shape
    ((5, 1, 8), (2, 1, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        _nonlinear_step(nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    def _step(self) -> Step:
        return _nonlinear_step(self.nonlinearity)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden


class LSTM(_RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), c' = f·c + i·g,
    h' = o·tanh(c'); with ``proj_size`` h' is then multiplied by ``weight_hr``.

    Input as for :class:`RNN`; returns the outputs and (hidden, cell).

    >>> output, (hidden, cell) = nn.LSTM(4, 8, batch_first=True)(Tensor.zeros(1, 5, 4))
    >>> output.shape, cell.shape
    ((1, 5, 8), (1, 1, 8))
    """

    gates = 4
    states = 2

    def _step(self) -> Step:
        return _lstm_step

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        output, (hidden, cell) = self._run(input, hx)
        return output, (hidden, cell)


class GRU(_RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(W x + U h + b), n = tanh(W x + b + r·(U h + b)),
    h' = (1 - z)·n + z·h. Input and results as for :class:`RNN`.

    >>> output, hidden = nn.GRU(4, 8, bidirectional=True)(Tensor.zeros(5, 1, 4))
    >>> output.shape, hidden.shape
    ((5, 1, 16), (2, 1, 8))
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype,
        )  # fmt: skip

    def _step(self) -> Step:
        return _gru_step

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden


class _Cell(Module):
    """One step of a recurrent layer, on (batch, features) or (features)."""

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.gates * hidden_size
        place = {"device": device, "dtype": dtype}
        self.weight_ih = empty_parameter(rows, input_size, **place)
        self.weight_hh = empty_parameter(rows, hidden_size, **place)
        self.bias_ih = empty_parameter(rows, **place) if bias else None
        self.bias_hh = empty_parameter(rows, **place) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values from U(-1/√hidden, 1/√hidden)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _next(self, input: Tensor, state: State | None, step: Step) -> State:
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes (batch, {self.input_size}) or "
                f"({self.input_size},), got shape {input.shape}"
            )
        if state is None:
            shape = (*input.shape[:-1], self.hidden_size)
            zeros = Tensor.zeros(*shape, dtype=input.dtype, device=input.device)
            state = (zeros,) * self.states
        from_input = F.linear(input, self.weight_ih, self.bias_ih)
        from_hidden = F.linear(state[0], self.weight_hh, self.bias_hh)
        return step(from_input, from_hidden, state)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias_ih is not None else f"{text}, bias=False"


class RNNCell(_Cell):
    """One step of :class:`RNN`.

    >>> nn.RNNCell(4, 8)(Tensor.zeros(2, 4)).shape
    (2, 8)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        _nonlinear_step(nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        step = _nonlinear_step(self.nonlinearity)
        return self._next(input, None if hx is None else (hx,), step)[0]


class LSTMCell(_Cell):
    """One step of :class:`LSTM`; returns (hidden, cell).

    >>> hidden, cell = nn.LSTMCell(4, 8)(Tensor.zeros(2, 4))
    >>> hidden.shape
    (2, 8)
    """

    gates = 4
    states = 2

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        hidden, cell = self._next(input, hx, _lstm_step)
        return hidden, cell


class GRUCell(_Cell):
    """One step of :class:`GRU`.

    >>> nn.GRUCell(4, 8)(Tensor.zeros(2, 4)).shape
    (2, 8)
    """

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._next(input, None if hx is None else (hx,), _gru_step)[0]
