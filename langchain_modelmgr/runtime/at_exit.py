"""Delivers what the sinks still hold when the interpreter ends."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from langchain_modelmgr.runtime.guard import Guard

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0
"""What the end of a program may wait for its metrics."""

SIGTERM_SECONDS = 2.0
"""What it may wait after SIGTERM: whoever sent it sends SIGKILL before long."""


_SIGNALLED = 128
"""Added to a signal's number it is the exit code of a process that the signal ended."""


class _Flushable(Protocol):
    def flush(self, timeout: float | None = None) -> object: ...

    def report_undelivered(self) -> None: ...

    def release_files(self) -> None: ...


class AtExit:
    """Flushes every sink it remembers, all of them within one span of time.

    One handler for all, registered with the first sink: a handler that an exit handler registers
    is never called, so it can't wait for the first record.
    """

    def __init__(self) -> None:
        self._sinks: weakref.WeakSet[_Flushable] = weakref.WeakSet()
        self._is_registered = False
        self.seconds = EXIT_SECONDS

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
        end = time.monotonic() + self.seconds
        for sink in tuple(self._sinks):
            guard = Guard(partial(_failed, sink))
            with guard:
                sink.flush(max(end - time.monotonic(), 0.0))
            with guard:
                sink.report_undelivered()
            with guard:
                sink.release_files()


def _failed(sink: _Flushable, error: Exception) -> None:
    logger.warning("%s failed at exit: %s", type(sink).__name__, type(error).__name__)


AT_EXIT = AtExit()


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process as ``sys.exit`` does, so that exit handlers run.

    Containers and services are ended by SIGTERM, at which Python runs no exit handler: what was
    recorded in the last minute waits in the ledger for the next process. Call this in the main
    thread, at start. Metrics are then delivered for at most 2 seconds, and the exit status is 143.
    A handler that was there before is called first. A forked child keeps what was there before.

    Raises:
        ValueError: It was not called in the main thread.
    """
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        AT_EXIT.seconds = SIGTERM_SECONDS
        sys.exit(_SIGNALLED + number)

    signal.signal(signal.SIGTERM, end)
    if hasattr(os, "register_at_fork"):
        _restore_in_children(signal.SIG_DFL if before is None else before)


def _restore_in_children(before: Any) -> None:
    """Give forked children the handler that was there before.

    SIGTERM waits during a fork. A child that gets it earlier notes it for its parent's handler,
    and Python then forgets what a child noted (3.11: PyOS_AfterFork_Child): it would not end.
    """
    masks: list[set[int]] = []

    def hold() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}))

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=restore)
