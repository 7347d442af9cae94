"""Aggregates rows into datums: one for each metric, its dimensions, and minute."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.ledger.attempt_rows import MINUTE_TEXT
from langchain_modelmgr.metrics.cloudwatch.bins import publishable
from langchain_modelmgr.metrics.series import (
    METRICS,
    ROLLUP,
    Datum,
    indexes_of,
    observations,
    observed,
    series_of,
    wire_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_modelmgr.ledger.attempt_rows import AttemptRow, Group
    from langchain_modelmgr.metrics.cloudwatch.cardinality import Places


class Rules(NamedTuple):
    """Which metrics of a writer's rows are published.

    Attributes:
        published: Indexes of the metrics.
        is_rolled_up: Whether each is published without the dimension ``Agent`` too.
        agents: The agents of the YAML, which always have metrics of their own.
        max_series: Largest number of metrics.
    """

    published: frozenset[int]
    is_rolled_up: bool
    agents: frozenset[str]
    max_series: int

    @classmethod
    def of(cls, *, extra: Iterable[str] = (), agents: Iterable[str] = (), max_series: int) -> Rules:
        """Return the rules of ``metrics.extra`` and a configuration's agents."""
        extra = tuple(extra)
        return cls(indexes_of(extra), ROLLUP in extra, frozenset(agents), max_series)

    def points_of(self, row: AttemptRow) -> int:
        """Return the number of data points of an attempt."""
        return len(observations(row, self.published)) * (1 + self.is_rolled_up)


class _Counted:
    """The values of one series in one minute, and their number by writer."""

    __slots__ = ("cell", "writers")

    def __init__(self) -> None:
        self.cell: Counter[float] = Counter()
        self.writers: Counter[str] = Counter()

    def add(self, values: Sequence[float], writer: str) -> None:
        self.cell.update(values)
        if values:
            self.writers[writer] += len(values)


_Key = tuple[str | None, str, str]
"""Agent (None: over all agents), model, minute."""


def aggregate(
    given: Mapping[int, tuple[Rules, Sequence[Group]]], places: Places
) -> tuple[list[Datum], Counter[int]]:
    """Return the datums of rows, and by writer the number of attempts counted as ``other``.

    Args:
        given: By the id of a writer, its rules and rows.
        places: Which agents and models have metrics of their own.
    """
    counted: defaultdict[_Key, defaultdict[int, _Counted]] = defaultdict(_by_metric)
    folded: Counter[int] = Counter()
    for writer, (rules, groups) in given.items():
        for group in groups:
            agent, model = group.first.agent, group.first.model
            minute = group.first.time[:MINUTE_TEXT]
            placed = places.admit(
                agent, model, reserved=rules.agents, metrics=len(rules.published),
                max_series=rules.max_series,
            )  # fmt: skip
            if placed != (agent, model):
                folded[writer] += group.size
            keys: list[_Key] = [(*placed, minute)]
            if rules.is_rolled_up:
                keys.append((None, placed[1], minute))
            for index, values in observed(group, rules.published):
                for key in keys:
                    counted[key][index].add(values, str(writer))
    return [
        _datum(METRICS[index].name, index, key, values)
        for key, by_metric in counted.items()
        for index, values in by_metric.items()
        if values.cell
    ], folded


def _by_metric() -> defaultdict[int, _Counted]:
    return defaultdict(_Counted)


def _datum(name: str, index: int, key: _Key, counted: _Counted) -> Datum:
    agent, model, minute = key
    values: dict[float, int] = {}
    for value, times in sorted(publishable(counted.cell).items()):
        number = wire_value(index, value)
        values[number] = values.get(number, 0) + times
    series = series_of(METRICS[index], agent, model)
    start = datetime.strptime(minute, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    return Datum(
        name, series.unit, series.dimensions, int(start.timestamp()), tuple(values),
        tuple(values.values()), counted.writers,
    )  # fmt: skip
