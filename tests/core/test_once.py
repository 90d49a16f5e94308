"""What all threads share is made once, and paused until the last one is done."""

from __future__ import annotations

import gc
import threading

from tetragrad.core.collector import collector_paused
from tetragrad.core.once import once


def test_threads_that_ask_at_once_get_one_value() -> None:
    made: list[object] = []
    everyone = threading.Barrier(4)

    @once
    def shared() -> object:
        made.append(object())
        return made[-1]

    found: list[object] = []

    def ask() -> None:
        everyone.wait(10)
        found.append(shared())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1 and found == made * 4


def test_the_collector_stays_off_until_the_last_pause_ends() -> None:
    first, second = collector_paused(), collector_paused()
    with first:
        second.__enter__()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()
