"""MetricsSink, the protocol of a sink, and SinkGroup, which isolates sinks that fail."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.usage.sink_stats import SinkStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_modelmgr.usage.record import AttemptStart, ModelUsageMetrics

logger = logging.getLogger(__name__)


@runtime_checkable
class MetricsSink(Protocol):
    """Receives the record of each attempt. Pass your own as ``ModelManager(..., sinks=[...])``."""

    def record(self, usage: ModelUsageMetrics) -> None:
        """Receive the record of one attempt. Runs in the caller's thread: it must not block."""

    def flush(self, timeout: float | None = None) -> object:
        """Deliver everything within ``timeout`` seconds; None: the sink chooses the time."""

    def close(self) -> None:
        """Deliver everything, and release threads and connections."""


class AttemptLog(Protocol):
    """Receives each attempt at its start and at its end. The ledger is one."""

    def next_call(self) -> int:
        """Return the number of a call that begins."""

    def now_ms(self) -> int:
        """Return the current time in milliseconds since 1970."""

    def kept(
        self, metadata: Mapping[str, Any], tags: Sequence[str]
    ) -> tuple[str | None, str | None]:
        """Return the metadata and tags that may be stored, as JSON; None if there are none."""

    def attempt_started(self, start: AttemptStart) -> object | None:
        """Write that an attempt starts; return what ``attempt_ended`` needs."""

    def attempt_ended(self, open_attempt: Any, usage: ModelUsageMetrics) -> None:
        """Write that an attempt ended."""

    def record_once(self, mark: str, attempts: Iterable[ModelUsageMetrics]) -> bool:
        """Record attempts in one transaction with a mark; return False if the mark is there."""

    def flush(self, timeout: float | None = None) -> None:
        """Deliver what is left, within ``timeout`` seconds."""


class SinkGroup:
    """Hands each record to every sink; an error of one reaches neither the caller nor the others.

    Args:
        sinks: The sinks, in order.

    Attributes:
        sinks: The sinks, as a tuple.
        sink_errors: The number of errors that sinks raised.
    """

    def __init__(self, sinks: Iterable[MetricsSink]) -> None:
        self.sinks = tuple(sinks)
        self._guarded = [(sink, Guard(partial(self.failed, sink))) for sink in self.sinks]
        self.sink_errors = 0
        self._lock = threading.RLock()
        self._log = RateLimitedLog(logger)
        AFTER_FORK.watch(self)

    def record(self, usage: ModelUsageMetrics) -> None:
        """Hand one record to every sink."""
        for sink, guard in self._guarded:
            with guard:
                sink.record(usage)

    def flush(self, timeout: float | None = None) -> tuple[object, ...]:
        """Flush all sinks within ``timeout`` seconds in total; return their results in order."""
        end = None if timeout is None else time.monotonic() + timeout
        results: list[object] = []
        for sink, guard in self._guarded:
            results.append(None)
            with guard:
                results[-1] = sink.flush(None if end is None else max(end - time.monotonic(), 0.0))
        return tuple(results)

    def stats(self) -> SinkStats:
        """Return the sum of the stats of all sinks that have them."""
        total = SinkStats(errors=self.sink_errors)
        for sink, guard in self._guarded:
            with guard:
                stats = getattr(sink, "stats", None)
                total += stats() if callable(stats) else SinkStats()
        return total

    def failed(self, sink: object, error: Exception) -> None:
        """Internal: count and log an error of a sink, or of OpenTelemetry's spans."""
        with self._lock:
            self.sink_errors += 1
        # Class names only: the text of an error can contain content.
        self._log.warning(
            "the metrics sink %s failed: %s", type(sink).__name__, type(error).__name__
        )

    def close(self) -> None:
        """Close every sink."""
        for sink, guard in self._guarded:
            with guard:
                sink.close()

    def reset_after_fork(self) -> None:
        """Internal: discard the parent's errors, and reset the sinks that can be reset."""
        self.sink_errors = 0
        self._lock = threading.RLock()
        for sink, guard in self._guarded:
            reset = getattr(sink, "reset_after_fork", None)
            if reset is not None:
                with guard:
                    reset()
