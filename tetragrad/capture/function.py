"""A captured function: which capture fits a call, when to capture, what to say.

A call's arguments are taken apart into tensors and the rest. The rest, and the kinds of
the tensors, choose the captures that may fit; the first whose guards hold is replayed.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from tetragrad.capture.likeness import Likeness
from tetragrad.capture.tree import Flattened, build
from tetragrad.capture.views import lift, write_through
from tetragrad.core.errors import CaptureError
from tetragrad.core.settings import settings
from tetragrad.engine import capture
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.mixed_precision import autocast_modes
from tetragrad.tensor.modes import is_grad_enabled
from tetragrad.tensor.promotion import default_float
from tetragrad.tensor.storage import Collected

if TYPE_CHECKING:
    from tetragrad.capture.captured import Captured

P = ParamSpec("P")
R = TypeVar("R")

#: A function that is captured this often depends on something that keeps changing.
MAXIMUM_CAPTURES = 16
WARNING_AT = 8


class JitFunction(Generic[P, R]):
    """A function that is captured, and replayed where nothing it reads has changed."""

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.captured_function = function
        self._captures: dict[Any, list[Captured]] = {}
        self._reasons: list[str] = []
        #: How to recognise a call like the last that was replayed.
        self._recent: Likeness | None = None
        #: Arguments with which a call found pending state, and was not captured.
        self._deferred: set[Any] = set()
        self._lock = threading.RLock()
        self._title = getattr(function, "__qualname__", type(function).__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if capture.active() is not None or not settings().jit:
            return self.captured_function(*args, **kwargs)
        with self._lock:
            recent = self._recent
            if recent is not None:
                tensors = recent.tensors_of(args, kwargs)
                if tensors is not None and not recent.captured.first_change(tensors):
                    replayed: R = recent.captured.replay(tensors)
                    return replayed
            flattened = Flattened((args, kwargs), "argument")
            lifted = lift(flattened.tensors)
            if not lifted:
                return self._call(args, kwargs, flattened)
            passed = {id(entry.argument): entry.passed for entry in lifted}
            flattened.tensors = [
                passed.get(id(tensor), tensor) for tensor in flattened.tensors
            ]
            args, kwargs = build(flattened.description, iter(flattened.tensors))
            result = self._call(args, kwargs, flattened)
            write_through(lifted)
            return result

    def _call(self, args: Any, kwargs: Any, flattened: Flattened) -> R:
        """Replay, or capture if nothing that was captured is the same."""
        key = _key(flattened)
        reason = ""
        for captured in self._captures.get(key, ()):
            change = captured.first_change(flattened.tensors)
            if change is None:
                self._recent = Likeness.of(args, kwargs, captured)
                result: R = captured.replay(flattened.tensors)
                return result
            reason = reason or change
        reason = reason or self._difference(flattened, args, kwargs)
        captured_now: R = self._capture(args, kwargs, flattened, key, reason)
        return captured_now

    @property
    def captures(self) -> tuple[Captured, ...]:
        """What can be replayed."""
        return tuple(entry for group in self._captures.values() for entry in group)

    @property
    def count(self) -> int:
        """How often the function was captured, or found to be impossible to repeat."""
        return len(self._reasons)

    def clear(self) -> None:
        """Forget all captures."""
        with self._lock:
            self._captures.clear()
            self._recent = None
            self._reasons.clear()
            self._deferred.clear()

    def explain(self) -> str:
        """What each capture launches, reads and writes, and why there are several."""
        lines = [f"{self._title}: {len(self.captures)} captures"]
        lines += [f"  captured because {reason}" for reason in self._reasons]
        for number, entry in enumerate(self.captures):
            lines += [f"capture {number}", *entry.explain()]
        return "\n".join(lines)

    # --- methods ---------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The function bound to an instance, with captures of the instance's own."""
        if instance is None:
            return self
        bound: _BoundJitFunction[Any, Any] = _BoundJitFunction(
            self.captured_function, instance
        )
        attributes = getattr(instance, "__dict__", None)
        if attributes is not None and hasattr(self, "_attribute"):
            # Found there from now on, and forgotten together with the instance.
            attributes[self._attribute] = bound
            bound.attribute = self._attribute
        return bound

    def __repr__(self) -> str:
        return f"<jit {self._title}, {len(self.captures)} captures>"

    # --- capturing -------------------------------------------------------------

    def _capture(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        flattened: Flattened,
        key: Any,
        reason: str,
    ) -> Any:
        self._check_count(reason)
        # Recording brings the compiler along, so it is imported when it is needed.
        from tetragrad.capture.record import DEFERRED, record

        outcome = record(
            self.captured_function,
            args,
            kwargs,
            flattened,
            self._title,
            may_defer=key not in self._deferred,
        )
        if outcome.reason == DEFERRED:
            self._deferred.add(key)
        else:
            self._reasons.append(outcome.reason or reason)
        if Flattened((args, kwargs), "argument").description != flattened.description:
            raise CaptureError(
                f"{self._title} changes the list or dict that it was passed",
                hint="return a new one instead",
            )
        if outcome.captured is not None:
            self._captures.setdefault(key, []).insert(0, outcome.captured)
        return outcome.result

    def _check_count(self, reason: str) -> None:
        count = len(self._reasons)
        if count >= MAXIMUM_CAPTURES:
            shown = "".join(f"\n  {entry}" for entry in [*self._reasons[-3:], reason])
            raise CaptureError(
                f"{self._title} was captured {count} times, and differs again:{shown}",
                hint="make what changes a tensor argument, or a tensor that is changed "
                "in place; jit.clear() allows as many captures again",
            )
        if count == WARNING_AT:
            warnings.warn(
                f"{self._title} was captured {count} times; the last time because "
                f"{reason}",
                RuntimeWarning,
                stacklevel=4,
            )

    def _difference(self, flattened: Flattened, args: Any, kwargs: Any) -> str:
        shapes = ", ".join(
            f"{entry.dtype}{list(entry.shape)}" for entry in flattened.tensors
        )
        return f"the arguments are new: {shapes or (args, kwargs)!s:.80}"


class _BoundJitFunction(JitFunction[P, R]):
    """A captured method of one instance."""

    def __init__(self, function: Callable[..., R], instance: Any) -> None:
        super().__init__(function.__get__(instance))
        self.instance = instance
        self.attribute = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo.get(id(self.instance), self.instance)
        bound = type(self)(self.captured_function.__func__, copied)  # type: ignore[attr-defined]
        bound.attribute = self.attribute
        return bound

    def __reduce__(self) -> Any:
        return getattr, (self.instance, self.attribute)


def _key(flattened: Flattened) -> Any:
    """What captures are looked up by: everything about the arguments but values."""
    modes = is_grad_enabled(), default_float(), autocast_modes()
    return flattened.description, _signature(flattened.tensors), modes


def _signature(tensors: Sequence[TensorBase]) -> tuple[Any, ...]:
    """Kind, layout and sharing of tensors, without their values."""
    first: dict[int, int] = {}
    default = settings().device
    return tuple(
        [
            (
                type(tensor),
                (value := (storage := tensor.storage).value).shape,
                value.dtype,
                value.device or default,
                storage.tracked,
                tensor.steps and tuple(map(_plain_step, tensor.steps)),
                first.setdefault(id(tensor), index),
                first.setdefault(id(storage), index),
            )
            for index, tensor in enumerate(tensors)
        ]
    )


def _plain_step(step: Any) -> Any:
    """A step without the number that is each collecting tensor's own."""
    return ("collected", step.is_leaf) if isinstance(step, Collected) else step
