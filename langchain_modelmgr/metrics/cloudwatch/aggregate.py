"""Many rows as few datums: pure, one for each metric, dimensions and minute."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.metrics.cloudwatch.bins import publishable
from langchain_modelmgr.metrics.datums import (
    METRICS,
    ROLLUP,
    Datum,
    indexes_of,
    observations,
    series_of,
    wire_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_modelmgr.ledger.rows import AttemptRow
    from langchain_modelmgr.metrics.cloudwatch.bins import Cell
    from langchain_modelmgr.metrics.cloudwatch.places import Places

_MINUTE_TEXT = 16
"""Characters of a time up to its minute."""


class Rules(NamedTuple):
    """What of a writer's rows is published.

    Attributes:
        published: Indexes of the metrics.
        is_rolled_up: Whether all of them come without the agent too.
        agents: The agents of the YAML, which have places of their own.
        max_series: Metrics in all.
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
        """Return how many data points an attempt makes."""
        return len(observations(row, self.published)) * (1 + self.is_rolled_up)


class _Counted:
    """The values of one series in one minute, and whose they are."""

    __slots__ = ("cell", "writers")

    def __init__(self) -> None:
        self.cell: Cell = {}
        self.writers: Counter[str] = Counter()


_Key = tuple[str | None, str, str]
"""Agent (None: over all agents), model, minute."""


def aggregate(
    given: Mapping[int, tuple[Rules, Sequence[AttemptRow]]], places: Places
) -> tuple[list[Datum], Counter[int]]:
    """Return the datums of rows, and how many attempts of which writer were counted as ``other``.

    Args:
        given: By the number of their writer, rows and what of them is published.
        places: Which agents and models have metrics of their own.
    """
    counted: defaultdict[_Key, dict[int, _Counted]] = defaultdict(dict)
    folded: Counter[int] = Counter()
    for writer, (rules, rows) in given.items():
        groups: dict[tuple[str, str, str], list[AttemptRow]] = {}
        for row in rows:
            groups.setdefault((row.agent, row.model, row.time[:_MINUTE_TEXT]), []).append(row)
        for (agent, model, minute), group in groups.items():
            placed = places.admit(
                agent, model, reserved=rules.agents, metrics=len(rules.published),
                max_series=rules.max_series,
            )  # fmt: skip
            if placed != (agent, model):
                folded[writer] += len(group)
            _count(counted[*placed, minute], str(writer), rules, group)
            if rules.is_rolled_up:
                _count(counted[None, placed[1], minute], str(writer), rules, group)
    return [
        _datum(METRICS[index].name, index, key, values)
        for key, by_metric in counted.items()
        for index, values in by_metric.items()
    ], folded


def _count(
    by_metric: dict[int, _Counted], writer: str, rules: Rules, group: Sequence[AttemptRow]
) -> None:
    published = rules.published
    for row in group:
        for index, value in observations(row, published):
            counted = by_metric.get(index)
            if counted is None:
                counted = by_metric[index] = _Counted()
            counted.cell[value] = counted.cell.get(value, 0) + 1
            counted.writers[writer] += 1


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
