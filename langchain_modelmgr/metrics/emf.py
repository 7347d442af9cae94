"""The EMF sink: one JSON line an attempt, of which CloudWatch Logs makes metrics.

For AWS Lambda, where nothing runs after the reply and so nothing can be sent later.
Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.metrics.aggregate import MAX_SERIES
from langchain_modelmgr.metrics.datums import (
    METRICS,
    OTHER,
    ROLLUP,
    checked_namespace,
    indexes_of,
    is_publishable,
    observations,
    series_of,
    wire_value,
)
from langchain_modelmgr.metrics.quiet import QuietLog
from langchain_modelmgr.metrics.stats import SinkStats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_modelmgr.records import ModelUsageMetrics

logger = logging.getLogger(__name__)


class EMFSink:
    """Writes each attempt's metrics as one line of CloudWatch's embedded metric format.

    A line is written at once, in the caller's thread, in one write that begins with a line end:
    what the program prints beside it does not make it unreadable. Series beyond ``max_series`` go
    to ``other``.

    Args:
        namespace: CloudWatch namespace, as ``{project_prefix}/Models``.
        extra: What is published beyond the guide's five, see ``docs/metrics.md``.
        max_series: Metrics of this process at most.
        stream: Where lines go; None: standard output.

    Raises:
        ValueError: If CloudWatch would refuse the namespace.
    """

    def __init__(
        self,
        namespace: str,
        *,
        extra: Iterable[str] = (),
        max_series: int = MAX_SERIES,
        stream: IO[str] | None = None,
    ) -> None:
        extra = tuple(extra)
        self._limits: dict[str, Any] = {"extra": extra, "max_series": max_series}
        self.namespace = checked_namespace(namespace)
        self._published = indexes_of(extra)
        self._rolled_up = ROLLUP in extra
        self._max_pairs = max(max_series // max(6, len(self._published)), 1)
        self._pairs: set[tuple[str, str]] = set()
        self._stream = stream
        self._log = QuietLog(logger)
        self._sent = self._dropped = self._folded = self._errors = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a sink that writes to another process's standard output.

        Raises:
            TypeError: It writes to a stream of its user's.
        """
        if self._stream is not None:
            raise TypeError("an EMFSink with a stream of its own can't leave this process")
        return partial(type(self), self.namespace, **self._limits), ()

    def record(self, usage: ModelUsageMetrics) -> None:
        """Write one attempt's line. Never raises."""
        try:
            self._record(usage)
        except Exception as error:  # noqa: BLE001 - metrics boundary: a call must not fail for its metrics
            self._errors += 1
            self._log.warning("the EMF sink failed: %s", type(error).__name__)

    def flush(self, timeout: float | None = None) -> SinkStats:  # noqa: ARG002 - the protocol's
        """Return what was written; nothing waits."""
        return self.stats()

    def close(self) -> None:
        """Do nothing: the stream is its owner's."""

    def stats(self) -> SinkStats:
        """Return what became of the usage so far."""
        return SinkStats(
            recorded=self._sent + self._dropped,
            sent=self._sent,
            dropped=self._dropped,
            folded=self._folded,
            errors=self._errors,
        )

    def _record(self, usage: ModelUsageMetrics) -> None:
        given = observations(usage, self._published)
        found = [(index, value) for index, value in given if is_publishable(value)]
        self._dropped += len(given) - len(found)
        if not found:
            return
        agent, model = self._admitted(usage.agent_name, usage.model_id)
        values: dict[str, Any] = {}
        directives: dict[tuple[str, ...], dict[str, str]] = {}
        for index, value in found:
            metric = METRICS[index]
            values[metric.name] = wire_value(value)
            for told in (agent, None) if self._rolled_up else (agent,):
                series = series_of(metric, told, model)
                values |= dict(series.dimensions)
                names = tuple(name for name, _ in series.dimensions)
                directives.setdefault(names, {})[metric.name] = metric.unit
        line = {"_aws": self._head(usage, directives), **values}
        stream = self._stream or sys.stdout
        # The program may have printed a part of a line, on this thread or on another.
        stream.write(f"\n{json.dumps(line, separators=(',', ':'))}\n")
        stream.flush()
        self._sent += len(found)

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

    def _admitted(self, agent: str, model: str) -> tuple[str, str]:
        pair = (agent, model)
        if pair not in self._pairs and len(self._pairs) >= self._max_pairs:
            self._folded += 1
            return OTHER, OTHER
        self._pairs.add(pair)
        return pair
