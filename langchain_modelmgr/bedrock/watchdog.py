"""A thread that looks at what waits, when it is due: silent streams, calls past their deadline."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

Look = Callable[[float], float | None]
"""Looks at the time (``time.perf_counter``); returns when to look again, or None: never."""


class Watch:
    """One thing that is watched, until it is cancelled."""

    def __init__(self, look: Look) -> None:
        self.look: Look | None = look

    def cancel(self) -> None:
        """Look no more; what was watched is let go at once."""
        self.look = None


class Watchdog:
    """Watches any number of things on one daemon thread, started on first use."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: a forked child has none of its parent's threads."""
        self._due: list[tuple[float, int, Watch]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, look: Look, first: float) -> Watch:
        """Look at something at the time ``first``, and again whenever it says so."""
        watched = Watch(look)
        with self._changed:
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
                logger.warning("a stream could not be looked at: %s", type(error).__name__)
                continue
            if again is not None:
                with self._changed:
                    heapq.heappush(self._due, (again, next(self._number), watched))

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
