"""Run the samples of one of PyTorch's operators through tetragrad, and compare.

PyTorch's own tests call an operator as ``op(sample.input, *sample.args, **kwargs)``.
The same call is made here, by the function's dotted name, or the method's where there
is no such function: there is no table of translated calls. Where an operator is a
small program, it is run as it is with tetragrad's tensors: a function of ``torch`` that
is given one looks up the function of the same name (PyTorch's protocol for foreign
arrays, ``__torch_function__``).
"""

from __future__ import annotations

import functools
import importlib
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import resolve_name
from torch.testing._internal.common_methods_invocations import op_db

import tetragrad
from conformance.op_db_exclusions import (
    ANY_OF_EQUAL,
    is_determined,
    leaves_place_open,
)

DTYPES = (torch.float32, torch.int64, torch.bool)

#: PyTorch's own tolerance for float32 (``torch.testing.assert_close``).
RELATIVE, ABSOLUTE = 1.3e-6, 1e-5

#: PyTorch's own test of first gradients, whose tolerance an operator may widen.
GRADIENT_TEST = "test_grad"

#: A result that misses it may still be as exact as PyTorch's: its error against the
#: same sample in float64 is at most this many times the error of PyTorch's result.
AS_EXACT = 4.0

#: The tolerance of results in float16 and bfloat16.
NARROW = 1e-2

#: Computes a result in float64, or None where nothing is to be computed.
Truth = Callable[[], np.ndarray] | None

#: Options that say how PyTorch lays out or finds memory.
LAYOUT_OPTIONS = ("layout", "memory_format", "pin_memory", "device")


class Mismatch(Exception):
    """A result that is not PyTorch's."""


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: no message if it passed."""

    number: int
    message: str = ""


# --- operators ------------------------------------------------------------------------


@functools.cache
def operators() -> dict[str, list[Any]]:
    """PyTorch's descriptions of its operators, by name: one for each variant."""
    found: dict[str, list[Any]] = {}
    for entry in op_db:
        found.setdefault(entry.name, []).append(entry)
    return found


def samples(name: str) -> Iterator[tuple[Any, Any]]:
    """All samples of an operator, with the description that each belongs to."""
    for entry in operators()[name]:
        for dtype in DTYPES:
            if not entry.supports_dtype(dtype, "cpu"):
                continue
            torch.manual_seed(0)
            np.random.seed(0)
            wants_gradient = dtype.is_floating_point and entry.supports_autograd
            for sample in entry.sample_inputs(
                "cpu", dtype, requires_grad=wants_gradient
            ):
                yield entry, sample


# --- the same call, in tetragrad ------------------------------------------------------

#: PyTorch modules, and where their functions are here.
NAMESPACES = {
    "torch.nn.functional": "tetragrad.nn.functional",
    "torch.special": "tetragrad.special",
    "torch.linalg": "tetragrad.linalg",
    "torch.fft": "tetragrad.fft",
    "torch.signal.windows": "tetragrad.signal.windows",
    "torch.masked": "tetragrad.masked",
    "torch.functional": "tetragrad",
    "torch": "tetragrad",
}


def counterpart(dotted: str) -> Callable[..., Any]:
    """The function of tetragrad, or else the method, that has PyTorch's name."""
    place, _, name = dotted.rpartition(".")
    if place not in NAMESPACES:
        return getattr(tetragrad.Tensor, name)
    try:
        module = importlib.import_module(NAMESPACES[place])
    except ImportError as error:
        raise AttributeError(
            f"there is no {dotted.replace('torch', 'tetragrad')}"
        ) from (error)
    found = getattr(module, name, None) or getattr(tetragrad.Tensor, name, None)
    if found is None:
        raise AttributeError(f"there is no {dotted.replace('torch', 'tetragrad')}")
    return found


