"""EMFSink: writes one JSON line for each attempt, from which CloudWatch Logs makes metrics.

For AWS Lambda, where no code runs after the reply, so that nothing can be sent later.
Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.ledger.attempt_rows import AttemptRow
from langchain_modelmgr.metrics.cloudwatch.cardinality import FOLDING, MAX_SERIES, Places
from langchain_modelmgr.metrics.series import (
    METRICS,
    ROLLUP,
    checked_namespace,
    indexes_of,
    observations,
    series_of,
    wire_value,
)
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.usage.sink_stats import SinkStats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_modelmgr.usage.record import ModelUsageMetrics

logger = logging.getLogger(__name__)


class EMFSink:
    """Writes each attempt's metrics as one line of CloudWatch's embedded metric format.

    A line is written at once, in the caller's thread, in one write that begins with a line end, so
    that other output of the program does not make it unreadable. Series beyond ``max_series`` are
    counted as ``other``.

    Args:
        namespace: CloudWatch namespace, as ``{project_prefix}/Models``.
        extra: Names of further metrics; see ``docs/metrics.md``.
        agents: Agents that always keep metrics of their own.
        max_series: Largest number of metrics of this process.
        stream: The stream to write to; None: standard output.

    Raises:
        ValueError: The namespace is not valid.
    """

    def __init__(
        self,
        namespace: str,
        *,
        extra: Iterable[str] = (),
        agents: Iterable[str] = (),
        max_series: int = MAX_SERIES,
        stream: IO[str] | None = None,
    ) -> None:
        extra = tuple(extra)
        self._limits: dict[str, Any] = {"extra": extra, "max_series": max_series}
        self.namespace = checked_namespace(namespace)
        self._published = indexes_of(extra)
        self._rolled_up = ROLLUP in extra
        self._agents = frozenset(agents)
        self._max_series = max_series
        self._places = Places()
        self._stream = stream
        self._log = RateLimitedLog(logger)
        self._sent = self._folded = self._errors = 0
        self._has_logged_folding = False
        self._guard = Guard(self._failed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a sink that writes to another process's standard output.

        Raises:
            TypeError: It writes to a given stream.
        """
        if self._stream is not None:
            raise TypeError("an EMFSink with a stream of its own can't be pickled")
        return partial(type(self), self.namespace, **self._limits), ()

    def record(self, usage: ModelUsageMetrics) -> None:
        """Write one attempt's line. Never raises."""
        with self._guard:
            self._record(usage)

    def _failed(self, error: Exception) -> None:
        self._errors += 1
        self._log.warning("the EMF sink failed: %s", type(error).__name__)

    def flush(self, timeout: float | None = None) -> SinkStats:  # noqa: ARG002 - the protocol's
        """Return the counts; nothing waits."""
        return self.stats()

    def close(self) -> None:
        """Do nothing: the caller closes the stream."""

    def stats(self) -> SinkStats:
        """Return the counts of data points so far."""
        return SinkStats(
            recorded=self._sent,
            sent=self._sent,
            folded=self._folded,
            errors=self._errors,
        )

    def _record(self, usage: ModelUsageMetrics) -> None:
        if usage.outcome == "cached":
            return
        row = AttemptRow.of(usage)
        placed = self._places.admit(
            row.agent, row.model, reserved=self._agents, metrics=len(self._published),
            max_series=self._max_series,
        )  # fmt: skip
        if placed != (row.agent, row.model):
            self._folded += 1
            self._log_folding()
        values: dict[str, Any] = {}
        directives: dict[tuple[str, ...], dict[str, str]] = {}
        found = observations(row, self._published)
        for index, value in found:
            metric = METRICS[index]
            values[metric.name] = wire_value(index, value)
            for agent in (placed[0], None) if self._rolled_up else (placed[0],):
                series = series_of(metric, agent, placed[1])
                values |= dict(series.dimensions)
                names = tuple(name for name, _ in series.dimensions)
                directives.setdefault(names, {})[metric.name] = metric.unit
        line = {"_aws": self._head(usage, directives), **values}
        stream = self._stream or sys.stdout
        # The program may have printed a part of a line, in this thread or another.
        stream.write(f"\n{json.dumps(line, separators=(',', ':'))}\n")
        stream.flush()
        self._sent += len(found)

    def _log_folding(self) -> None:
        if not self._has_logged_folding:
            self._has_logged_folding = True
            logger.warning(FOLDING, self._max_series)

    def _head(
        self, usage: ModelUsageMetrics, directives: dict[tuple[str, ...], dict[str, str]]
    ) -> dict[str, Any]:
        stamp = usage.timestamp if usage.timestamp.tzinfo else usage.timestamp.replace(tzinfo=UTC)
        return {
            "Timestamp": int(stamp.timestamp() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": self.namespace,
                    "Dimensions": [list(names)],
                    "Metrics": [{"Name": n, "Unit": unit} for n, unit in metrics.items()],
                }
                for names, metrics in directives.items()
            ],
        }
