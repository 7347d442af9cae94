"""Makes metric queries for alarms and graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.metrics.series import BUDGET_USED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_modelmgr.dashboard.chains import Chain


@dataclass(frozen=True, slots=True)
class Query:
    """One metric with its dimensions, under an id that expressions use.

    Attributes:
        id: The id: a lower-case letter, then letters and digits.
        name: The metric.
        dimensions: Its dimensions.
        stat: ``Sum``, ``p95``, ...
    """

    id: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    stat: str = "Sum"

    def for_alarm(self, namespace: str, period: int) -> dict[str, Any]:
        """Return it as a ``MetricDataQuery`` of CloudFormation."""
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions]
        metric = {"Namespace": namespace, "MetricName": self.name, "Dimensions": dimensions}
        return {
            "Id": self.id,
            "MetricStat": {"Metric": metric, "Period": period, "Stat": self.stat},
            "ReturnData": False,
        }

    def for_graph(self, namespace: str, **options: Any) -> list[Any]:
        """Return it as a row of a dashboard's ``metrics``."""
        flat = [part for pair in self.dimensions for part in pair]
        return [namespace, self.name, *flat, {"id": self.id, "stat": self.stat, **options}]


def calls(chain: Chain, success: str, *, prefix: str, models: Sequence[str]) -> list[Query]:
    """Return the invocations of an agent by model."""
    return [
        Query(
            f"{prefix}{i}",
            "ModelInvocations",
            (("Agent", chain.agent), ("Model", model), ("Success", success)),
        )
        for i, model in enumerate(models)
    ]


def by_model(
    chain: Chain, name: str, *, prefix: str, models: Sequence[str], stat: str = "Sum"
) -> list[Query]:
    """Return a metric of an agent by model."""
    return [
        Query(f"{prefix}{i}", name, (("Agent", chain.agent), ("Model", model)), stat)
        for i, model in enumerate(models)
    ]


def of_budget(name: str, query_id: str) -> Query:
    """Return how much of a budget is spent, in per cent, of its highest key."""
    return Query(query_id, BUDGET_USED, (("Budget", name),), "Maximum")


def total(queries: Sequence[Query]) -> str:
    """Return the expression of their sum; a metric without data counts as 0."""
    return "(" + "+".join(f"FILL({query.id},0)" for query in queries) + ")"
