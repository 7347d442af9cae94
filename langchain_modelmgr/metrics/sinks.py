"""The protocol of a sink, and the group that keeps a broken sink away from the caller."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from langchain_modelmgr.guard import Guard
from langchain_modelmgr.metrics.stats import SinkStats
from langchain_modelmgr.quiet import QuietLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_modelmgr.records import ModelUsageMetrics

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
        self._begin()

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
                told = getattr(sink, "stats", None)
                total += told() if callable(told) else SinkStats()
        return total

    def close(self) -> None:
        """Close every sink."""
        for sink, guard in self._guarded:
            with guard:
                sink.close()

    def reset_after_fork(self) -> None:
        """Start anew in a forked child; sinks that need it have a method of this name."""
        self._begin()
        for sink, guard in self._guarded:
            reset = getattr(sink, "reset_after_fork", None)
            if reset is not None:
                with guard:
                    reset()

    def _begin(self) -> None:
        self.sink_errors = 0
        self._lock = threading.RLock()
        self._log = QuietLog(logger)

    def _failed(self, sink: MetricsSink, error: Exception) -> None:
        with self._lock:
            self.sink_errors += 1
        # Class names only: the text of an error can hold content.
        self._log.warning(
            "the metrics sink %s failed: %s", type(sink).__name__, type(error).__name__
        )
