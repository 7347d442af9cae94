"""The protocol of a sink, and the group that keeps a broken sink away from the caller."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
        self._begin()

    def record(self, usage: ModelUsageMetrics) -> None:
        """Hand one record to every sink."""
        for sink in self.sinks:
            try:
                sink.record(usage)
            except Exception as error:  # noqa: BLE001 - metrics boundary: a call must not fail for its metrics
                self._failed(sink, error)

    def flush(self, timeout: float | None = None) -> tuple[object, ...]:
        """Flush every sink, all within ``timeout`` seconds; what each returned, in order."""
        end = None if timeout is None else time.monotonic() + timeout
        return tuple(self._flush(sink, end) for sink in self.sinks)

    def stats(self) -> SinkStats:
        """Return what became of all usage, of the sinks that tell it."""
        total = SinkStats(errors=self.sink_errors)
        for sink in self.sinks:
            told = getattr(sink, "stats", None)
            try:
                total += told() if callable(told) else SinkStats()
            except Exception as error:  # noqa: BLE001 - metrics boundary: a user's sink may have any stats
                self._failed(sink, error)
        return total

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - metrics boundary: closing one must not keep others open
                self._failed(sink, error)

    def reset_after_fork(self) -> None:
        """Start anew in a forked child; sinks that need it have a method of this name."""
        self._begin()
        for sink in self.sinks:
            reset = getattr(sink, "reset_after_fork", None)
            if reset is not None:
                reset()

    def _begin(self) -> None:
        self.sink_errors = 0
        self._lock = threading.RLock()
        self._log = QuietLog(logger)

    def _flush(self, sink: MetricsSink, end: float | None) -> object:
        timeout = None if end is None else max(end - time.monotonic(), 0.0)
        try:
            return sink.flush(timeout)
        except Exception as error:  # noqa: BLE001 - metrics boundary: the other sinks must be flushed too
            self._failed(sink, error)
            return None

    def _failed(self, sink: MetricsSink, error: Exception) -> None:
        with self._lock:
            self.sink_errors += 1
        # Class names only: the text of an error can hold content.
        self._log.warning(
            "the metrics sink %s failed: %s", type(sink).__name__, type(error).__name__
        )
