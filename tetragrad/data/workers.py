"""Threads that prepare batches ahead, in order.

Threads, not processes: they see the same memory, so nothing is copied between them, and
NumPy, image decoders and files let others run while they work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import TetragradError
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from concurrent.futures import Future

#: What a worker does, and which worker it is.
Task = tuple[int, Callable[[], Any]]


@frozen
class WorkerInfo:
    """Which worker a thread is."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Local(threading.local):
    info: WorkerInfo | None = None


_local = _Local()


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a loader, which one it is: id, num_workers, seed, dataset.

    >>> data.get_worker_info() is None
    True
    """
    return _local.info


class LoaderTimeoutError(TetragradError, TimeoutError):
    """A worker that did not finish a batch in time."""


class Workers:
    """Threads with numbers; each does its tasks in order."""

    def __init__(
        self,
        infos: list[WorkerInfo],
        start: Callable[[int], object] | None = None,
        timeout: float = 0,
    ) -> None:
        # Imported late: it is slow to import, and a program may never iterate.
        from concurrent.futures import ThreadPoolExecutor

        self._timeout = timeout or None
        self._executors = [
            ThreadPoolExecutor(
                1,
                thread_name_prefix=f"tetragrad-loader-{info.id}",
                initializer=_start,
                initargs=(info, start),
            )
            for info in infos
        ]

    def run(self, tasks: Iterator[Task], ahead: int) -> Iterator[Any]:
        """The results of tasks in order, so many of which are prepared ahead."""
        # Settings that were overridden for this thread hold in the others too.
        context = copy_context()
        waiting: deque[Future[Any]] = deque()
        try:
            for number, task in tasks:
                executor = self._executors[number]
                waiting.append(executor.submit(context.copy().run, task))
                if len(waiting) > ahead:
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            # Reached at the end, and when the loop is left by break or an exception.
            for executor in self._executors:
                executor.shutdown(wait=True, cancel_futures=True)

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(self._timeout)
        except TimeoutError:
            if future.done():
                raise  # The data set's own error.
            raise LoaderTimeoutError(
                f"a batch was not ready after timeout={self._timeout} seconds",
                hint="give the loader more time, or more workers",
            ) from None


def _start(info: WorkerInfo, start: Callable[[int], object] | None) -> None:
    _local.info = info
    if start is not None:
        start(info.id)
