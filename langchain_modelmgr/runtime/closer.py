"""Closer: closes what nobody uses any more, on a thread of its own."""

from __future__ import annotations

import atexit
import logging
import threading
from queue import SimpleQueue
from typing import Protocol

from langchain_modelmgr.runtime.forks import AFTER_FORK

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0
"""What the end of a program may wait for the closing that has begun."""


class Closable(Protocol):
    """What has something to close."""

    def close(self) -> None:
        """Let go of threads, files and connections."""


class Closer:
    """Closes one thing after the other, so that nobody waits for a sink that delivers.

    ``put`` may be called from a finaliser, which runs in the middle of whatever its thread does:
    it starts no thread and takes no lock. ``work`` starts the thread if something waits.
    """

    def __init__(self) -> None:
        self._registered = False
        self._waiting: SimpleQueue[tuple[Closable, ...]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_exiting = False
        self._idle = _set_event()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard what waits: the parent closes it."""
        self._waiting = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = None
        self._is_exiting = False
        self._idle = _set_event()

    def put(self, *things: Closable) -> None:
        """Leave things to be closed, in order."""
        self._waiting.put(things)

    def work(self) -> None:
        """Start to close what waits, in the background."""
        if self._thread is not None or self._waiting.empty():
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="modelmgr-closer", daemon=True)
                thread.start()
                self._thread = thread
            if not self._registered:
                self._registered = True
                atexit.register(self._wait)

    def _run(self) -> None:
        waiting = self._waiting
        while True:
            things = waiting.get()
            self._idle.clear()
            if self._is_exiting:
                return
            while things:
                _close(things[0])
                things = things[1:]  # what is closed is let go of at once
            self._idle.set()

    def _wait(self) -> None:
        """Wait for the closing that has begun; exit handlers see to what still waits."""
        self._is_exiting = True
        self._idle.wait(EXIT_SECONDS)


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def _close(thing: Closable) -> None:
    try:
        thing.close()
    except Exception as error:  # noqa: BLE001 - one thread closes for all: it must live on
        name = type(thing).__name__
        logger.warning("closing the %s failed: %s", name, type(error).__name__)


CLOSER = Closer()
