"""``tetragrad.checkpoint``, where PyTorch has it, and a sequence of layers by parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tetragrad.tensor.autograd import checkpoint

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint_sequential(
    functions: Iterable[Callable[[Any], Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **options: Any,
) -> Any:
    """Call functions one after the other, and keep only what goes from part to part.

    Args:
        functions: an ``nn.Sequential``, or a list of functions of one argument.
        segments: into how many parts of about one length they are divided; the last
            part keeps all that it computes.
        input: what the first function is called with.
        use_reentrant: ignored, as the options are.

    >>> layers = [lambda x: x * 2, lambda x: x + 1]
    >>> tetragrad.utils.checkpoint.checkpoint_sequential(layers, 2, Tensor([1.0]))
    tensor([3.])
    """
    chain = list(functions)
    if not 1 <= segments <= len(chain):
        raise ValueError(
            f"checkpoint_sequential() of {len(chain)} functions in {segments} "
            "segments: a segment has one function or more"
        )
    size = len(chain) // segments
    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(_in_turn(chain[start : start + size]), input)
    return _in_turn(chain[last:])(input)


def _in_turn(chain: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        for function in chain:
            value = function(value)
        return value

    return run
