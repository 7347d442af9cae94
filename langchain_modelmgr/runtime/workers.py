"""Daemon threads for blocking work, which never keep the interpreter from exiting."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_SECONDS = 30.0
"""Seconds after which a thread without work ends."""


T = TypeVar("T")


class Workers:
    """Runs each piece of blocking work on a thread of its own; idle threads are reused.

    ``concurrent.futures`` joins its threads when the interpreter exits, so that a thread that
    waits for a silent socket keeps the process alive. These are daemon threads. The caller
    limits their number.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.busy = 0
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard the threads: a forked child has none of its parent's."""
        self._lock = threading.Lock()
        self._idle = []
        self.busy = 0

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work``, which must not raise, on a thread; don't wait for it.

        Raises:
            RuntimeError: No more threads can be started.
        """
        with self._lock:
            self.busy += 1
            worker = self._idle.pop() if self._idle else None
        if worker is not None:
            worker.work.put(work)
            return
        try:
            _Worker(self, f"modelmgr-{next(self._numbers)}", work).start()
        except RuntimeError:
            with self._lock:
                self.busy -= 1
            raise

    def rest(self, worker: _Worker) -> None:
        """Mark a thread as idle after its work."""
        with self._lock:
            self.busy -= 1
            self._idle.append(worker)

    def lost(self) -> None:
        """Count a thread that ended with an error as no longer busy."""
        with self._lock:
            self.busy -= 1

    def dismiss(self, worker: _Worker) -> bool:
        """Remove an idle thread; return False if it has just been given work."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True


class _Worker(threading.Thread):
    """One thread and its next piece of work."""

    def __init__(self, workers: Workers, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._workers = workers
        self.work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.work.put(work)

    def run(self) -> None:
        """Do work until the thread has been idle for ``IDLE_SECONDS``."""
        while True:
            try:
                work = self.work.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._workers.dismiss(self):
                    return
                continue
            try:
                work()
            except BaseException:
                self._workers.lost()
                raise
            del work  # its references must be released while the thread is idle
            self._workers.rest(self)


WORKERS = Workers()
"""The threads of this process, shared by all managers."""


class FewWorkers:
    """Runs blocking work on a few threads of ``WORKERS``; more of it waits for its turn.

    Args:
        most: Largest number of threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._new()
        AFTER_FORK.watch(self)

    def _new(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = 0

    def reset_after_fork(self) -> None:
        """Discard the work that waits: a forked child has none of its parent's threads."""
        self._new()

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work``, which must not raise, on a thread; don't wait for it.

        Raises:
            RuntimeError: No thread can be started.
        """
        with self._lock:
            if self._busy >= self._most:
                self._waiting.append(work)
                return
            self._busy += 1
        try:
            WORKERS.run(partial(self._run, work))
        except RuntimeError:
            with self._lock:
                self._busy -= 1
            raise

    def _run(self, work: Callable[[], None]) -> None:
        following: Callable[[], None] | None = work
        while following is not None:
            following()
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                if following is None:
                    self._busy -= 1


async def on_a_thread(work: Callable[[], T], workers: Workers | FewWorkers = WORKERS) -> T:
    """Run a function that blocks on a thread; return what it returns."""
    future: Future[T] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)

    workers.run(run)
    return await asyncio.wrap_future(future)
