"""One attempt's usage as the design guide's five metrics: which, in what unit, under what names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.records import ModelUsageMetrics

Unit = Literal["Milliseconds", "Count", "None"]

OTHER = "other"
"""Dimension value that stands for all agents or models beyond the cap."""

MAX_VALUES = 150
"""Distinct values in one datum, and of one metric in one request (PutMetricData's limit)."""

_MAX_NAMESPACE = 255
_MAX_DIMENSION_VALUE = 1024
_LARGEST = 2.0**360
_SMALLEST = 2.0**-360
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_NAMESPACE = re.compile(r"[A-Za-z0-9._\-/#][A-Za-z0-9._\-/#: ]*")


class Series(NamedTuple):
    """What CloudWatch bills as one metric: a name with its exact dimensions."""

    name: str
    unit: Unit
    dimensions: tuple[tuple[str, str], ...]


class AgentSeries(NamedTuple):
    """All series of one agent with one model."""

    succeeded: Series
    failed: Series
    latency: Series
    input_tokens: Series
    output_tokens: Series
    cost: Series


Observation = tuple[Series, float | Decimal]
"""One data point: its series and its value. Money is a Decimal."""


@dataclass(frozen=True, slots=True)
class Datum:
    """All values of one series in one minute.

    Attributes:
        series: The metric and its dimensions.
        minute: Start of the minute, in seconds since 1970.
        values: Distinct values, ascending, at most 150.
        counts: How often each value occurred.
    """

    series: Series
    minute: int
    values: tuple[float, ...]
    counts: tuple[int, ...]

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


def agent_series(agent_name: str, model_id: str) -> AgentSeries:
    """Return the series of one agent with one model, their dimensions made valid."""
    agent = ("Agent", dimension_value(agent_name))
    model = ("Model", dimension_value(public_model_id(model_id)))
    both = (agent, model)
    return AgentSeries(
        succeeded=Series("ModelInvocations", "Count", (*both, ("Success", "true"))),
        failed=Series("ModelInvocations", "Count", (*both, ("Success", "false"))),
        latency=Series("ModelLatency", "Milliseconds", both),
        input_tokens=Series("InputTokens", "Count", both),
        output_tokens=Series("OutputTokens", "Count", both),
        cost=Series("ModelCost", "None", both),
    )


def observations(usage: ModelUsageMetrics, series: AgentSeries) -> list[Observation]:
    """Return the data points of one attempt.

    Every attempt that was sent counts as an invocation; one that the caller abandoned is no
    failure of the model. Latency, tokens and cost come from attempts that told their usage, so an
    unknown count is never published as zero, nor an unknown price as free.
    """
    if usage.outcome == "cached":
        return []
    found: list[Observation] = [
        (series.failed if usage.outcome == "failed" else series.succeeded, 1.0)
    ]
    if usage.has_usage:
        found.append((series.latency, float(usage.latency_ms)))
        found.append((series.input_tokens, float(usage.input_tokens)))
        found.append((series.output_tokens, float(usage.output_tokens)))
        if usage.cost_usd is not None:
            found.append((series.cost, usage.cost_usd))
    return found


def is_publishable(value: float | Decimal) -> bool:
    """Tell whether CloudWatch would take the value: no NaN, no infinity, not negative."""
    if isinstance(value, Decimal) and not value.is_finite():
        return False  # comparing a Decimal NaN raises
    return 0 <= value <= _LARGEST


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
