"""Limits how long one attempt may wait for content and for the deadline of its call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.watchdog import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_modelmgr.runtime.watchdog import Watch, Watchdog


_DEADLINE = "the call's deadline passed"

_SILENCE_FIRST = 0.25
"""Seconds that the watchdog waits beyond the socket's own timeout, whose error is more specific,
before it ends a request without a reply."""


class TimeBudget:
    """Measures and limits the waiting of one attempt; the time of a slow reader does not count.

    A socket's timeout only covers silence. The watchdog ends replies that trickle (events without
    content, single bytes) and attempts that exceed the deadline of their call, even while the
    reader is busy.

    Args:
        timeout: Seconds that the attempt may wait for content.
        deadline: When the call must be over, by ``time.perf_counter``.
        watchdog: The thread that checks the limits.

    Attributes:
        begun_with: Seconds that were left when the attempt began.
        ended: The limit that ended the attempt, worded for an error; empty if none did.
        on_end: Called when a limit ended the attempt, after its reply was shut.
        by_reader: True if the call's deadline ended a stream and the reader had taken more time
            than the model.
        paused: Seconds that the reader took between the last two events.
    """

    def __init__(self, timeout: float, deadline: float, watchdog: Watchdog) -> None:
        self.timeout = timeout
        self.deadline = deadline
        self.watchdog = watchdog
        self.ended = ""
        self.on_end: Callable[[], None] = nothing
        self.by_reader = False
        self.paused = 0.0
        self._read = 0.0
        self._answering = 0.0
        self._left_at: float | None = None
        self._waited = 0.0
        self._waiting_since: float | None = None
        self._replied = False
        self._shut: Callable[[], None] = nothing
        self._close: Callable[[], None] = nothing
        self._watch: Watch | None = None
        self.restart()

    @property
    def waited(self) -> float:
        """Seconds waited for the model since the last content."""
        return self._waited

    def restart(self) -> None:
        """Restart the measurement, after a wait for a free slot."""
        self.begun_with = self.seconds()

    def seconds(self) -> float:
        """Return how long a socket may be silent: the timeout or the rest of the call, if less."""
        return max(0.001, min(self.timeout, self.deadline - time.perf_counter()))

    def is_over(self) -> bool:
        """Return whether a limit has ended the attempt or the call's deadline has passed."""
        if time.perf_counter() >= self.deadline and not self.ended:
            self.ended = _DEADLINE
        return bool(self.ended)

    # -- one attempt, from its beginning to its end

    def begin(self, shut: Callable[[], None], close: Callable[[], None] = nothing) -> None:
        """Start to watch the attempt.

        Args:
            shut: Breaks its open reply, from any thread.
            close: Closes its connection; called only while no thread reads from it.
        """
        self._shut, self._close = shut, close
        self._watch = self.watchdog.watch(self._look, self._next_look(time.perf_counter()))

    def end(self) -> None:
        """Stop watching the attempt."""
        if self._watch is not None:
            self._watch.cancel()

    def start_waiting(self) -> None:
        """Start to count time spent waiting for the model."""
        self._waiting_since = time.perf_counter()

    def replied(self) -> None:
        """Record that the reply is open and can be shut."""
        self._replied = True

    def stop_waiting(self) -> None:
        """Stop counting: data was received, or the attempt failed."""
        if self._waiting_since is not None:
            self._left_at = time.perf_counter()
            took = self._left_at - self._waiting_since
            self._waited += took
            self._answering += took
            self._waiting_since = None

    def content_came(self) -> None:
        """Reset the wait, because content was received."""
        self._waited = 0.0

    def each(self, stream: Iterable[Any]) -> Iterator[Any]:
        """Yield a stream's events, and count the time spent waiting for them."""
        events = iter(stream)
        while True:
            self.wait_again()
            try:
                event = next(events)
            except StopIteration:
                return
            finally:
                self.stop_waiting()
            yield event

    def wait_again(self) -> None:
        """Start to count time spent waiting for more of a stream; the reader has read the rest.

        Raises:
            TimeoutError: The call's deadline has passed.
        """
        self._waiting_since = time.perf_counter()
        if self._left_at is not None:
            self.paused = self._waiting_since - self._left_at
            self._read += self.paused
        if self._waiting_since >= self.deadline:
            self._end(_DEADLINE)
            raise TimeoutError(_DEADLINE)

    # -- the watchdog's thread

    def _look(self, now: float) -> float | None:
        since, later = self._waiting_since, self._later()
        if now >= self.deadline + later:
            self._end(_DEADLINE)
            if since is None and self._replied:
                # The reader is busy elsewhere and may never come back. If it does, it sees in
                # ``each`` that the deadline has passed, before it would read.
                self._close()
        elif since is not None and now >= since + self.timeout - self._waited + later:
            self._end(f"no content for {self.timeout:g} s")
        else:
            return self._next_look(since or now)
        self.on_end()
        return None

    def _next_look(self, since: float) -> float:
        return min(since + self.timeout - self._waited, self.deadline) + self._later()

    def _later(self) -> float:
        return 0.0 if self._replied else _SILENCE_FIRST

    def _end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            self.by_reader = reason == _DEADLINE and self._replied and self._reader_was_slower()
        self._shut()

    def _reader_was_slower(self) -> bool:
        now, since, left_at = time.perf_counter(), self._waiting_since, self._left_at
        if since is not None:
            return self._read > self._answering + now - since
        return self._read + now - (left_at or now) > self._answering
