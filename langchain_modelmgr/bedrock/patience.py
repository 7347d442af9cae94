"""How long one attempt may wait: for its first content, for each further, for its call's end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_modelmgr.bedrock.watchdog import Watchdog


_DEADLINE = "the call's deadline passed"
_BUSY_SECONDS = 0.1
"""How soon a stream past its deadline is looked at again, while its reader is busy."""


class Patience:
    """The waiting of one attempt. Time that a slow reader takes is none of it.

    A socket's time-out covers silence; a stream that trickles events without content, and one
    that outlives its call's deadline, are ended by the watchdog.

    Args:
        timeout: Seconds that it may wait for content.
        deadline: When its call must be over, by ``time.perf_counter``.
        watchdog: The thread that looks.

    Attributes:
        begun_with: Seconds that the attempt had when it began.
        ended: Which wait ended the attempt, as an error tells it; empty: none did.
    """

    def __init__(self, timeout: float, deadline: float, watchdog: Watchdog) -> None:
        self.timeout = timeout
        self.deadline = deadline
        self.ended = ""
        self.begun_with = self.seconds()
        self._watchdog = watchdog
        self._waited = 0.0
        self._streams = False
        self._waiting_since: float | None = None
        self._shut: Callable[[], None] = lambda: None

    @property
    def waited(self) -> float:
        """Seconds that it waited since the last content: of no stream, all that it had."""
        return self._waited if self._streams else self.begun_with

    def seconds(self) -> float:
        """Return how long a socket may be silent: the time-out, or what is left of the call."""
        return max(0.001, min(self.timeout, self.deadline - time.perf_counter()))

    @contextmanager
    def over(self, shut: Callable[[], None]) -> Iterator[None]:
        """Watch a stream while the block runs; ``shut`` breaks it, from any thread."""
        self._shut = shut
        self._streams = True
        now = time.perf_counter()
        watched = self._watchdog.watch(self._look, min(now + self.timeout, self.deadline))
        try:
            yield
        finally:
            watched.cancel()

    def each(self, stream: Iterable[Any]) -> Iterator[Any]:
        """Yield a stream's events, and count the time that waiting for them takes."""
        events = iter(stream)
        while True:
            self._waiting_since = time.perf_counter()
            if self._waiting_since >= self.deadline:
                self._end(_DEADLINE)
                raise TimeoutError(_DEADLINE)
            try:
                event = next(events)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - self._waiting_since
                self._waiting_since = None
            yield event

    def content_came(self) -> None:
        """Content came: the wait for the next begins anew."""
        self._waited = 0.0

    def _look(self, now: float) -> float | None:
        since = self._waiting_since
        if since is None:  # the reader is busy: nothing is waited for
            return min(now + self.timeout, max(self.deadline, now + _BUSY_SECONDS))
        due = since + self.timeout - self._waited
        if now >= self.deadline:
            self._end(_DEADLINE)
        elif now >= due:
            self._end(f"no content for {self.timeout:g} s")
        else:
            return min(due, self.deadline)
        return None

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        self._shut()
