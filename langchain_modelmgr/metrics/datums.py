"""One attempt's usage as CloudWatch's metrics: which, in what unit, under what names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_modelmgr.records import ModelUsageMetrics

Unit = Literal["Milliseconds", "Count", "None"]

OTHER = "other"
"""Dimension value that stands for all agents or models beyond the cap."""

MAX_VALUES = 150
"""Distinct values in one datum, and of one metric in one request (PutMetricData's limit)."""

_MAX_NAMESPACE = 255
_MAX_DIMENSION_VALUE = 1024
_LARGEST = 2.0**360
_LARGEST_DIGITS = 108
_SMALLEST = 2.0**-360
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_NAMESPACE = re.compile(r"[A-Za-z0-9._\-/#][A-Za-z0-9._\-/#: ]*")


class Series(NamedTuple):
    """What CloudWatch bills as one metric: a name with its exact dimensions."""

    name: str
    unit: Unit
    dimensions: tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """One metric that an attempt may have a data point of.

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
"""The guide's five, of which one has two series; and what is published only if it is asked for."""

_SUCCEEDED, _FAILED, _LATENCY, _INPUT, _OUTPUT, _COST = range(6)
_FIRST_TOKEN, _CACHE_READ, _CACHE_WRITE, _FALLBACKS, _THROTTLES, _WASTED, _UNPRICED = range(6, 13)

ROLLUP = "rollup"
"""Under ``metrics.extra``: every metric without the dimension ``Agent`` too, for alarms."""

EXTRAS = (*dict.fromkeys(metric.extra for metric in METRICS if metric.extra), ROLLUP)
"""What ``metrics.extra`` may name."""

_THROTTLED = "BedrockRateLimitError"

Observation = tuple[int, float | Decimal]
"""One data point: the index of its metric in ``METRICS``, and its value. Money is a Decimal."""


@dataclass(frozen=True, slots=True)
class Datum:
    """All values of one series in one minute.

    Attributes:
        series: The metric and its dimensions.
        minute: Start of the minute, in seconds since 1970.
        values: Distinct values, ascending, at most 150.
        counts: How often each value occurred.
        number: Its number in the journal; 0: it is in none.
    """

    series: Series
    minute: int
    values: tuple[float, ...]
    counts: tuple[int, ...]
    number: int = field(default=0, compare=False)

    @property
    def samples(self) -> int:
        """Number of data points in it."""
        return sum(self.counts)

    @property
    def size(self) -> int:
        """Bytes it takes in a request at most, before compression, in JSON or in CBOR."""
        names = sum(len(json.dumps(part)) for pair in self.series.dimensions for part in pair)
        numbers = sum(max(len(repr(value)), 9) + 2 for value in self.values)
        return 200 + names + 30 * len(self.series.dimensions) + numbers + 22 * len(self.counts)

    def to_request(self) -> dict[str, Any]:
        """Return it as a ``MetricDatum`` of PutMetricData."""
        return {
            "MetricName": self.series.name,
            "Dimensions": [
                {"Name": name, "Value": value} for name, value in self.series.dimensions
            ],
            "Timestamp": datetime.fromtimestamp(self.minute, UTC),
            "Values": list(self.values),
            "Counts": [float(count) for count in self.counts],
            "Unit": self.series.unit,
        }


def series_of(metric: Metric, agent_name: str | None, model_id: str) -> Series:
    """Return a metric's series of an agent with a model, the dimensions made valid.

    Args:
        metric: One of ``METRICS``.
        agent_name: The agent; None: the roll-up over all agents.
        model_id: The model.
    """
    dimensions = [("Model", dimension_value(public_model_id(model_id)))]
    if agent_name is not None:
        dimensions.insert(0, ("Agent", dimension_value(agent_name)))
    if metric.success is not None:
        dimensions.append(("Success", metric.success))
    return Series(metric.name, metric.unit, tuple(dimensions))


def indexes_of(extra: Iterable[str]) -> frozenset[int]:
    """Return the indexes of the metrics that are published."""
    wanted = {"", *extra}
    return frozenset(i for i, metric in enumerate(METRICS) if metric.extra in wanted)


def observations(usage: ModelUsageMetrics, published: frozenset[int]) -> list[Observation]:
    """Return the data points of one attempt.

    Every attempt that was sent counts as an invocation; one that the caller abandoned is no
    failure of the model. Latency, tokens and cost come from attempts that told their usage, so an
    unknown count is never published as zero, nor an unknown price as free.
    """
    if usage.outcome == "cached":
        return []
    first: Observation = (_FAILED if usage.outcome == "failed" else _SUCCEEDED, 1)
    if not usage.has_usage:
        found = [first]
    else:
        found = [
            first,
            (_LATENCY, usage.latency_ms),
            (_INPUT, usage.input_tokens),
            (_OUTPUT, usage.output_tokens),
        ]
        if usage.cost_usd is not None:
            found.append((_COST, usage.cost_usd))
    if len(published) > _FIRST_TOKEN:
        found += [point for point in _extra(usage) if point[0] in published]
    return found


def _extra(usage: ModelUsageMetrics) -> Iterator[Observation]:
    if usage.time_to_first_token_ms is not None:
        yield _FIRST_TOKEN, float(usage.time_to_first_token_ms)
    if usage.has_usage:
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        yield _CACHE_READ, float(usage.cache_read_tokens)
        yield _CACHE_WRITE, float(written)
        if usage.cost_usd is None:
            yield _UNPRICED, 1.0
    if usage.is_fallback and usage.outcome == "answered":
        yield _FALLBACKS, 1.0
    if usage.error_message == _THROTTLED:
        yield _THROTTLES, 1.0
    if usage.estimated_wasted_cost_usd is not None:
        yield _WASTED, usage.estimated_wasted_cost_usd


def is_publishable(value: float | Decimal) -> bool:
    """Tell whether CloudWatch would take the value: no NaN, no infinity, not negative."""
    if isinstance(value, Decimal):  # comparing one with a float is slow, and a NaN raises
        return value.is_finite() and not value.is_signed() and value.adjusted() < _LARGEST_DIGITS
    return 0 <= value <= _LARGEST


def are_publishable(found: Iterable[Observation]) -> bool:
    """Tell whether CloudWatch would take all the values: the common case, told fast."""
    for _, value in found:
        if type(value) is Decimal:
            if not value.is_finite() or value.is_signed() or value.adjusted() >= _LARGEST_DIGITS:
                return False
        elif not 0 <= value <= _LARGEST:
            return False
    return True


def wire_value(value: float | Decimal) -> float:
    """Return a value as it is sent: what is too small for CloudWatch becomes 0."""
    number = float(value)
    return number if number >= _SMALLEST else 0.0


def public_model_id(model_id: str) -> str:
    """Return a model id as it may be published: an ARN keeps everything but its account id."""
    return mask_account_ids(model_id)


def dimension_value(text: str) -> str:
    """Return ``text`` as a valid dimension value: printable ASCII, not blank, 1 to 1,024 long."""
    printable = _UNPRINTABLE.sub("?", text)[:_MAX_DIMENSION_VALUE]
    if not printable.strip():
        return "unknown"
    return "?" + printable[1:] if printable.startswith(":") else printable


def namespace_for(project_prefix: str) -> str:
    """Return the guide's namespace, ``{project_prefix}/Models``.

    Raises:
        ValueError: If CloudWatch would refuse it.
    """
    return checked_namespace(f"{project_prefix}/Models")


def checked_namespace(namespace: str) -> str:
    """Return ``namespace`` if CloudWatch takes it, or raise ValueError saying what is wrong."""
    if len(namespace) > _MAX_NAMESPACE or not _NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"CloudWatch takes no namespace {namespace!r}: use 1 to {_MAX_NAMESPACE} of the "
            "characters A-Z a-z 0-9 . - _ / #"
        )
    if namespace.startswith("AWS/"):
        raise ValueError(f"the namespace {namespace!r} is AWS's own: use another prefix than AWS")
    return namespace
