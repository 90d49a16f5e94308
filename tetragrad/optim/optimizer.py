"""The base of all optimisers: groups of parameters, state, one step.

A subclass says what state a parameter has and what its next value is; this class
walks the parameters, writes the results in place and runs everything together.

Numbers that a schedule may change are read through 0-d tensors. So a captured step
replays with the numbers of the day, and a new learning rate compiles nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tetragrad.capture.function import JitFunction
from tetragrad.core import dtypes
from tetragrad.core.changes import CountedDict
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError, ShapeError, TetragradError
from tetragrad.engine import capture
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.hooks import OptimizerHooks, with_step_hooks
from tetragrad.tensor import Tensor
from tetragrad.tensor.complex_numbers import view_as_real
from tetragrad.tensor.modes import enable_grad, no_grad
from tetragrad.tensor.pending import keeps_whole, realize_step, realize_tensors

State = dict[str, Any]

#: Updates from this one on are captured: a program that makes few gains nothing.
FIRST_REPLAYED = 3
NEVER_REPLAYED = -(1 << 62)
#: An optimiser whose updates differ this often runs them as they are.
MOST_CAPTURES = 6

#: PyTorch's options on how to run a step; here there is one way, fused.
HINTS = frozenset(["capturable", "differentiable", "foreach", "fused"])


class OptimizerStateError(TetragradError, ValueError):
    """A saved optimiser state that belongs to other parameters.

    >>> issubclass(optim.OptimizerStateError, tetragrad.TetragradError)
    True
    """


class Optimizer(OptimizerHooks):
    """Base class; see the module for how a subclass plugs in.

    Args:
        params: tensors, pairs of name and tensor, or groups: dictionaries with
            "params" and options of their own.
        defaults: options of groups that do not give them.

    >>> issubclass(optim.Adam, optim.Optimizer)
    True
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "an optimiser takes several parameters, not one tensor\n"
                "hint: pass a list, [parameter]"
            )
        if not isinstance(params, Iterable):
            raise TypeError(
                f"an optimiser takes several parameters, not a {type(params).__name__}"
                "\nhint: pass model.parameters()"
            )
        super().__init__()
        self.defaults = defaults
        self._updates = 0
        self.state: dict[Tensor, State] = CountedDict()
        self.param_groups: list[ParameterGroup] = []
        entries = list(params)
        if not entries:
            raise ValueError(
                "the optimiser got no parameters\n"
                "hint: layers in a plain list are not found, use nn.ModuleList; and "
                "model.parameters() is exhausted after one use, pass it anew"
            )
        if not isinstance(entries[0], Mapping):
            entries = [{"params": entries}]
        for entry in entries:
            self.add_param_group(entry)

    # --- what a subclass defines -------------------------------------------------

    def initial_state(self, value: Tensor, group: ParameterGroup) -> State:
        """The state of a parameter before its first step; none unless defined."""
        return {}

    def next_value(
        self, value: Tensor, gradient: Tensor, state: State, group: ParameterGroup
    ) -> Tensor:
        """The parameter's next value; entries of ``state`` may be replaced.

        All tensors are in the dtype to compute in; what is assigned to ``state`` and
        returned is rounded to the dtype that is stored.
        """
        raise NotImplementedError

    def _has_rule(self) -> bool:
        """Whether steps are made here; else the class has a ``step`` of its own."""
        return type(self).next_value is not Optimizer.next_value

    # --- steps -------------------------------------------------------------------

    @with_step_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and run all of it together.

        Args:
            closure: computes the loss (and its gradients) again before the update.

        Returns:
            What the closure returned, or None.
        """
        if not self._has_rule():
            raise NotImplementedError(
                f"{type(self).__name__} defines neither next_value() nor step()"
            )
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            if capture.active() is not None:
                self._update()
            else:
                self._update_apart()
        return loss

    @keeps_whole
    def _update(self) -> None:
        """Give every parameter that has a gradient its next value."""
        changed = [
            tensor for group in self.param_groups for tensor in self._step_group(group)
        ]
        if changed:
            realize_step(changed)

    #: The same by replaying what an earlier step did: a hundredth of the Python.
    _replay_update = JitFunction(_update)

    def _update_apart(self) -> None:
        """Compute the gradients, and then the update, which is captured if it pays."""
        gradients = [entry.grad for entry in self._all() if entry.grad is not None]
        if not gradients:
            return
        realize_step(gradients)
        self._updates += 1
        if self._updates < FIRST_REPLAYED or not self._may_replay():
            self._update()
            return
        try:
            self._replay_update()
        except CaptureError:
            # Nothing has happened; what forbids a capture will hardly go away.
            self._updates = NEVER_REPLAYED
            self._update()

    def _may_replay(self) -> bool:
        """Whether updates do nothing but compute, and are of few kinds.

        A class from elsewhere may do anything in ``next_value``.
        """
        is_ours = type(self).__module__.startswith("tetragrad.")
        return is_ours and self._replay_update.count < MOST_CAPTURES

    def _step_group(self, group: ParameterGroup) -> Iterator[Tensor]:
        """Update one group; gives every tensor that has a new value."""
        active = [entry for entry in group["params"] if entry.grad is not None]
        self._add_state([entry for entry in active if entry not in self.state], group)
        yield from self._count_steps(active)
        for parameter in active:
            yield from self._step_parameter(parameter, group)

    def _add_state(self, parameters: list[Tensor], group: ParameterGroup) -> None:
        """Give parameters their first state, with one step count for all."""
        if not parameters:
            return
        if not self._has_rule():
            # A class with a ``step`` of its own fills in the state by itself.
            self.state.update((entry, CountedDict()) for entry in parameters)
            return
        step = Tensor(0.0, dtype=dtypes.float32, device=parameters[0].device)
        with no_grad():
            for parameter in parameters:
                fresh = self.initial_state(parameter.detach(), group)
                self.state[parameter] = CountedDict({"step": step} | fresh)

    def _count_steps(self, active: list[Tensor]) -> list[Tensor]:
        """Add one to the step counts of parameters.

        Parameters share a count as long as all of them are stepped together, so that
        what depends on it is computed once. Those that go ahead alone get their own.
        """
        users = Counter(id(state["step"]) for state in self.state.values())
        active_users = Counter(id(self.state[entry]["step"]) for entry in active)
        counted: dict[int, Tensor] = {}
        for parameter in active:
            state = self.state[parameter]
            shared = state["step"]
            if id(shared) not in counted:
                together = users[id(shared)] == active_users[id(shared)]
                count = shared if together else shared.clone()
                count.add_(1)
                counted[id(shared)] = count
            state["step"] = counted[id(shared)]
        return list(counted.values())

    def _step_parameter(
        self, parameter: Tensor, group: ParameterGroup
    ) -> Iterator[Tensor]:
        state = self.state[parameter]
        assert parameter.grad is not None
        _follow(parameter, state)
        shown = _as_real(parameter)
        compute = dtypes.accumulation(shown.dtype)
        gradient = _as_real(parameter.grad).detach().to(compute)
        if group.get("maximize"):
            gradient = -gradient
        kept = {name: _as_real(entry) for name, entry in state.items()}
        old = {name: _in_dtype(entry, compute) for name, entry in kept.items()}
        new = dict(old)
        value = self.next_value(shown.detach().to(compute), gradient, new, group)
        yield _store(shown, value)
        # The gradient is needed no more, but whoever still holds it should not keep
        # the whole backward pass waiting to be run again.
        yield parameter.grad
        for name, entry in new.items():
            if isinstance(entry, Tensor) and entry is not old[name]:
                yield _store(kept[name], entry)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or fill them with zeros)."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none or parameter.grad is None:
                    parameter.grad = None
                else:
                    parameter.grad = parameter.grad.detach().zeros_like()

    # --- groups ------------------------------------------------------------------

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters, with options of their own."""
        given = param_group["params"]
        parameters = [given] if isinstance(given, Tensor) else list(given)
        named = [entry for entry in parameters if isinstance(entry, tuple)]
        if named:
            parameters = [entry[1] for entry in parameters]
        known = {id(entry) for group in self.param_groups for entry in group["params"]}
        for parameter in parameters:
            _check_parameter(parameter)
            if id(parameter) in known:
                raise ValueError(
                    f"a parameter of shape {parameter.shape} appears twice in the "
                    "optimiser\n"
                    "hint: name each in one group only, and a shared one once"
                )
            known.add(id(parameter))
        options = self.defaults | dict(param_group) | {"params": parameters}
        if named:
            options["param_names"] = [entry[0] for entry in named]
        group = ParameterGroup(options)
        group.place_numbers()
        self.param_groups.append(group)
        ready = [entry for entry in parameters if entry.requires_grad]
        shaped = [entry for entry in ready if _has_shape(entry)]
        if shaped and capture.active() is None:
            # Otherwise the first step computes them as well, and is compiled for it.
            realize_tensors(shaped)
        # State that exists before the first step can be captured with it.
        self._add_state(shaped, group)

    # --- saving ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue: state by number, and groups of numbers.

        >>> saved = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1).state_dict()
        >>> saved["param_groups"][0]["lr"], saved["param_groups"][0]["params"]
        (0.1, [0, 1])
        """
        for hook in tuple(self._hooks["state_dict_pre"]):
            hook(self)
        numbers = {id(entry): number for number, entry in enumerate(self._all())}
        state = {
            numbers[id(parameter)]: dict(entries)
            for parameter, entries in self.state.items()
            if entries
        }
        groups = [
            group.options() | {"params": [numbers[id(e)] for e in group["params"]]}
            for group in self.param_groups
        ]
        saved = {"state": state, "param_groups": groups}
        result: dict[str, Any] = self._through_hooks("state_dict_post", saved)
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state; the next step gives the same result.

        Raises:
            OptimizerStateError: the groups have other sizes than this optimiser's.
        """
        state_dict = self._through_hooks("load_state_dict_pre", dict(state_dict))
        saved_groups = state_dict["param_groups"]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        sizes = [len(group["params"]) for group in self.param_groups]
        if saved_sizes != sizes:
            raise OptimizerStateError(
                f"the saved state has groups of {saved_sizes} parameters, this "
                f"optimiser of {sizes}",
                hint="build the optimiser over the same parameters, in the same groups",
            )
        self.state.clear()
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            self._load_group(group, saved, state_dict["state"])
        for hook in tuple(self._hooks["load_state_dict_post"]):
            hook(self)

    def _load_group(
        self,
        group: ParameterGroup,
        saved: Mapping[str, Any],
        states: Mapping[Any, Mapping[str, Any]],
    ) -> None:
        left_out = {"params", *HINTS}
        group.update({name: saved[name] for name in saved if name not in left_out})
        steps: dict[float, Tensor] = {}
        for parameter, number in zip(group["params"], saved["params"], strict=True):
            if number not in states:
                continue
            state = CountedDict(
                (name, _load_entry(parameter, entry))
                for name, entry in states[number].items()
            )
            if self._has_rule():
                step = state.get("step", Tensor(0.0))
                # Equal counts become one again; see _count_steps.
                state["step"] = steps.setdefault(float(step), step)
            self.state[parameter] = state
        fresh = [
            entry
            for entry in group["params"]
            if entry.requires_grad and entry not in self.state
        ]
        self._add_state(fresh, group)

    def _all(self) -> list[Tensor]:
        return [entry for group in self.param_groups for entry in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            options = sorted(group.options().items())
            lines += [f"    {name}: {value}" for name, value in options]
        return "\n".join([*lines, ")"])


def _check_parameter(parameter: Any) -> None:
    if not isinstance(parameter, Tensor):
        raise TypeError(f"an optimiser trains tensors, not {type(parameter).__name__}")
    if not parameter.is_leaf:
        raise ValueError(
            "cannot optimise the result of an operation\n"
            "hint: optimise the tensors it was computed from"
        )


def _has_shape(parameter: Tensor) -> bool:
    """Whether the shape is known: a lazy layer's is not before its first input."""
    try:
        return parameter.ndim >= 0
    except ShapeError:
        return False


def _follow(parameter: Tensor, state: State) -> None:
    """Move state to where the parameter was moved since."""
    for name, entry in state.items():
        if isinstance(entry, Tensor) and entry.device != parameter.device:
            state[name] = entry.to(parameter.device)


def _in_dtype(entry: Any, compute: DType) -> Any:
    """A tensor of the state as it is computed with; other things as they are."""
    if isinstance(entry, Tensor) and entry.dtype.is_floating_point and entry.ndim:
        return entry.detach().to(compute)
    return entry


def _as_real(entry: Any) -> Any:
    """A complex tensor as a view of its parts, each of which is a parameter."""
    is_complex = isinstance(entry, Tensor) and entry.dtype.is_complex
    return view_as_real(entry) if is_complex else entry


def _store(target: Tensor, value: Tensor) -> Tensor:
    target.copy_(value)
    return target


def _load_entry(parameter: Tensor, entry: Any) -> Any:
    """A saved value as a tensor of our own, where the parameter lives."""
    if entry is None or isinstance(entry, str):
        return entry
    if hasattr(entry, "detach"):
        entry = entry.detach()
    if isinstance(entry, Tensor):
        return entry.clone().to(parameter.device)
    array = entry.cpu().numpy() if hasattr(entry, "cpu") else entry
    return Tensor(array).to(parameter.device)
