"""Watchdog: a thread that calls checks when they are due, for slow replies and deadlines."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from langchain_modelmgr.runtime.forks import AFTER_FORK

logger = logging.getLogger(__name__)

Check = Callable[[float], float | None]
"""Called with the time (``time.perf_counter``); returns the time of the next call, or None."""


_FEW = 256
"""Number of cancelled watches that may stay in the queue before they are removed."""


class Watch:
    """A registered check, until it is cancelled."""

    def __init__(self, check: Check, watchdog: Watchdog) -> None:
        self.check: Check | None = check
        self._watchdog = watchdog

    def cancel(self) -> None:
        """Stop calling the check, and drop the reference to it at once."""
        if self.check is not None:
            self.check = None
            self._watchdog.cancelled += 1


class Watchdog:
    """Calls any number of checks on one daemon thread, which is started on first use."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Watch]] = []
        self.cancelled = 0
        """Approximate number of cancelled watches: it is counted without a lock."""
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard all watches: a forked child has none of its parent's threads."""
        self._due = []
        self.cancelled = 0
        self._changed = threading.Condition()
        self._thread = None

    def watch(self, check: Check, first: float) -> Watch:
        """Call ``check`` at the time ``first``, and then at each time that it returns."""
        watched = Watch(check, self)
        with self._changed:
            if self.cancelled > max(_FEW, len(self._due) // 2):
                self._sweep()
            heapq.heappush(self._due, (first, next(self._number), watched))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="modelmgr-watchdog", daemon=True
                )
                self._thread.start()
            elif self._due[0][2] is watched:
                self._changed.notify()
        return watched

    def _run(self) -> None:
        while True:
            watched = self._next()
            if (check := watched.check) is None:
                continue
            try:
                again = check(time.perf_counter())
            except Exception as error:  # noqa: BLE001 - the one thread must survive any failure
                logger.warning("checking an attempt's time limits failed: %s", type(error).__name__)
                continue
            if again is not None:
                with self._changed:
                    heapq.heappush(self._due, (again, next(self._number), watched))

    def _sweep(self) -> None:
        """Remove cancelled watches before they are due. The caller must hold the lock."""
        self.cancelled = 0
        self._due = [due for due in self._due if due[2].check is not None]
        heapq.heapify(self._due)

    def _next(self) -> Watch:
        with self._changed:
            while True:
                if not self._due:
                    self._changed.wait()
                    continue
                wait = self._due[0][0] - time.perf_counter()
                if wait <= 0 or self._due[0][2].check is None:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)


WATCHDOG = Watchdog()
"""The watchdog of this process, shared by all managers."""


def nothing() -> None:
    """Do nothing; used where a callback is required."""
