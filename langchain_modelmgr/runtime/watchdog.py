"""A thread that looks at what waits, when it is due: slow replies, calls past their deadline."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from langchain_modelmgr.runtime.forks import AFTER_FORK

logger = logging.getLogger(__name__)

Look = Callable[[float], float | None]
"""Looks at the time (``time.perf_counter``); returns when to look again, or None: never."""


_FEW = 256
"""Cancelled watches that may lie about before they are swept out."""


class Watch:
    """One thing that is watched, until it is cancelled."""

    def __init__(self, look: Look, watchdog: Watchdog) -> None:
        self.look: Look | None = look
        self._watchdog = watchdog

    def cancel(self) -> None:
        """Look no more; what was watched is let go at once."""
        if self.look is not None:
            self.look = None
            self._watchdog.cancelled += 1


class Watchdog:
    """Watches any number of things on one daemon thread, started on first use."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Watch]] = []
        self.cancelled = 0
        """Watches that were cancelled, approximately: they are counted without a lock."""
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

    def watch(self, look: Look, first: float) -> Watch:
        """Look at something at the time ``first``, and again whenever it says so."""
        watched = Watch(look, self)
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
            if (look := watched.look) is None:
                continue
            try:
                again = look(time.perf_counter())
            except Exception as error:  # noqa: BLE001 - one thread looks for all: it must live on
                logger.warning("an attempt could not be looked at: %s", type(error).__name__)
                continue
            if again is not None:
                with self._changed:
                    heapq.heappush(self._due, (again, next(self._number), watched))

    def _sweep(self) -> None:
        """Let cancelled watches go before they are due. The caller must hold the lock."""
        self.cancelled = 0
        self._due = [due for due in self._due if due[2].look is not None]
        heapq.heapify(self._due)

    def _next(self) -> Watch:
        with self._changed:
            while True:
                if not self._due:
                    self._changed.wait()
                    continue
                wait = self._due[0][0] - time.perf_counter()
                if wait <= 0 or self._due[0][2].look is None:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)


WATCHDOG = Watchdog()
"""The watchdog of this process, shared by all managers."""


def nothing() -> None:
    """Do nothing: the callback of who has none."""