def redirect(
    function: Callable[..., Any],
    types: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """``__torch_function__`` of tetragrad's tensors: call the one of the same name."""
    name = resolve_name(function) or f"torch.{getattr(function, '__name__', '?')}"
    here = translated(kwargs or {})
    return counterpart(name)(*map(translated, args), **here)


def spelled(entry: Any) -> tuple[str | None, tuple[Any, ...], dict[str, Any]]:
    """The name of the function that an operator calls, and what it adds to the call.

    None for a small program of several calls.
    """
    function, args, kwargs = entry.op, (), {}
    if isinstance(function, functools.partial):
        function, args, kwargs = function.func, function.args, function.keywords
    own: Any = torch
    for part in entry.name.split("."):
        own = getattr(own, part, None)
    if own is function:
        return f"torch.{entry.name}", args, kwargs
    return resolve_name(function), args, kwargs


def call_here(entry: Any, sample: Any) -> tuple[Any, list[tetragrad.Tensor]]:
    """The sample's call on tetragrad's tensors, and the tensors with gradients."""
    given = translated((sample.input, list(sample.args), sample.kwargs))
    leaves = [one for one in tensors_in(given, tetragrad.Tensor) if one.requires_grad]
    first, args, kwargs = given
    name, before, options = spelled(entry)
    if name is None and not any(True for _ in tensors_in(given, tetragrad.Tensor)):
        # Without a tensor there is nothing that PyTorch's functions would look at.
        name = f"torch.{entry.name}"
    if name is not None:
        function = counterpart(name)
        options = translated(options)
        return function(*before, first, *args, **options, **kwargs), leaves
    # The program calls methods, and functions of PyTorch that find ``redirect``.
    try:
        return entry.op(first, *args, **kwargs), leaves
    except TypeError as error:
        message = str(error)
    if "descriptor" in message:
        # A method of PyTorch's tensors alone: "descriptor 'uniform_' for …".
        method = getattr(first, message.split("'")[1])
        return method(*args, **kwargs), leaves
    # PyTorch's functions take PyTorch's dtypes only.
    dtypes = {key: sample.kwargs[key] for key in kwargs if "dtype" in key}
    return entry.op(first, *args, **{**kwargs, **dtypes}), leaves


def translated(value: Any) -> Any:
    """A value in PyTorch's types as one in tetragrad's."""
    if isinstance(value, torch.Tensor):
        return tensor_of(value)
    if isinstance(value, torch.dtype):
        return getattr(tetragrad, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return None
    if value == "cpu":
        # The samples' word for where they are: here the device that is tested.
        return tetragrad.empty(0).device
    if isinstance(value, dict):
        return {
            key: translated(entry)
            for key, entry in value.items()
            if key not in LAYOUT_OPTIONS
        }
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        kind = tuple if isinstance(value, torch.Size) else type(value)
        return kind(translated(entry) for entry in value)
    return value


def tensor_of(value: torch.Tensor) -> tetragrad.Tensor:
    """A copy of PyTorch's tensor."""
    dtype = str(value.dtype).removeprefix("torch.")
    plain = value.detach().resolve_conj().resolve_neg().clone()
    if value.dtype is torch.bfloat16:
        plain = plain.float()
    made = tetragrad.Tensor(plain.numpy(), dtype=dtype)
    return made.requires_grad_() if value.requires_grad else made


def tensors_in(value: Any, kind: type) -> Iterator[Any]:
    """All tensors of one library in nested tuples, lists and dictionaries."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors_in(entry, kind)
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from tensors_in(entry, kind)


# --- comparison -----------------------------------------------------------------------


def flat(value: Any) -> list[Any]:
    """The parts of a result, in order."""
    if isinstance(value, tuple | list) and not is_shape(value):
        return [part for entry in value for part in flat(entry)]
    return [value]


def is_shape(value: Any) -> bool:
    """A tuple of sizes is one part."""
    return isinstance(value, tuple) and all(type(entry) is int for entry in value)


def as_array(value: Any) -> np.ndarray:
    """A result's elements, of either library."""
    if isinstance(value, torch.Tensor):
        wide = value.double() if value.dtype is torch.bfloat16 else value
        return wide.numpy(force=True)
    if isinstance(value, tetragrad.Tensor):
        array = value.detach().numpy()
        known = array.dtype.kind in "biufc"
        return array if known else array.astype(np.float64)
    return np.asarray(value)


def check_same(
    what: str,
    have: Any,
    want: Any,
    exact: Truth,
    tolerance: tuple[float, float] = (RELATIVE, ABSOLUTE),
) -> None:
    """Raise Mismatch unless a result is PyTorch's: kind, dtype, shape and values."""
    if isinstance(want, torch.Tensor):
        if not isinstance(have, tetragrad.Tensor):
            raise Mismatch(f"{what} is {type(have).__name__}, not a tensor")
        wanted = str(want.dtype).removeprefix("torch.")
        if str(have.dtype) != wanted:
            raise Mismatch(f"{what} is {have.dtype}, not {wanted}")
        if tuple(have.shape) != tuple(want.shape):
            raise Mismatch(
                f"{what} has shape {tuple(have.shape)}, not {tuple(want.shape)}"
            )
    elif want is None or is_shape(want) or isinstance(want, str | torch.dtype):
        if translated(want) != have:
            raise Mismatch(f"{what} is {have!r}, not {want!r}")
        return
    check_values(what, as_array(have), as_array(want), exact, tolerance)


def check_values(
    what: str, have: Any, want: Any, exact: Truth, tolerance: tuple[float, float]
) -> None:
    """Raise Mismatch unless two arrays are close, or equally close to the truth."""
    if have.shape != want.shape:
        raise Mismatch(f"{what} has shape {have.shape}, not {want.shape}")
    relative, absolute = tolerance
    relative = relative if want.dtype.itemsize >= 4 else NARROW
    close = np.isclose(have, want, relative, absolute, equal_nan=True)
    if close.all() or (exact is not None and is_as_exact(have, want, exact)):
        return
    place = tuple(int(entry) for entry in np.argwhere(~close)[0])
    raise Mismatch(
        f"{what} differs in {int((~close).sum())} of {close.size} elements: "
        f"{have[place]} is not {want[place]}"
    )


def is_as_exact(have: np.ndarray, want: np.ndarray, exact: Callable[[], Any]) -> bool:
    """Whether a result's error against float64 is like that of PyTorch's result."""
    try:
        truth = exact()
    except Exception:
        # Not every operator exists in float64; then only the tolerance decides.
        return False
    if truth.shape != want.shape or truth.dtype.kind not in "fc":
        return False
    return largest_error(have, truth) <= AS_EXACT * largest_error(want, truth)


def largest_error(have: np.ndarray, exact: np.ndarray) -> float:
    """The largest difference in units of the value's size; infinite for other NaNs."""
    with np.errstate(all="ignore"):
        same = (have == exact) | (np.isnan(have) & np.isnan(exact))
        size = np.maximum(np.abs(exact), np.abs(exact).max(initial=0, where=~same))
        error = np.where(same, 0.0, np.abs(have - exact) / size)
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0.0))


