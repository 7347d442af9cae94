"""Batches: cuts datums into requests that CloudWatch accepts, and stores them with the rows."""

from __future__ import annotations

import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger import outbox
from langchain_modelmgr.metrics.cloudwatch.aggregate import Rules, aggregate
from langchain_modelmgr.metrics.cloudwatch.cardinality import FOLDING, MAX_SERIES, Places
from langchain_modelmgr.metrics.series import (
    BUDGET_USED,
    EXTRAS,
    MAX_VALUES,
    Datum,
    dimension_value,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from langchain_modelmgr.budgets.gauges import BudgetGauges
    from langchain_modelmgr.ledger.ingest import WriterState

logger = logging.getLogger(__name__)

MAX_DATUMS = 1_000
"""Datums in one request (PutMetricData's limit)."""

MAX_REQUEST_BYTES = 900_000
"""Bytes in one request before compression: the limit is 1 MB, headers and names included."""

_ENVELOPE_BYTES = 1_000


class Batches:
    """Makes the batches of a ledger, from its own rows and those of other processes.

    Args:
        gauges: The budgets whose use is published beside the rows; None: none.
    """

    def __init__(self, gauges: BudgetGauges | None = None) -> None:
        self._gauges = gauges
        self._has_logged_folding = False

    def add(
        self,
        connection: sqlite3.Connection,
        destination: int,
        writers: list[WriterState],
        owner: str,
    ) -> None:
        """Store the batches of rows of one destination, and count their data points."""
        places = Places(
            connection.execute(
                "SELECT agent, model FROM places WHERE destination = ?", (destination,)
            ).fetchall()
        )
        given = {state.id: (rules_of(state.settings), state.groups) for state in writers}
        datums, folded = aggregate(given, places)
        datums += self._of_budgets(writers, owner)
        for request in requests_of(datums):
            outbox.put(
                connection,
                destination,
                owner,
                [list(datum) for datum in request],
                min(datum.minute for datum in request),
            )
        day = datetime.now(UTC).date().isoformat()
        connection.executemany(
            "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)",
            [(destination, agent, model, day) for agent, model in places.used],
        )
        points = outbox.points_of(list(datum) for datum in datums)
        outbox.count(connection, destination, "recorded", points)
        connection.executemany(
            "UPDATE writers SET folded = folded + ? WHERE id = ?",
            [(number, writer) for writer, number in folded.items()],
        )
        if folded and not self._has_logged_folding:
            self._has_logged_folding = True
            logger.warning(FOLDING, min(rules.max_series for rules, _ in given.values()))

    def _of_budgets(self, writers: Iterable[WriterState], owner: str) -> list[Datum]:
        """Return the use of each budget, if this process has new rows."""
        own = next((str(state.id) for state in writers if state.name == owner), None)
        if self._gauges is None or own is None:
            return []
        minute = int(time.time()) // 60 * 60
        return [
            Datum(
                BUDGET_USED, "Percent", (("Budget", dimension_value(name)),), minute,
                (round(percent, 3),), (1,), {own: 1},
            )
            for name, percent in self._gauges.used()
        ]  # fmt: skip


def rules_of(settings: Mapping[str, Any]) -> Rules:
    """Return a writer's settings as rules; values of another version are ignored."""
    extra, agents = settings.get("extra"), settings.get("agents")
    most = settings.get("max_series")
    return Rules.of(
        extra=[name for name in extra if name in EXTRAS] if isinstance(extra, list) else (),
        agents=[str(name) for name in agents] if isinstance(agents, list) else (),
        max_series=most if isinstance(most, int) and most > 0 else MAX_SERIES,
    )


def requests_of(datums: Iterable[Datum]) -> Iterator[Sequence[Datum]]:
    """Yield datums cut into requests, in their order."""
    request: list[Datum] = []
    room = MAX_REQUEST_BYTES - _ENVELOPE_BYTES
    values: Counter[tuple[str, str]] = Counter()
    for datum in datums:
        size, series = datum.size, datum.series
        fits = size <= room and values[series] + len(datum.values) <= MAX_VALUES
        if request and not (fits and len(request) < MAX_DATUMS):
            yield request
            request, room, values = [], MAX_REQUEST_BYTES - _ENVELOPE_BYTES, Counter()
        request.append(datum)
        room -= size
        values[series] += len(datum.values)
    if request:
        yield request
