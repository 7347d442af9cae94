"""Records attempts that belong together once: in one transaction with a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.attempt_rows import AttemptRow
from langchain_modelmgr.ledger.database_file import transaction
from langchain_modelmgr.ledger.ingest import store_rows
from langchain_modelmgr.ledger.quarter_hour_totals import TimeText

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from langchain_modelmgr.ledger.ingest import Batcher
    from langchain_modelmgr.ledger.segment import Writer
    from langchain_modelmgr.usage.record import ModelUsageMetrics

    _Kept = Callable[[Mapping[str, Any], Sequence[str]], tuple[str | None, str | None]]

_PREFIX = "once:"
"""The names of marks in the table ``settings`` begin so."""


def store_once(  # noqa: PLR0913, PLR0917 - the parts of a ledger
    connection: sqlite3.Connection,
    own: Writer,
    batcher: Batcher,
    now: float,
    mark: str,
    rows: Callable[[str], Iterator[AttemptRow]],
) -> bool:
    """Store rows and a mark in one transaction; return False if the mark is there.

    Args:
        connection: The database.
        own: The writer that they belong to; its segments were ingested.
        batcher: Makes the batches.
        now: Seconds since 1970.
        mark: Names these rows among all that the ledger ever has.
        rows: Returns the rows, given their environment.
    """
    name = f"{_PREFIX}{mark}"
    with transaction(connection):
        known = connection.execute("SELECT 1 FROM settings WHERE name = ?", (name,)).fetchone()
        if known is None:
            connection.execute("INSERT INTO settings VALUES (?, ?)", (name, now))
            store_rows(connection, own, batcher, now, rows)
    return known is None


def rows_of(
    attempts: Iterable[ModelUsageMetrics],
    writer: str,
    kept: _Kept,
    calls: Iterator[int],
    environment: str,
) -> Iterator[AttemptRow]:
    """Yield attempts as rows, each a call of its own.

    Args:
        attempts: Their records.
        writer: The writer that they belong to.
        kept: Returns the metadata and tags of a call that may be stored.
        calls: The numbers of the writer's calls.
        environment: Their environment.
    """
    time_of = TimeText().of
    for usage in attempts:
        metadata, tags = kept(usage.metadata, usage.tags)
        yield AttemptRow.of(usage)._replace(
            time=time_of(int(usage.timestamp.timestamp() * 1000)),
            environment=environment,
            call_id=f"{writer}-{next(calls)}",
            metadata=metadata,
            tags=tags,
        )
