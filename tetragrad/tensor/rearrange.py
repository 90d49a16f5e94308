"""Reshaping with names: what stands where before, and where it stands after.

A pattern is two lists of axes, ``"b (h w) c -> b c h w"``. A composition in
parentheses is one dimension of several axes, the last one running fastest; ``...`` is
any number of further dimensions. The notation is that of Rogozhnikov (2022), Einops:
clear and reliable tensor manipulations with Einstein-like notation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import ShapeError
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

ELLIPSIS = "..."
#: The same outside of parentheses, where each axis stays a dimension of its own.
APART = "... apart"

#: What ``reduce`` can do with the axes that are left out.
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "any", "all")

_TOKEN = re.compile(r"\.\.\.|[()]|[A-Za-z_]\w*|\d+")

#: One dimension: the axes that it is made of.
Group = tuple[str, ...]


@frozen
class Pattern:
    """Both sides of a pattern, and how it was written."""

    text: str
    left: tuple[Group, ...]
    right: tuple[Group, ...]

    def error(self, message: str, hint: str | None = None) -> ShapeError:
        """An error that shows the pattern."""
        return ShapeError(f"pattern {self.text!r}: {message}", hint=hint)


def rearrange(tensor: Any, pattern: str, **sizes: int) -> Tensor:
    """Permute, split and join dimensions; no element is lost or repeated.

    Args:
        tensor: a tensor, or a list of tensors of one shape, stacked as a new first
            dimension.
        sizes: of axes that the shape does not tell.

    Raises:
        ShapeError: the pattern does not fit the shape.

    >>> image = Tensor.arange(4).reshape(2, 2)
    >>> tetragrad.rearrange(image, "h w -> (w h)")
    tensor([0, 2, 1, 3])
    """
    tensor = _stacked(tensor)
    parsed = _parsed(pattern)
    left, right = _names(parsed.left), _names(parsed.right)
    if left ^ right:
        raise parsed.error(
            f"only one side has {', '.join(sorted(left ^ right))}",
            hint="reduce() leaves axes out, repeat() adds some",
        )
    return _Rearrangement(parsed, tensor, sizes).run("")


def reduce(tensor: Any, pattern: str, reduction: str, **sizes: int) -> Tensor:
    """The same, with the axes that the right side leaves out reduced.

    ``reduction`` is one of sum, mean, max, min, prod, any and all.

    >>> pixels = Tensor.arange(4.0).reshape(2, 2)
    >>> tetragrad.reduce(pixels, "h w -> h", "mean")
    tensor([0.5000, 2.5000])
    """
    tensor = _stacked(tensor)
    parsed = _parsed(pattern)
    if reduction not in REDUCTIONS:
        raise parsed.error(
            f"there is no reduction {reduction!r}", hint=f"use {', '.join(REDUCTIONS)}"
        )
    added = _names(parsed.right) - _names(parsed.left)
    if added:
        raise parsed.error(
            f"the left side has no {', '.join(sorted(added))}",
            hint="repeat() adds axes",
        )
    return _Rearrangement(parsed, tensor, sizes).run(reduction)


def repeat(tensor: Any, pattern: str, **sizes: int) -> Tensor:
    """The same, with the elements repeated along the axes that only the right has.

    >>> tetragrad.repeat(Tensor([1, 2]), "i -> i n", n=2)
    tensor([[1, 1],
            [2, 2]])
    """
    tensor = _stacked(tensor)
    parsed = _parsed(pattern)
    gone = _names(parsed.left) - _names(parsed.right)
    if gone:
        raise parsed.error(
            f"the right side has no {', '.join(sorted(gone))}",
            hint="reduce() leaves axes out",
        )
    return _Rearrangement(parsed, tensor, sizes).run("")


def _stacked(tensor: Any) -> Any:
    if not isinstance(tensor, list | tuple):
        return tensor
    from tetragrad.tensor.joining import stack

    return stack(tensor)


class _Rearrangement:
    """One pattern on one tensor: split, reduce, permute, repeat, join."""

    def __init__(self, pattern: Pattern, tensor: Any, sizes: dict[str, int]) -> None:
        self.pattern = pattern
        self.tensor = tensor
        self.left, self.right = (
            self._expanded(side) for side in (pattern.left, pattern.right)
        )
        self.sizes = self._solved(sizes)

    def run(self, reduction: str) -> Tensor:
        """The result; ``reduction`` is the name of a method, or empty."""
        before = [axis for group in self.left for axis in group]
        after = [axis for group in self.right for axis in group]
        tensor = self.tensor.reshape([self.sizes[axis] for axis in before])
        gone = [axis for axis in before if axis not in after]
        for axis in reversed(gone):
            tensor = _reduced(tensor, before.index(axis), reduction)
            before.remove(axis)
        kept = [axis for axis in after if axis in before]
        tensor = tensor.permute([before.index(axis) for axis in kept])
        spread = [self.sizes[axis] if axis in kept else 1 for axis in after]
        tensor = tensor.reshape(spread).expand([self.sizes[axis] for axis in after])
        return tensor.reshape(
            [prod(self.sizes[axis] for axis in group) for group in self.right]
        )

    def _expanded(self, side: tuple[Group, ...]) -> list[Group]:
        """A side with an axis of its own for each dimension that ``...`` stands for."""
        named = sum(group != (APART,) for group in self.pattern.left)
        count = self.tensor.ndim - named
        has_dots = named < len(self.pattern.left)
        if count < 0 or (count and not has_dots):
            raise self.pattern.error(
                f"the left side has {named} dimensions, the tensor {self.tensor.shape}"
            )
        dots = tuple(f"{ELLIPSIS}{place}" for place in range(count))
        expanded: list[Group] = []
        for group in side:
            if group == (APART,):
                expanded += [(axis,) for axis in dots]
                continue
            axes: Group = ()
            for axis in group:
                axes += dots if axis == ELLIPSIS else (axis,)
            expanded.append(axes)
        return expanded

    def _solved(self, given: dict[str, int]) -> dict[str, int]:
        """The size of every axis: given, written down, or what is left over."""
        axes = [axis for group in (*self.left, *self.right) for axis in group]
        unknown = given.keys() - set(axes)
        if unknown:
            raise self.pattern.error(f"it has no axis {', '.join(sorted(unknown))}")
        sizes = dict(given)
        # An axis that is a number is written as its size and a place: "2 0".
        sizes |= {axis: int(axis.split()[0]) for axis in axes if axis[0].isdigit()}
        for group, size in zip(self.left, self.tensor.shape, strict=True):
            self._solve_group(group, size, sizes)
        for axis in axes:
            if axis not in sizes:
                raise self.pattern.error(
                    f"how large is {axis}?", hint=f"pass {axis}=..."
                )
        return sizes

    def _solve_group(self, group: Group, size: int, sizes: dict[str, int]) -> None:
        missing = [axis for axis in group if axis not in sizes]
        known = prod(sizes[axis] for axis in group if axis in sizes)
        written = " ".join(group)
        if len(missing) > 1:
            raise self.pattern.error(
                f"{size} elements cannot be split into ({written}) in one way",
                hint=f"pass {missing[0]}=...",
            )
        if missing and known and size % known == 0:
            sizes[missing[0]] = size // known
        elif missing or known != size:
            raise self.pattern.error(
                f"a dimension of {size} elements is not ({written}), of which {known} "
                "are known"
            )


def _reduced(tensor: Any, dim: int, reduction: str) -> Any:
    if reduction in ("max", "min"):
        return getattr(tensor, f"a{reduction}")(dim)
    return getattr(tensor, reduction)(dim)


# --- patterns -------------------------------------------------------------------------


def _parsed(text: str) -> Pattern:
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise ShapeError(
            f"pattern {text!r}: it must have one '->'",
            hint='write, for example, "b h w -> b (h w)"',
        )
    return Pattern(text, _side(text, left, 0), _side(text, right, 1))


def _side(text: str, side: str, number: int) -> tuple[Group, ...]:
    """The groups of one side; numbers become axes of their own."""
    if _TOKEN.sub("", side).strip():
        raise ShapeError(
            f"pattern {text!r}: {_TOKEN.sub('', side).strip()!r} is not understood"
        )
    groups: list[Group] = []
    inside: list[str] | None = None
    seen: set[str] = set()
    for place, token in enumerate(_TOKEN.findall(side)):
        if token in "()":
            if (token == "(") != (inside is None):
                raise ShapeError(f"pattern {text!r}: parentheses do not match")
            if inside is not None:
                groups.append(tuple(inside))
            inside = [] if token == "(" else None
            continue
        axis = f"{token} {number}.{place}" if token.isdigit() else token
        if axis in seen:
            raise ShapeError(f"pattern {text!r}: {axis} stands twice on one side")
        seen.add(axis)
        if token == "1":
            # A dimension of one element may come and go.
            if inside is None:
                groups.append(())
        elif inside is None:
            groups.append((APART if axis == ELLIPSIS else axis,))
        else:
            inside.append(axis)
    if inside is not None:
        raise ShapeError(f"pattern {text!r}: parentheses do not match")
    if number == 0 and any(ELLIPSIS in group for group in groups):
        raise ShapeError(
            f"pattern {text!r}: '...' in parentheses on the left could be anything",
            hint="name the axes, or write ... outside",
        )
    return tuple(groups)


def _names(side: Sequence[Group]) -> set[str]:
    axes = {axis for group in side for axis in group}
    return {ELLIPSIS if axis == APART else axis for axis in axes}
