"""The metrics that are published: names, units, dimensions, and the data points of an attempt."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from itertools import compress
from operator import add
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_modelmgr.ledger.attempt_rows import Group
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.pricing import PICO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_modelmgr.ledger.attempt_rows import AttemptRow

Unit = Literal["Milliseconds", "Count", "None"]

MAX_VALUES = 150
"""Distinct values in one datum, and of one metric in one request (PutMetricData's limit)."""

METRIC_USD_A_MONTH = Decimal("0.30")
"""USD a month that CloudWatch bills for one of the first 10,000 custom metrics of an account.
Source: AWS, "Amazon CloudWatch pricing", US East, read 2026-11-23."""

_MAX_NAMESPACE = 255
_MAX_DIMENSION_VALUE = 1024
_SMALLEST = 2.0**-360
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_NAMESPACE = re.compile(r"[A-Za-z0-9._\-/#][A-Za-z0-9._\-/#: ]*")


class Series(NamedTuple):
    """One metric as CloudWatch bills it: a name with its exact dimensions."""

    name: str
    unit: Unit
    dimensions: tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """One metric that attempts have data points of.

    Attributes:
        name: CloudWatch's name.
        unit: CloudWatch's unit.
        success: The value of the dimension ``Success``; None: the metric has no such dimension.
        extra: The name under ``metrics.extra`` that publishes it; empty: always published.
    """

    name: str
    unit: Unit
    success: str | None = None
    extra: str = ""


METRICS = (
    Metric("ModelInvocations", "Count", "true"),
    Metric("ModelInvocations", "Count", "false"),
    Metric("ModelLatency", "Milliseconds"),
    Metric("InputTokens", "Count"),
    Metric("OutputTokens", "Count"),
    Metric("ModelCost", "None"),
    Metric("TimeToFirstToken", "Milliseconds", extra="time_to_first_token"),
    Metric("CacheReadTokens", "Count", extra="cache_tokens"),
    Metric("CacheWriteTokens", "Count", extra="cache_tokens"),
    Metric("Fallbacks", "Count", extra="fallbacks"),
    Metric("Throttles", "Count", extra="throttles"),
    Metric("WastedCost", "None", extra="wasted_cost"),
    Metric("UnpricedAttempts", "Count", extra="unpriced"),
)
"""The guide's five metrics, one of which has two series, and those of ``metrics.extra``."""

_SUCCEEDED, _FAILED, _LATENCY, _INPUT, _OUTPUT, _COST = range(6)
_FIRST_TOKEN, _CACHE_READ, _CACHE_WRITE, _FALLBACKS, _THROTTLES, _WASTED, _UNPRICED = range(6, 13)

ROLLUP = "rollup"
"""Under ``metrics.extra``: every metric without the dimension ``Agent`` too, for alarms."""

BUDGETS, BUDGET_USED = "budgets", "BudgetUsed"
"""The name under ``metrics.extra`` and the metric: per cent of a budget, of its highest key. It has
the dimension ``Budget`` alone, and is no metric of an attempt."""

EXTRAS = (*dict.fromkeys(metric.extra for metric in METRICS if metric.extra), ROLLUP)
"""The names that ``metrics.extra`` may contain."""

_THROTTLED = "BedrockRateLimitError"

MONEY = frozenset({_COST, _WASTED})
"""Indexes of the metrics whose values are counted in pico USD, so that sums are exact."""

Observation = tuple[int, float]
"""One data point: the index of its metric in ``METRICS``, and its value."""


class Datum(NamedTuple):
    """All values of one series in one minute; as JSON, a list of the same.

    Attributes:
        name: The metric.
        unit: CloudWatch's unit.
        dimensions: Names and values.
        minute: Start of the minute, in seconds since 1970.
        values: Distinct values, ascending, at most 150.
        counts: How often each value occurred.
        writers: The number of its data points by writer of the ledger.
    """

    name: str
    unit: str
    dimensions: Sequence[Sequence[str]]
    minute: int
    values: Sequence[float]
    counts: Sequence[int]
    writers: Mapping[str, int]

    @property
    def series(self) -> tuple[str, str]:
        """The key of its metric within a request."""
        return self.name, repr(self.dimensions)

    @property
    def size(self) -> int:
        """Largest size in a request in bytes, before compression, in JSON or CBOR."""
        names = sum(len(json.dumps(part)) for pair in self.dimensions for part in pair)
        numbers = sum(max(len(repr(value)), 9) + 2 for value in self.values)
        return 200 + names + 30 * len(self.dimensions) + numbers + 22 * len(self.counts)

    def to_request(self) -> dict[str, Any]:
        """Return it as a ``MetricDatum`` of PutMetricData."""
        return {
            "MetricName": self.name,
            "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions],
            "Timestamp": datetime.fromtimestamp(self.minute, UTC),
            "Values": list(self.values),
            "Counts": [float(count) for count in self.counts],
            "Unit": self.unit,
        }


def series_of(metric: Metric, agent_name: str | None, model_id: str) -> Series:
    """Return a metric's series of an agent with a model, the dimensions made valid.

    Args:
        metric: One of ``METRICS``.
        agent_name: The agent; None: the roll-up over all agents.
        model_id: The model.
    """
    dimensions = [("Model", dimension_value(mask_account_ids(model_id)))]
    if agent_name is not None:
        dimensions.insert(0, ("Agent", dimension_value(agent_name)))
    if metric.success is not None:
        dimensions.append(("Success", metric.success))
    return Series(metric.name, metric.unit, tuple(dimensions))


def indexes_of(extra: Iterable[str]) -> frozenset[int]:
    """Return the indexes of the metrics that are published."""
    wanted = {"", *extra}
    return frozenset(i for i, metric in enumerate(METRICS) if metric.extra in wanted)


def observations(row: AttemptRow, published: frozenset[int]) -> list[Observation]:
    """Return the data points of one attempt."""
    columns = observed(Group.of([row]), published)
    return [(index, value) for index, values in columns for value in values]


def observed(group: Group, published: frozenset[int]) -> Iterator[tuple[int, Sequence[float]]]:
    """Yield the data points of attempts, metric by metric.

    Every attempt that was sent counts as an invocation. An attempt that the caller abandoned, or
    whose process died, does not count as a failure of the model. Latency, tokens and cost come from
    attempts with known usage, so that unknown counts and prices are never published as zero.
    """
    columns = group.columns
    yield (_FAILED if group.first.outcome == "failed" else _SUCCEEDED), (1,) * group.size
    has_usage = [tokens is not None for tokens in columns.input_tokens]
    if any(has_usage):
        latencies = [ms for ms in _known(columns.latency_ms, has_usage) if ms is not None]
        if latencies:  # an answer of a batch inference job has none
            yield _LATENCY, latencies
        yield _INPUT, _known(columns.input_tokens, has_usage)
        yield _OUTPUT, _known(columns.output_tokens, has_usage)
        yield _COST, _known(columns.cost_pico_usd, has_usage)
    if len(published) > _FIRST_TOKEN:
        for index, values in _extra(group, has_usage):
            if index in published:
                yield index, values


def _extra(group: Group, has_usage: list[bool]) -> Iterator[tuple[int, Sequence[float]]]:
    columns = group.columns
    yield _FIRST_TOKEN, [ms for ms in columns.time_to_first_token_ms if ms is not None]
    if any(has_usage):
        written = map(add, *(
            map(int, compress(column, has_usage))
            for column in (columns.cache_write_5m_tokens, columns.cache_write_1h_tokens)
        ))  # fmt: skip
        yield _CACHE_READ, _known(columns.cache_read_tokens, has_usage)
        yield _CACHE_WRITE, list(written)
    yield _UNPRICED, (1,) * group.unpriced
    if group.first.is_fallback and group.first.outcome == "answered":
        yield _FALLBACKS, (1,) * group.size
    yield _THROTTLES, (1,) * columns.error.count(_THROTTLED)
    wasted = columns.estimated_wasted_cost_pico_usd
    yield _WASTED, [cost for cost in wasted if cost is not None]


def _known(column: Sequence[float | None], has_usage: list[bool]) -> list[float]:
    return [value for value in compress(column, has_usage) if value is not None]


def wire_value(index: int, value: float) -> float:
    """Convert a value to its form in a request; values too small for CloudWatch become 0."""
    number = value / PICO if index in MONEY else float(value)
    return number if number >= _SMALLEST else 0.0


def dimension_value(text: str) -> str:
    """Return ``text`` as a valid dimension value: printable ASCII, not blank, 1 to 1,024 long."""
    printable = _UNPRINTABLE.sub("?", text)[:_MAX_DIMENSION_VALUE]
    if not printable.strip():
        return "unknown"
    return "?" + printable[1:] if printable.startswith(":") else printable


def checked_namespace(namespace: str) -> str:
    """Return ``namespace``; raise ValueError if it is not valid in CloudWatch."""
    if len(namespace) > _MAX_NAMESPACE or not _NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"invalid CloudWatch namespace {namespace!r}: use 1 to {_MAX_NAMESPACE} of the "
            "characters A-Z a-z 0-9 . - _ / #"
        )
    if namespace.startswith("AWS/"):
        raise ValueError(
            f"invalid CloudWatch namespace {namespace!r}: AWS/ is reserved, use another prefix"
        )
    return namespace
