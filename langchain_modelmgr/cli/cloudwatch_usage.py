"""Reads usage from CloudWatch with ListMetrics and GetMetricData."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.cli.usage_report import UsageReport
from langchain_modelmgr.ledger.time_range import time_range_of
from langchain_modelmgr.manager import ModelManager

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.ledger.time_range import TimeRange

COLUMNS = ("agent", "model", "day")
"""What CloudWatch's figures can be grouped by."""

_QUERIES = 500
"""Queries of one GetMetricData at most. Source: AWS, "GetMetricData", read 2026-11-26."""

_PERIOD = 3_600
"""Seconds: CloudWatch keeps this period longest, 455 days."""

_ATTEMPTS = "ModelInvocations"
_COST, _WASTED, _FALLBACKS = "ModelCost", "WastedCost", "Fallbacks"
_UNPRICED = "UnpricedAttempts"
_FIGURES = {"InputTokens": "input_tokens", "OutputTokens": "output_tokens", _ATTEMPTS: "attempts"}
_MONEY = {_COST: "cost_usd", _WASTED: "estimated_wasted_cost_usd"}
_READ = (*_FIGURES, *_MONEY, _FALLBACKS, _UNPRICED)

_DIGITS = 12
"""Significant digits of sums of money: CloudWatch adds binary fractions."""


class _Sum(NamedTuple):
    metric: str
    dimensions: dict[str, str]
    day: str
    value: float


def usage_from_cloudwatch(
    config: ConfigurationManager, since: str, by: Sequence[str]
) -> UsageReport:
    """Return the usage that all processes of an account and region published.

    Args:
        config: The configuration, which names the namespace.
        since: As ``ModelManager.usage`` takes it.
        by: Some of ``COLUMNS``.

    Raises:
        ValueError: A name or a time is invalid.
    """
    time_range = checked(since, by)
    with ModelManager(config, sinks=[]) as manager:
        client = manager.clients.cloudwatch()()
        found = list(_sums(client, config.namespace, time_range))
        region = client.meta.region_name
    extra = config.metrics.extra
    groups: dict[tuple[str, ...], list[_Sum]] = {}
    for one in found:
        groups.setdefault(tuple(_key(one, name) for name in by), []).append(one)
    rows = [
        {**dict(zip(by, key, strict=True)), **_figures(sums, extra)}
        for key, sums in sorted(groups.items())
    ]
    return UsageReport(
        source=f"from CloudWatch in {region}, namespace {config.namespace}",
        since=time_range.since,
        until=time_range.until,
        by=by,
        rows=rows,
        totals=_figures(found, extra),
        answers=_answers(found),
        fallbacks=_published(found, _FALLBACKS, is_published="fallbacks" in extra),
    )


def checked(since: str, by: Sequence[str]) -> TimeRange:
    """Return the time range; nothing is read.

    Raises:
        ValueError: A name or a time is invalid.
    """
    for name in by:
        if name not in COLUMNS:
            is_metadata = name.startswith("metadata.")
            why = ", because metadata are not dimensions of the metrics" if is_metadata else ""
            raise ValueError(
                f"CloudWatch has no figures by {name!r}{why}: use {', '.join(COLUMNS)}, or the "
                "ledger (without --cloudwatch)"
            )
    return time_range_of(since, None, timezone=None, now=datetime.now(UTC))


def _sums(client: Any, namespace: str, time_range: TimeRange) -> Iterator[_Sum]:
    metrics = [
        metric
        for page in client.get_paginator("list_metrics").paginate(Namespace=namespace)
        for metric in page["Metrics"]
        if metric["MetricName"] in _READ and "Agent" in _dimensions(metric)
    ]
    for start in range(0, len(metrics), _QUERIES):
        some = metrics[start : start + _QUERIES]
        queries = [
            {"Id": f"m{i}", "MetricStat": {"Metric": m, "Period": _PERIOD, "Stat": "Sum"}}
            for i, m in enumerate(some)
        ]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=_whole_hour(time_range.since),
            EndTime=time_range.until,
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                metric = some[int(result["Id"][1:])]
                for moment, value in zip(result["Timestamps"], result["Values"], strict=True):
                    day = moment.astimezone(UTC).date().isoformat()
                    yield _Sum(metric["MetricName"], _dimensions(metric), day, value)


def _whole_hour(moment: datetime) -> datetime:
    return moment - timedelta(seconds=moment.timestamp() % _PERIOD)


def _dimensions(metric: dict[str, Any]) -> dict[str, str]:
    return {d["Name"]: d["Value"] for d in metric["Dimensions"]}


def _key(one: _Sum, name: str) -> str:
    return one.day if name == "day" else one.dimensions[name.capitalize()]


def _figures(found: Sequence[_Sum], extra: Sequence[str]) -> dict[str, Any]:
    counts = {
        name: round(sum(one.value for one in found if one.metric == metric))
        for metric, name in _FIGURES.items()
    }
    money: dict[str, Decimal | None] = {
        name: _money(found, metric) for metric, name in _MONEY.items()
    }
    if not money["estimated_wasted_cost_usd"] and "wasted_cost" not in extra:
        money["estimated_wasted_cost_usd"] = None
    unpriced = _published(found, _UNPRICED, is_published="unpriced" in extra)
    return {"attempts": counts.pop("attempts"), **counts, "unpriced": unpriced, **money}


def _money(found: Sequence[_Sum], metric: str) -> Decimal:
    total = sum(one.value for one in found if one.metric == metric)
    return Decimal(f"{total:.{_DIGITS}g}")


def _answers(found: Sequence[_Sum]) -> int:
    answered = (o for o in found if o.metric == _ATTEMPTS and o.dimensions["Success"] == "true")
    return round(sum(one.value for one in answered))


def _published(found: Sequence[_Sum], metric: str, *, is_published: bool) -> int | None:
    """Return the sum of an extra metric; None: there is none, and it is not published."""
    total = round(sum(one.value for one in found if one.metric == metric))
    return total if total or is_published else None