# --- one sample -----------------------------------------------------------------------


def run_sample(entry: Any, sample: Any) -> None:
    """Compare value, dtype, shape and gradient; raises what goes wrong."""
    exact = Exact(entry, sample.transform(copied))
    mine, leaves = call_here(entry, sample)
    theirs, their_leaves = call_there(entry, sample)
    if not is_determined(entry.name, sample):
        check_forms(flat(mine), flat(theirs))
        return
    # What is not determined, a singular vector's sign, say, is taken out first.
    parts = flat(sample.output_process_fn_grad(mine))
    wanted = flat(sample.output_process_fn_grad(theirs))
    if len(parts) != len(wanted):
        raise Mismatch(f"the result has {len(parts)} parts, not {len(wanted)}")
    for number, (have, want) in enumerate(zip(parts, wanted, strict=True)):
        what = "the result" if len(wanted) == 1 else f"result {number}"
        if leaves_place_open(entry.name, number, sample):
            dim = dimension_of(entry, sample)
            check_places(sample, have, values_of(sample, wanted, dim), dim)
            continue
        check_same(what, have, want, functools.partial(exact.result, number))
    if their_leaves:
        tolerance = gradient_tolerance(entry)
        check_gradients(parts, wanted, leaves, their_leaves, exact, tolerance)


