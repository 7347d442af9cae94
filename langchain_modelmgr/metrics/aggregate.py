"""Many attempts as few datums: counted per metric, dimensions and minute, in bounded memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from langchain_modelmgr.metrics.bins import Cell, Value, merge, publishable
from langchain_modelmgr.metrics.datums import (
    METRICS,
    OTHER,
    ROLLUP,
    Datum,
    Observation,
    Series,
    are_publishable,
    indexes_of,
    is_publishable,
    observations,
    series_of,
    wire_value,
)
from langchain_modelmgr.metrics.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from threading import RLock as Lock

    from langchain_modelmgr.records import ModelUsageMetrics

MAX_SERIES = 1_000
"""Series of one process (about 0.30 USD a month each); the agents beyond it become ``other``."""

MAX_CELLS = 4_000
"""Cells between two drains, which are a minute apart: a thousand series over four minutes."""

MAX_VALUES_HELD = 500_000
"""Distinct values in all cells together, some 50 MB: beyond a cell's share they are merged."""

_SHARE = 300, 2_000
"""Distinct values that one cell may hold, at least and at most."""

_SECONDS = 60
_MINUTE = timedelta(seconds=_SECONDS)
_EPOCH = datetime.fromtimestamp(0, UTC)
_SERIES_A_PAIR = 6

Pair = tuple[str, str]


