"""Many attempts as few datums: counted per metric, dimensions and minute, in bounded memory."""

from __future__ import annotations

import math
from datetime import UTC
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING

from langchain_modelmgr.metrics.datums import (
    MAX_VALUES,
    OTHER,
    AgentSeries,
    Datum,
    Observation,
    Series,
    agent_series,
    is_publishable,
    observations,
    wire_value,
)
from langchain_modelmgr.metrics.exact import EXACT
from langchain_modelmgr.metrics.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.records import ModelUsageMetrics

Value = float | Decimal
Cell = dict[Value, int]
"""The values of one series in one minute, and how often each occurred."""

MAX_SERIES = 1_000
"""Series of one process (about 0.30 USD a month each); the agents beyond it become ``other``."""

MAX_CELLS = 4_000
"""Cells between two drains, which are a minute apart: a thousand series over four minutes."""

MAX_DISTINCT = 4 * MAX_VALUES
"""Distinct values a cell holds before it is compacted: that is seldom, so it costs little."""

_SECONDS = 60


class Aggregator:
    """Counts data points until they are drained. Any thread may add; adding never waits.

    Args:
        max_series: Series at most; further agents and models are counted as ``other``.
        max_cells: Series times minutes held at most; further data points are refused.

    Attributes:
        recorded: Data points taken so far, drained ones included.
        refused: Data points not taken: not a number, negative, or no room.
        folded: Attempts counted under ``other``.
    """

    def __init__(self, *, max_series: int = MAX_SERIES, max_cells: int = MAX_CELLS) -> None:
        self.recorded = 0
        self.refused = 0
        self.folded = 0
        # One pair is kept for `other` itself.
        self._max_pairs = max(max_series // len(AgentSeries._fields) - 1, 0)
        self._max_cells = max_cells
        self._pairs: dict[tuple[str, str], AgentSeries] = {}
        self._other = agent_series(OTHER, OTHER)
        self._cells: dict[tuple[Series, int], Cell] = {}
        self._inbox: Inbox[tuple[int, bool, list[Observation]]] = Inbox(self._fold)

    @property
    def cells(self) -> int:
        """Datums that a drain would give now."""
        return len(self._cells)

    def add(self, usage: ModelUsageMetrics) -> None:
        """Count one attempt."""
        pair = (usage.agent_name, usage.model_id)
        series = self._pairs.get(pair) or self._admit(pair)
        found = observations(usage, series)
        if found:
            stamp = (
                usage.timestamp if usage.timestamp.tzinfo else usage.timestamp.replace(tzinfo=UTC)
            )
            minute = int(stamp.timestamp()) // _SECONDS * _SECONDS
            self._inbox.put((minute, series is self._other, found))

    def drain(self) -> list[Datum]:
        """Take everything out, as datums of at most 150 values each, one a series and minute."""
        with self._inbox.settled():
            cells, self._cells = self._cells, {}
        return [_datum(series, minute, cell) for (series, minute), cell in cells.items()]

    def _admit(self, pair: tuple[str, str]) -> AgentSeries:
        if len(self._pairs) >= self._max_pairs:
            return self._other
        return self._pairs.setdefault(pair, agent_series(*pair))

    def _fold(self, entry: tuple[int, bool, list[Observation]]) -> None:
        minute, is_other, found = entry
        self.folded += is_other
        for series, value in found:
            cell = self._cell(series, minute) if is_publishable(value) else None
            if cell is None:
                self.refused += 1
                continue
            self.recorded += 1
            cell[value] = cell.get(value, 0) + 1
            if len(cell) > MAX_DISTINCT:
                self._cells[series, minute] = compact(cell)

    def _cell(self, series: Series, minute: int) -> Cell | None:
        cell = self._cells.get((series, minute))
        if cell is None and len(self._cells) < self._max_cells:
            cell = self._cells[series, minute] = {}
        return cell


def compact(cell: Mapping[Value, int], *, limit: int = MAX_VALUES) -> Cell:
    """Return the values in at most ``limit`` bins, each with the mean of what is in it.

    Count, minimum and maximum stay exact and the sum exact but for rounding. The bins are spaced
    evenly on a logarithmic scale, so a percentile is off by some per cent at most, also in a long
    tail, and compacting again changes little.

    Args:
        cell: Values of zero or more, all floats or all Decimals.
        limit: Bins at most, 3 or more.
    """
    if len(cell) <= limit:
        return dict(cell)
    low, *inner, high = sorted(cell)
    start, end = _log(inner[0]), _log(inner[-1])
    scale = (limit - 3) / (end - start) if end > start else 0.0
    bins: Cell = {low: cell[low], high: cell[high]}
    for _, group in groupby(inner, key=lambda value: int((_log(value) - start) * scale)):
        members = list(group)
        count = sum(cell[value] for value in members)
        mean = _mean([(value, cell[value]) for value in members], count)
        # Rounding may put the mean of neighbours beside them.
        mean = min(max(mean, members[0]), members[-1])
        bins[mean] = bins.get(mean, 0) + count
    return bins


def _datum(series: Series, minute: int, cell: Cell) -> Datum:
    counts: dict[float, int] = {}
    for value, count in sorted(compact(cell).items()):
        number = wire_value(value)
        counts[number] = counts.get(number, 0) + count
    return Datum(series, minute, tuple(counts), tuple(counts.values()))


def _log(value: Value) -> float:
    return math.log(max(float(value), math.ulp(0.0)))


def _mean(members: list[tuple[Value, int]], count: int) -> Value:
    if isinstance(members[0][0], Decimal):
        total = Decimal(0)
        for value, times in members:
            total = EXACT.fma(Decimal(value), times, total)
        return EXACT.divide(total, count)
    return math.fsum(float(value) * times for value, times in members) / count
