"""Recurrent layers: RNN, GRU and LSTM with every attribute and direction.

The inputs of all steps meet the weights in one product; then the steps are unrolled.
Steps beyond a sequence's own length keep the state and give zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.core.frozen import frozen
from tetragrad.onnx.operators.shape import reverse_sequence
from tetragrad.onnx.registry import operator
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.joining import stack

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
#: From the product of a step's input, and the state, to the next state.
Step = Callable[[Tensor, State], State]

#: For each activation: how it is made, and its alpha and beta if it has them.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], float | None, float | None]] = {
    "relu": (lambda x, a, b: x.relu(), None, None),
    "tanh": (lambda x, a, b: x.tanh(), None, None),
    "sigmoid": (lambda x, a, b: x.sigmoid(), None, None),
    "softsign": (lambda x, a, b: x.softsign(), None, None),
    "softplus": (lambda x, a, b: x.softplus(), None, None),
    "affine": (lambda x, a, b: x * a + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a, b: x.leaky_relu(a), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: where(x >= a, x, x * 0), 1.0, None),
    "scaledtanh": (lambda x, a, b: (x * b).tanh() * a, 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: (x * a + b).clamp(0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: x.elu(a), 1.0, None),
}


def _activations(
    names: Sequence[str], alphas: Sequence[float] | None, betas: Sequence[float] | None
) -> list[Activation]:
    """The functions; those that have an alpha or a beta take the next one given."""
    given_alphas, given_betas = iter(alphas or ()), iter(betas or ())
    found = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise TetragradError(f"there is no activation {name!r} of recurrent layers")
        function, alpha, beta = _ACTIVATIONS[name.lower()]
        alpha = alpha if alpha is None else next(given_alphas, alpha)
        beta = beta if beta is None else next(given_betas, beta)
        found.append(_with_constants(function, alpha, beta))
    return found


def _with_constants(
    function: Callable[..., Tensor], alpha: float | None, beta: float | None
) -> Activation:
    return lambda x: function(x, alpha, beta)


@frozen(eq=False)
class Layer:
    """What the three layers have in common."""

    x: Tensor
    weight: Tensor
    recurrence: Tensor
    bias: Tensor | None
    lengths: Tensor | None
    direction: str
    layout: int
    functions: list[Activation]
    clip: float | None

    def __post_init__(self) -> None:
        if self.direction not in ("forward", "reverse", "bidirectional"):
            raise TetragradError(f"a recurrent layer with direction {self.direction!r}")
        if self.weight.shape[0] != self.directions:
            raise ShapeError(
                f"weights of shape {self.weight.shape} for {self.directions} directions"
            )

    @property
    def directions(self) -> int:
        return _directions(self.direction)

    @property
    def hidden(self) -> int:
        return self.recurrence.shape[-1]

    @property
    def steps(self) -> Tensor:
        """The input with the steps first: (steps, batch, features)."""
        return self.x.transpose(0, 1) if self.layout else self.x

    def functions_of(self, number: int) -> list[Activation]:
        """The activations of one direction."""
        each = len(self.functions) // self.directions
        return self.functions[number * each : (number + 1) * each]

    def limited(self, x: Tensor) -> Tensor:
        """Cut to the range that ``clip`` gives."""
        return x if self.clip is None else x.clamp(-self.clip, self.clip)

    def initial(self, given: Tensor | None, number: int) -> Tensor:
        """A direction's first state: zeros, unless one is given."""
        if given is not None:
            return given[:, number] if self.layout else given[number]
        return Tensor.zeros(self.steps.shape[1], self.hidden, dtype=self.x.dtype)

    def biases(self, number: int, gates: int) -> tuple[Tensor | None, Tensor | None]:
        """The bias beside the input's product and the one beside the state's."""
        if self.bias is None:
            return None, None
        input_bias, state_bias = self.bias[number].split(gates * self.hidden)
        return input_bias, state_bias

    def run(self, make: Callable[[int], tuple[Step, State, Tensor]]) -> list[Tensor]:
        """Outputs of all steps, then the last states, of all directions.

        ``make`` gives for a direction its step, its first state and the products of
        its inputs.
        """
        outputs, finals = [], []
        for number in range(self.directions):
            is_reverse = self.direction == "reverse" or number == 1
            step, state, products = make(number)
            products = self._turned(products) if is_reverse else products
            given, state = self._unrolled(step, state, products)
            outputs.append(self._turned(given) if is_reverse else given)
            finals.append(state)
        together = stack(outputs, 1)
        states = [stack(list(entries), 0) for entries in zip(*finals, strict=True)]
        if self.layout:
            together = together.permute(2, 0, 1, 3)
            states = [entry.transpose(0, 1) for entry in states]
        return [together, *states]

    def _unrolled(
        self, step: Step, state: State, products: Tensor
    ) -> tuple[Tensor, State]:
        given = []
        for number, product in enumerate(products.unbind(0)):
            new = step(product, state)
            output = new[0]
            if self.lengths is not None:
                is_inside = (self.lengths > number).unsqueeze(1)
                output = where(is_inside, output, output.zeros_like())
                new = tuple(
                    where(is_inside, after, before)
                    for after, before in zip(new, state, strict=True)
                )
            given.append(output)
            state = new
        return stack(given, 0), state

    def _turned(self, x: Tensor) -> Tensor:
        """The steps backwards, of each sequence its own."""
        if self.lengths is None:
            return x.flip(0)
        return reverse_sequence(x, self.lengths)


