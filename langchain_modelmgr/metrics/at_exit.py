"""Delivers what the sinks still hold when the interpreter ends."""

from __future__ import annotations

import atexit
import time
import weakref
from typing import Protocol

EXIT_SECONDS = 5.0
"""What the end of a program may wait for its metrics."""


class _Flushable(Protocol):
    def flush(self, timeout: float | None = None) -> object: ...

    def report_undelivered(self) -> None: ...


class AtExit:
    """Flushes every sink it remembers, all of them within one span of time.

    One handler for all, registered with the first sink: a handler that an exit handler registers
    is never called, so it can't wait for the first record.
    """

    def __init__(self) -> None:
        self._sinks: weakref.WeakSet[_Flushable] = weakref.WeakSet()
        self._is_registered = False

    def remember(self, sink: _Flushable) -> None:
        """Flush ``sink`` at exit."""
        self._sinks.add(sink)
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._flush_all)

    def forget(self, sink: _Flushable) -> None:
        """Leave ``sink`` alone: it was closed."""
        self._sinks.discard(sink)

    def _flush_all(self) -> None:
        end = time.monotonic() + EXIT_SECONDS
        for sink in tuple(self._sinks):
            sink.flush(max(end - time.monotonic(), 0.0))
            sink.report_undelivered()


AT_EXIT = AtExit()
