"""Gradient modes around generators, as in PyTorch: on while they run, not between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tetragrad import enable_grad, is_grad_enabled, no_grad


@no_grad()
def modes(replies: list[object]) -> Iterator[bool]:
    for _ in range(2):
        try:
            replies.append((yield is_grad_enabled()))
        except KeyError as error:
            replies.append(error)
    return "done"


def test_a_generator_runs_in_its_mode_and_its_user_does_not() -> None:
    seen = []
    for mode in modes([]):
        seen.append((mode, is_grad_enabled()))
    assert seen == [(False, True), (False, True)]


def test_a_generator_gets_what_is_sent_and_thrown_and_returns() -> None:
    replies: list[object] = []
    generator = modes(replies)
    assert next(generator) is False
    error = KeyError("thrown")
    assert generator.throw(error) is False
    with pytest.raises(StopIteration, match="done"):
        generator.send("sent")
    assert replies == [error, "sent"]
    assert is_grad_enabled()


def test_a_generator_that_is_left_is_closed() -> None:
    closed = []

    @enable_grad()
    def endless() -> Iterator[bool]:
        try:
            while True:
                yield is_grad_enabled()
        finally:
            closed.append(is_grad_enabled())

    with no_grad():
        generator = endless()
        assert next(generator) is True
        generator.close()
        assert not is_grad_enabled()
    assert closed
