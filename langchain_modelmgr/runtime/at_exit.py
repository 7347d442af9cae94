"""Flushes the sinks when the interpreter exits."""

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
"""Longest time that a normal exit waits for the sinks to deliver."""

SIGTERM_SECONDS = 2.0
"""Longest time that an exit after SIGTERM waits: SIGKILL usually follows soon."""


_SIGNALLED = 128
"""Exit code of a process that a signal ended, less the signal's number."""


class _Flushable(Protocol):
    def flush(self, timeout: float | None = None) -> object: ...

    def report_undelivered(self) -> None: ...

    def release_files(self) -> None: ...


class AtExit:
    """Flushes the registered sinks at exit, all of them within one time limit.

    All sinks share one exit handler, which is registered with the first sink and not with the
    first record: Python never calls a handler that another exit handler registers.
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
        """Don't flush ``sink`` at exit: it was closed."""
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
    """Make SIGTERM end this process as ``sys.exit`` does, so that exit handlers run.

    Containers and services are ended by SIGTERM, and Python then runs no exit handlers: records of
    the last minute wait in the ledger for the next process. Call this function in the main thread
    at start-up. Metrics are then delivered for at most 2 seconds, and the exit status is 143. An
    existing handler is called first. A forked child gets the previous handler back.

    Raises:
        ValueError: The function was not called in the main thread.
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
    """Restore the previous SIGTERM handler in forked children.

    SIGTERM is blocked during a fork. If a child received it before the handler was restored,
    Python would note the signal for the parent's handler and then clear it (3.11:
    PyOS_AfterFork_Child), and the child would not end.
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