def check_places(sample: Any, places: Any, values: Any, dim: int) -> None:
    """Whether indices lead to the values; PyTorch leaves open which of equal ones."""
    source = as_array(sample.input)
    index, found = as_array(places), as_array(values)
    if index.dtype != np.int64 or index.shape != found.shape:
        raise Mismatch(f"the indices are {index.dtype} of shape {index.shape}")
    if source.ndim == 0:
        source, index, found = source[None], index[None], found[None]
    if index.ndim < source.ndim:
        index, found = np.expand_dims(index, dim), np.expand_dims(found, dim)
    if not np.array_equal(
        np.take_along_axis(source, index, dim), found, equal_nan=found.dtype.kind == "f"
    ):
        raise Mismatch("the indices do not lead to the values")


def values_of(sample: Any, wanted: list[Any], dim: int) -> Any:
    """The values that indices must lead to: beside PyTorch's indices, or at them."""
    if len(wanted) > 1:
        return wanted[0]
    source, index = np.atleast_1d(as_array(sample.input)), as_array(wanted[0])
    return np.take_along_axis(source, np.atleast_1d(index), dim).reshape(index.shape)


def dimension_of(entry: Any, sample: Any) -> int:
    """The ``dim`` of a sample, the last one where it is left out."""
    place = ANY_OF_EQUAL[entry.name]
    given = sample.args[place] if len(sample.args) > place else -1
    return sample.kwargs.get("dim", given)


def copied(value: Any) -> Any:
    """A tensor that the sample's call cannot change."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def call_there(entry: Any, sample: Any) -> tuple[Any, list[torch.Tensor]]:
    """The sample's call in PyTorch, and the tensors with gradients."""
    leaves = [one for one in tensors_of(sample) if one.requires_grad]
    return entry.op(sample.input, *sample.args, **sample.kwargs), leaves


def tensors_of(sample: Any) -> Iterator[torch.Tensor]:
    """The tensors among a sample's arguments."""
    given = (sample.input, list(sample.args), sample.kwargs)
    return tensors_in(given, torch.Tensor)


def check_forms(mine: list[Any], theirs: list[Any]) -> None:
    """Compare shapes and dtypes of values that are random, or left undefined."""
    for have, want in zip(mine, theirs, strict=True):
        if not isinstance(want, torch.Tensor):
            continue
        if isinstance(have, tetragrad.Tensor):
            have.realize()
            have = have.detach().zeros_like()
        check_same("the result", have, torch.zeros_like(want), None)


def gradient_tolerance(entry: Any) -> tuple[float, float]:
    """The tolerance of PyTorch's own test of an operator's float32 gradients."""
    for decoration in entry.decorators:
        if getattr(decoration, "test_name", None) != GRADIENT_TEST:
            continue
        for override in decoration.decorators:
            found = getattr(override, "d", {}).get(torch.float32)
            if found is not None:
                return found.rtol, found.atol
    return RELATIVE, ABSOLUTE


