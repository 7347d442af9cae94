"""Deletes old attempts and totals, and keeps the database below its size limit."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.database_file import transaction, used_bytes

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger(__name__)

DAYS = 35
"""Default days that attempts are kept."""

MAX_MB = 1_024
"""Default size of the database in a folder, at most, in millions of bytes."""

MEMORY_MB = 64
"""Size of a database in memory, at most, in millions of bytes."""

TOTALS_DAYS = 396
"""Thirteen months."""

PUBLISHABLE_SECONDS = 14 * 24 * 3600 - 3600
"""CloudWatch refuses what is older than two weeks; an hour is left for clock differences."""

_OFFSET_SECONDS = 24 * 3600
"""How long a segment's offset outlives its file: a process may still have it open."""

_ROWS = 10_000
"""Rows that one transaction deletes."""

_EVERY_SECONDS = 3600


class Retention:
    """Keeps a ledger within its age and its size.

    Args:
        days: How long attempts are kept.
        max_mb: Largest size of the database in a folder, in millions of bytes.
    """

    def __init__(self, days: int, max_mb: int) -> None:
        self.days = days
        self._max_mb = max_mb
        self._has_logged = False

    def reset_after_fork(self) -> None:
        """Log again in a forked child."""
        self._has_logged = False

    def apply(self, connection: sqlite3.Connection, now: float, *, in_memory: bool) -> None:
        """Delete rows that are too old, and the oldest while the database is too large.

        Args:
            connection: The database.
            now: Seconds since 1970.
            in_memory: True if it is in memory, which allows it less.

        Raises:
            sqlite3.Error: The database can't be written.
        """
        megabytes = MEMORY_MB if in_memory else self._max_mb
        given_up = _keep_within(connection, now, self.days, megabytes * 1_000_000)
        if given_up and not self._has_logged:
            self._has_logged = True
            logger.warning(
                "%d data points were given up unpublished, for age or for lack of room", given_up
            )


def _keep_within(connection: sqlite3.Connection, now: float, days: int, max_bytes: int) -> int:
    """Delete what is too old or too much; return how many data points were unpublished."""
    given_up = _expire_batches(connection, now)
    row = connection.execute("SELECT value FROM settings WHERE name = 'tidied'").fetchone()
    if row is None or abs(now - row[0]) >= _EVERY_SECONDS:
        _delete_old(connection, now, days)
    while used_bytes(connection) > max_bytes:
        with transaction(connection):
            if _delete_oldest_attempts(connection):
                continue
            found = _drop_batches(
                connection,
                "id IN (SELECT id FROM batches WHERE sender IS NULL ORDER BY id LIMIT 1)",
            )
        if not found:
            break
        given_up += found
    return given_up


def _expire_batches(connection: sqlite3.Connection, now: float) -> int:
    oldest = int(now - PUBLISHABLE_SECONDS)
    where = f"sender IS NULL AND oldest < {oldest}"
    if connection.execute(f"SELECT 1 FROM batches WHERE {where} LIMIT 1").fetchone() is None:  # noqa: S608 - a number
        return 0
    with transaction(connection):
        return _drop_batches(connection, where)


def _drop_batches(connection: sqlite3.Connection, where: str) -> int:
    from langchain_modelmgr.ledger.outbox import drop

    rows = connection.execute(
        f"SELECT id, destination, body FROM batches WHERE {where}"  # noqa: S608 - our own words
    ).fetchall()
    return sum(drop(connection, *row) for row in rows)


def _delete_old(connection: sqlite3.Connection, now: float, days: int) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    oldest, oldest_total = (
        (moment - timedelta(days=age)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for age in (days, TOTALS_DAYS)
    )
    while True:
        with transaction(connection):
            deleted = connection.execute(
                "DELETE FROM attempts WHERE id IN "
                "(SELECT id FROM attempts WHERE time < ? ORDER BY time LIMIT ?)",
                (oldest, _ROWS),
            ).rowcount
        if deleted < _ROWS:
            break
    with transaction(connection):
        connection.execute("DELETE FROM totals WHERE time < ?", (oldest_total,))
        connection.execute("DELETE FROM segments WHERE gone < ?", (now - _OFFSET_SECONDS,))
        connection.execute(
            "DELETE FROM writers WHERE ended < ? AND id NOT IN (SELECT writer FROM segments)",
            (now - PUBLISHABLE_SECONDS,),
        )
        yesterday = (moment - timedelta(days=1)).date().isoformat()
        connection.execute("DELETE FROM places WHERE day < ?", (yesterday,))
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('tidied', ?)", (now,))
    connection.execute("PRAGMA incremental_vacuum")


def _delete_oldest_attempts(connection: sqlite3.Connection) -> int:
    return connection.execute(
        "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY time LIMIT ?)",
        (_ROWS,),
    ).rowcount
