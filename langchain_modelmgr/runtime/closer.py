"""Closer: closes unused sinks and clients on a background thread."""

from __future__ import annotations

import atexit
import logging
import threading
from queue import SimpleQueue
from typing import Protocol

from langchain_modelmgr.runtime.forks import AFTER_FORK

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0
"""Longest time that the exit of the program waits for an object that is being closed."""


class Closable(Protocol):
    """An object with a ``close`` method."""

    def close(self) -> None:
        """Release threads, files and connections."""


class Closer:
    """Closes objects one after the other, so that callers don't wait for a sink's last delivery.

    ``put`` may be called from a finaliser, which can run at any point of its thread: it starts no
    thread and takes no lock. ``work`` starts the thread if objects wait.
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
        """Discard the queue: the parent closes its own objects."""
        self._waiting = SimpleQueue()
        self._lock = threading.Lock()
        self._thread = None
        self._is_exiting = False
        self._idle = _set_event()

    def put(self, *things: Closable) -> None:
        """Queue objects to be closed, in order."""
        self._waiting.put(things)

    def work(self) -> None:
        """Close the queued objects in the background."""
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
                things = things[1:]  # drop the reference to a closed object at once
            self._idle.set()

    def _wait(self) -> None:
        """Wait for the object that is being closed; exit handlers flush the queued ones."""
        self._is_exiting = True
        self._idle.wait(EXIT_SECONDS)


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def _close(thing: Closable) -> None:
    try:
        thing.close()
    except Exception as error:  # noqa: BLE001 - the one thread must survive any failure
        name = type(thing).__name__
        logger.warning("closing %s failed: %s", name, type(error).__name__)


CLOSER = Closer()