def check_gradients(
    parts: list[Any],
    wanted: list[Any],
    leaves: list[Any],
    their_leaves: list[Any],
    exact: Exact,
    tolerance: tuple[float, float],
) -> None:
    """Compare the gradients of all inputs, for the same gradients of the results."""
    upstreams = upstreams_for(wanted)
    chosen = [place for place, upstream in enumerate(upstreams) if upstream is not None]
    if not chosen:
        return
    expected = gradients_there(wanted, their_leaves, upstreams)
    if not all(parts[place].requires_grad for place in chosen):
        raise Mismatch("the result does not require a gradient")
    # A complex result's gradient is that of the real part of <upstream, result>.
    weighted = [(parts[place], tensor_of(upstreams[place])) for place in chosen]
    found = gradients_here(weighted, leaves)
    for number, (have, want) in enumerate(zip(found, expected, strict=True)):
        what = f"the gradient of input {number}"
        truth = functools.partial(exact.gradient, number, upstreams)
        check_same(what, have, want, truth, tolerance)


def upstreams_for(results: list[Any]) -> list[torch.Tensor | None]:
    """A random gradient for each differentiable result."""
    torch.manual_seed(1)
    return [
        torch.randn_like(result.detach())
        if isinstance(result, torch.Tensor) and result.requires_grad
        else None
        for result in results
    ]


def gradients_here(weighted: list[tuple[Any, Any]], leaves: list[Any]) -> list[Any]:
    """tetragrad's gradients; zeros for an input that the results do not use."""
    total: Any = None
    for result, upstream in weighted:
        if result.dtype.is_complex:
            result, upstream = (
                tetragrad.view_as_real(result),
                tetragrad.view_as_real(upstream),
            )
        product = (result * upstream).sum()
        total = product if total is None else total + product
    found = tetragrad.grad(total, leaves, allow_unused=True)
    return [
        leaf.detach().zeros_like() if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]


def gradients_there(
    results: list[Any], leaves: list[torch.Tensor], upstreams: list[Any]
) -> list[torch.Tensor]:
    """PyTorch's gradients; zeros for an input that the results do not use."""
    pairs = [
        (result, upstream)
        for result, upstream in zip(results, upstreams, strict=True)
        if upstream is not None
    ]
    found = torch.autograd.grad(
        [result for result, _ in pairs],
        leaves,
        [upstream.to(result.dtype) for result, upstream in pairs],
        allow_unused=True,
    )
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    ]


class Exact:
    """The sample's results in float64, computed when a comparison asks for them."""

    def __init__(self, entry: Any, sample: Any) -> None:
        self._entry = entry
        self._sample = sample

    def result(self, number: int) -> np.ndarray:
        """One part of the result."""
        return as_array(self._run()[0][number])

    def gradient(self, number: int, upstreams: list[Any]) -> np.ndarray:
        """The gradient of one input."""
        results, leaves = self._run()
        return as_array(gradients_there(results, leaves, upstreams)[number])

    def _run(self) -> tuple[list[Any], list[torch.Tensor]]:
        wide = self._sample.transform(widened)
        result, leaves = call_there(self._entry, wide)
        return flat(wide.output_process_fn_grad(result)), leaves


def widened(value: Any) -> Any:
    """float64 for float32, as a leaf of its own."""
    if value is torch.float32:
        return torch.float64
    if not isinstance(value, torch.Tensor):
        return value
    wide = value.detach().double() if value.is_floating_point() else value.detach()
    return wide.clone().requires_grad_(value.requires_grad)


# --- all samples of an operator -------------------------------------------------------


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this thread after so many seconds of computing."""

    def expired(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} seconds")

    signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def outcomes(name: str, start: int, seconds: float) -> Iterator[Outcome]:
    """Run the samples of an operator from a number on."""
    tetragrad.Tensor.__torch_function__ = staticmethod(redirect)  # type: ignore
    warnings.simplefilter("ignore")
    for number, (entry, sample) in enumerate(samples(name)):
        if number < start:
            continue
        yield Outcome(number, _message(entry, sample, seconds))


def _message(entry: Any, sample: Any, seconds: float) -> str:
    try:
        with time_limit(seconds):
            run_sample(entry, sample)
    except (Exception, SystemExit) as error:
        first = (str(error).splitlines() or [""])[0]
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        return f"{kind}{first}"[:200]
    return ""