class LayerOptions(TypedDict, total=False):
    """The attributes that the three layers have in common."""

    activation_alpha: Sequence[float] | None
    activation_beta: Sequence[float] | None
    activations: Sequence[str] | None
    clip: float | None
    direction: str
    hidden_size: int | None
    layout: int
    output_sequence: int


def _layer(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    sequence_lens: Tensor | None,
    usual_activations: tuple[str, ...],
    **options: Unpack[LayerOptions],
) -> Layer:
    """A layer whose activations are the usual ones unless the options name others."""
    direction = options.get("direction", "forward")
    names = options.get("activations") or usual_activations * 2
    functions = _activations(
        names[: len(usual_activations) * _directions(direction)],
        options.get("activation_alpha"),
        options.get("activation_beta"),
    )
    lengths = None if sequence_lens is None else sequence_lens.to(dtypes.int64)
    return Layer(
        x, weight, recurrence, bias, lengths, direction, options.get("layout", 0),
        functions, options.get("clip"),
    )  # fmt: skip


def _directions(direction: str) -> int:
    return 2 if direction == "bidirectional" else 1


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = x.matmul(weight.t())
    return product if bias is None else product + bias


@operator("RNN")
def rnn(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    **options: Unpack[LayerOptions],
) -> tuple[Tensor, ...]:
    """h' = f(x·Wᵀ + h·Rᵀ + b)."""
    layer = _layer(x, weight, recurrence, bias, sequence_lens, ("Tanh",), **options)

    def make(number: int) -> tuple[Step, State, Tensor]:
        (function,) = layer.functions_of(number)
        input_bias, state_bias = layer.biases(number, 1)

        def step(product: Tensor, state: State) -> State:
            inner = product + _product(state[0], recurrence[number], state_bias)
            return (function(layer.limited(inner)),)

        products = _product(layer.steps, weight[number], input_bias)
        return step, (layer.initial(initial_h, number),), products

    return tuple(layer.run(make))


@operator("GRU")
def gru(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    linear_before_reset: int = 0,
    **options: Unpack[LayerOptions],
) -> tuple[Tensor, ...]:
    """Gates z (update), r (reset) and h (new): h' = (1 − z)·g(…) + z·h.

    K. Cho et al., "Learning Phrase Representations", 2014. The reset gate multiplies
    the state before its product, or with ``linear_before_reset`` after.
    """
    usual = ("Sigmoid", "Tanh")
    layer = _layer(x, weight, recurrence, bias, sequence_lens, usual, **options)
    hidden = layer.hidden

    def make(number: int) -> tuple[Step, State, Tensor]:
        gate, output = layer.functions_of(number)
        input_bias, state_bias = layer.biases(number, 3)
        gates, new = recurrence[number].split([2 * hidden, hidden])
        gate_bias = new_bias = None
        if state_bias is not None:
            gate_bias, new_bias = state_bias.split([2 * hidden, hidden])

        def step(product: Tensor, state: State) -> State:
            (before,) = state
            for_gates, for_new = product.split([2 * hidden, hidden], -1)
            inner = for_gates + _product(before, gates, gate_bias)
            update, reset = gate(layer.limited(inner)).split(hidden, -1)
            if linear_before_reset:
                inner = for_new + reset * _product(before, new, new_bias)
            else:
                inner = for_new + _product(reset * before, new, new_bias)
            candidate = output(layer.limited(inner))
            return ((1 - update) * candidate + update * before,)

        products = _product(layer.steps, weight[number], input_bias)
        return step, (layer.initial(initial_h, number),), products

    return tuple(layer.run(make))


@operator("LSTM")
def lstm(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    input_forget: int = 0,
    **options: Unpack[LayerOptions],
) -> tuple[Tensor, ...]:
    """Gates i (input), o (output), f (forget) and c (new): c' = f·c + i·g(…).

    S. Hochreiter and J. Schmidhuber, 1997; peepholes of F. Gers et al., 2002.
    """
    usual = ("Sigmoid", "Tanh", "Tanh")
    layer = _layer(x, weight, recurrence, bias, sequence_lens, usual, **options)

    def make(number: int) -> tuple[Step, State, Tensor]:
        gate, new, output = layer.functions_of(number)
        input_bias, state_bias = layer.biases(number, 4)
        if input_bias is not None and state_bias is not None:
            input_bias, state_bias = input_bias + state_bias, None
        peeps: Sequence[Tensor | None] = (None, None, None)
        if peepholes is not None:
            peeps = peepholes[number].split(layer.hidden)

        def step(product: Tensor, state: State) -> State:
            before, cell = state
            inner = product + before.matmul(recurrence[number].t())
            at_input, at_output, at_forget, at_new = inner.split(layer.hidden, -1)
            opened = gate(layer.limited(_peeped(at_input, peeps[0], cell)))
            kept = gate(layer.limited(_peeped(at_forget, peeps[2], cell)))
            if input_forget:
                kept = 1 - opened
            cell = kept * cell + opened * new(layer.limited(at_new))
            shown = gate(layer.limited(_peeped(at_output, peeps[1], cell)))
            return shown * output(cell), cell

        products = _product(layer.steps, weight[number], input_bias)
        first = layer.initial(initial_h, number), layer.initial(initial_c, number)
        return step, first, products

    return tuple(layer.run(make))


def _peeped(gate: Tensor, weight: Tensor | None, cell: Tensor) -> Tensor:
    return gate if weight is None else gate + weight * cell