class Aggregator:
    """Counts data points until they are drained. Any thread may add; adding never waits.

    Args:
        max_series: Series at most; further agents and models are counted as ``other``.
        max_cells: Series times minutes held at most; further data points are refused.
        extra: What is published beyond the guide's five; ``metrics.extra``.
        keep: Told of each attempt, under the same lock as ``drain``, before ``add`` returns: all
            pairs, the number of its own, its minute, and its data points.
        lock: The reentrant lock under which it is told.

    Attributes:
        recorded: Data points taken so far, drained ones included; those of a roll-up from
            their drain on.
        refused: Data points not taken: not a number, negative, or no room.
        folded: Attempts counted under ``other``.
        pairs: Agents and models in the order in which they came; ``other`` is the first.
    """

    def __init__(
        self,
        *,
        max_series: int = MAX_SERIES,
        max_cells: int = MAX_CELLS,
        extra: Iterable[str] = (),
        keep: Callable[[Sequence[Pair], int, int, list[Observation]], None] | None = None,
        lock: Lock | None = None,
    ) -> None:
        self.recorded = 0
        self.refused = 0
        self.folded = 0
        extra = tuple(extra)
        self._published = indexes_of(extra)
        self._rolled_up = ROLLUP in extra
        # One pair is kept for `other` itself.
        self._max_pairs = max(max_series // max(_SERIES_A_PAIR, len(self._published)), 1)
        self._max_cells = max_cells
        self.pairs: list[Pair] = [(OTHER, OTHER)]
        self._numbers: dict[Pair, int] = {}
        self._cells: dict[tuple[int, int], dict[int, Cell]] = {}
        self._count = 0
        self._last_minute = _EPOCH, _EPOCH, 0
        self._share = _SHARE[1]
        self._keep = keep
        self._lock = lock or threading.RLock()
        self._inbox: Inbox[tuple[int, int, list[Observation]]] = Inbox(self._fold)

    @property
    def cells(self) -> int:
        """Datums that a drain would give now, but for a roll-up."""
        return self._count

    def add(self, usage: ModelUsageMetrics) -> None:
        """Count one attempt."""
        found = observations(usage, self._published)
        if not found:
            return
        if not are_publishable(found):
            given, found = found, [point for point in found if is_publishable(point[1])]
            with self._lock:
                self.refused += len(given) - len(found)
        pair = (usage.agent_name, usage.model_id)
        number = self._numbers.get(pair)
        if number is None:
            number = self._admit(pair)
        stamp = usage.timestamp
        begins, ends, minute = self._last_minute
        if stamp.tzinfo is not UTC or not begins <= stamp < ends:
            minute = self._minute_of(stamp)
        if self._keep is None:
            self._inbox.put((number, minute, found))
            return
        # A reentrant lock: a finaliser may record in the middle of this. What is kept and what is
        # counted must not be parted by a drain.
        with self._lock:
            self._keep(self.pairs, number, minute, found)
            self._inbox.put((number, minute, found))

    def restore(self, number: int, minute: int, found: list[Observation]) -> None:
        """Count data points that were kept by a process that is gone."""
        self._inbox.put((number, minute, found))

    def admit(self, pair: Pair) -> int:
        """Return the number of an agent and a model."""
        found = self._numbers.get(pair)
        return self._admit(pair) if found is None else found

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Hold everything still: all that was kept is counted, and nothing comes."""
        # In this order: who adds holds the second lock and never waits for the first.
        with self._inbox.settled(), self._lock:
            self._inbox.fold_all()
            yield

    def drain(self, mark: Callable[[], None] | None = None) -> list[Datum]:
        """Take everything out, as datums of at most 150 values each, one a series and minute.

        Args:
            mark: Called while everything is held still.
        """
        with self.settled():
            cells, self._cells, self._count = self._cells, {}, 0
            self._share = _SHARE[1]
            if mark is not None and cells:
                mark()
        datums = [_datum(series, minute, cell) for series, minute, cell in self._series(cells)]
        if self._rolled_up:
            self.recorded += sum(d.samples for d in datums if _is_rolled_up(d.series))
        return datums

    def as_lines(self) -> Iterator[bytes]:
        """Yield what is counted now as a journal's lines; for who holds everything still."""
        for (number, minute), by_metric in self._cells.items():
            for index, cell in by_metric.items():
                for value, times in cell.items():
                    told = f'"{value}"' if isinstance(value, Decimal) else repr(value)
                    yield f'{{"cell":[{number},{minute},{index},{told},{times}]}}\n'.encode()

    def restore_cell(self, number: int, minute: int, index: int, value: Value, times: int) -> None:
        """Count a value that was counted before."""
        with self._inbox.settled():
            by_metric = self._cells.setdefault((number, minute), {})
            cell = by_metric.get(index)
            if cell is None:
                cell = self._new_cell(by_metric, index)
            if cell is not None:
                self.recorded += times
                cell[value] = cell.get(value, 0) + times

    def _series(
        self, cells: dict[tuple[int, int], dict[int, Cell]]
    ) -> Iterator[tuple[Series, int, Cell]]:
        over_agents: defaultdict[tuple[str, int, int], Cell] = defaultdict(dict)
        for (number, minute), by_metric in cells.items():
            agent, model = self.pairs[number]
            for index, cell in by_metric.items():
                yield series_of(METRICS[index], agent, model), minute, cell
                if self._rolled_up:
                    rolled = over_agents[model, minute, index]
                    for value, count in cell.items():
                        rolled[value] = rolled.get(value, 0) + count
        for (model, minute, index), cell in over_agents.items():
            yield series_of(METRICS[index], None, model), minute, cell

    def _minute_of(self, stamp: datetime) -> int:
        """Return the start of a moment's minute, in seconds since 1970, and remember it."""
        if stamp.tzinfo is None:
            stamp = stamp.replace(tzinfo=UTC)
        minute = int(stamp.timestamp() // _SECONDS) * _SECONDS
        begins = datetime.fromtimestamp(minute, UTC)
        self._last_minute = begins, begins + _MINUTE, minute
        return minute

    def _admit(self, pair: Pair) -> int:
        with self._lock:
            if pair in self._numbers:
                return self._numbers[pair]
            if len(self.pairs) >= self._max_pairs:
                return 0
            self.pairs.append(pair)
            self._numbers[pair] = len(self.pairs) - 1
            return self._numbers[pair]

    def _fold(self, entry: tuple[int, int, list[Observation]]) -> None:
        number, minute, found = entry
        if not number:
            self.folded += 1
        by_metric = self._cells.get((number, minute))
        if by_metric is None:
            by_metric = self._cells[number, minute] = {}
        self.recorded += len(found)
        for index, value in found:
            cell = by_metric.get(index)
            if cell is None:
                cell = self._new_cell(by_metric, index)
                if cell is None:
                    self.recorded -= 1
                    self.refused += 1
                    continue
            known = cell.get(value)
            if known is not None:
                cell[value] = known + 1
                continue
            cell[value] = 1
            if len(cell) > self._share:
                by_metric[index] = merge(cell, self._share // 2)

    def _new_cell(self, by_metric: dict[int, Cell], index: int) -> Cell | None:
        if self._count >= self._max_cells:
            return None
        self._count += 1
        least, most = _SHARE
        self._share = min(most, max(least, MAX_VALUES_HELD // self._count))
        cell = by_metric[index] = {}
        return cell


def _is_rolled_up(series: Series) -> bool:
    return series.dimensions[0][0] != "Agent"


def _datum(series: Series, minute: int, cell: Cell) -> Datum:
    counts: dict[float, int] = {}
    for value, count in sorted(publishable(cell).items()):
        number = wire_value(value)
        counts[number] = counts.get(number, 0) + count
    return Datum(series, minute, tuple(counts), tuple(counts.values()))
