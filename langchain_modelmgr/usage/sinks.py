"""The protocol of a sink, and the group that keeps a broken sink away from the caller."""

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
    """Where the usage of models goes. Pass your own as ``ModelManager(..., sinks=[...])``."""

    def record(self, usage: ModelUsageMetrics) -> None:
        """Take the record of one attempt. Runs in the caller's thread: it must not block."""

    def flush(self, timeout: float | None = None) -> object:
        """Deliver what is left, within ``timeout`` seconds; None leaves the time to the sink."""

    def close(self) -> None:
        """Deliver what is left and let go of threads and connections."""


class AttemptLog(Protocol):
    """Where attempts are written as they leave and as they end: the ledger."""

    def next_call(self) -> int:
        """Return the number of a call that begins."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970."""

    def kept(
        self, metadata: Mapping[str, Any], tags: Sequence[str]
    ) -> tuple[str | None, str | None]:
        """Return as JSON the metadata and the tags that may be kept; None: none."""

    def attempt_started(self, start: AttemptStart) -> object | None:
        """Write that an attempt starts; return what ``attempt_ended`` needs."""

    def attempt_ended(self, open_attempt: Any, usage: ModelUsageMetrics) -> None:
        """Write that an attempt ended."""


class SinkGroup:
    """Hands each record to every sink; an error of one reaches neither the caller nor the others.

    Args:
        sinks: The sinks, in order.

    Attributes:
        sinks: The same, as a tuple.
        sink_errors: How often a sink raised.
    """

    def __init__(self, sinks: Iterable[MetricsSink]) -> None:
        self.sinks = tuple(sinks)
        self._guarded = [(sink, Guard(partial(self._failed, sink))) for sink in self.sinks]
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
        """Flush every sink, all within ``timeout`` seconds; what each returned, in order."""
        end = None if timeout is None else time.monotonic() + timeout
        results: list[object] = []
        for sink, guard in self._guarded:
            results.append(None)
            with guard:
                results[-1] = sink.flush(None if end is None else max(end - time.monotonic(), 0.0))
        return tuple(results)

    def stats(self) -> SinkStats:
        """Return what became of all usage, of the sinks that tell it."""
        total = SinkStats(errors=self.sink_errors)
        for sink, guard in self._guarded:
            with guard:
                stats = getattr(sink, "stats", None)
                total += stats() if callable(stats) else SinkStats()
        return total

    def close(self) -> None:
        """Close every sink."""
        for sink, guard in self._guarded:
            with guard:
                sink.close()

    def reset_after_fork(self) -> None:
        """Start without the parent's errors; call ``reset_after_fork`` of sinks that have it."""
        self.sink_errors = 0
        self._lock = threading.RLock()
        for sink, guard in self._guarded:
            reset = getattr(sink, "reset_after_fork", None)
            if reset is not None:
                with guard:
                    reset()

    def _failed(self, sink: MetricsSink, error: Exception) -> None:
        with self._lock:
            self.sink_errors += 1
        # Class names only: the text of an error can hold content.
        self._log.warning(
            "the metrics sink %s failed: %s", type(sink).__name__, type(error).__name__
        )
