"""Database: a ledger's connection, opened for each use, or kept open for a database in memory."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.database_file import (
    FILE_NAME,
    open_readonly,
    open_store,
    readonly_copy,
    transaction,
)
from langchain_modelmgr.ledger.memory_to_folder import move
from langchain_modelmgr.ledger.schema import DATA_POINT_COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

_NEVER_CLOSED: list[sqlite3.Connection] = []
"""Connections of a parent process: SQLite forbids a child even to close them."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of data points of a ledger's own attempts, and of attempts that it adopted.

    Attributes:
        recorded: All of them, adopted ones included; the others are parts of it.
        sent: Taken by CloudWatch.
        dropped: Discarded.
        ambiguous: Sent without an answer.
        resent: Sent again without knowing whether the first time counted.
        folded: Attempts counted under ``other``.
        adopted: Data points of dead processes.
        oldest: The first minute of the waiting data points, in seconds since 1970; None: none wait.
    """

    recorded: int = 0
    sent: int = 0
    dropped: int = 0
    ambiguous: int = 0
    resent: int = 0
    folded: int = 0
    adopted: int = 0
    oldest: int | None = None

    @property
    def waiting(self) -> int:
        """Data points that are still to be sent."""
        return self.recorded - self.sent - self.dropped - self.ambiguous


class Database:
    """The database of a folder, or of this process. The caller holds the ledger's lock.

    Args:
        folder: The ledger's folder; None: memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = self._wanted_folder = folder
        self._connection: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """Return a connection for writing.

        Raises:
            OSError: The folder can't be used.
            sqlite3.Error: The file can't be used.
        """
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        if self.folder is None:
            return open_store(None)
        path = self.folder / FILE_NAME
        before = _file_of(path)
        try:
            return open_store(self.folder)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) not in _DAMAGED or _file_of(path) != before:
                raise
        # Another process may have been first: only the very file that can't be read is moved.
        aside = path.with_name(f"{FILE_NAME}.damaged-{time.time_ns()}")
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(OSError):
                path.with_name(FILE_NAME + suffix).rename(aside.with_name(aside.name + suffix))
        logger.warning("the ledger's database was damaged: it is kept as %s", aside.name)
        return open_store(self.folder)

    @property
    def missing_folder(self) -> Path | None:
        """The folder that can't be used while the database is in memory; else None."""
        return self._wanted_folder if self.folder is None else None

    def move_to(self, folder: Path, now: float) -> None:
        """Move the rows in memory into a folder, and use the folder from now on.

        Raises:
            OSError: The folder can't be used.
            sqlite3.Error: The file can't be used.
        """
        connection = self.open()
        move(connection, folder, now)
        connection.close()
        self.folder, self._connection = folder, None

    def release(self) -> None:
        """Close the file; a database in memory stays open."""
        if self.folder is not None and self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a read-only connection."""
        found = self.open()
        reader = readonly_copy(found) if self.folder is None else open_readonly(self.folder)
        self.release()
        with closing(reader):
            yield reader

    def abandon(self) -> None:
        """Forget the parent's connection in a forked child."""
        if self._connection is not None:
            _NEVER_CLOSED.append(self._connection)
        self._connection = None

    def counts(self, writers: Sequence[str]) -> Counts:
        """Count the data points of writers, and those that they adopted."""
        names = ", ".join("?" * len(writers))
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in (*DATA_POINT_COUNTS, "folded"))
        own = f"CASE WHEN name IN ({names}) THEN 0 ELSE recorded END"
        connection = self.open()
        row = connection.execute(
            f"SELECT {sums}, coalesce(sum({own}), 0) FROM writers "  # noqa: S608 - our own names
            f"WHERE name IN ({names}) OR adopted_by IN ({names})",
            tuple(writers) * 3,
        ).fetchone()
        (oldest,) = connection.execute("SELECT min(oldest) FROM batches").fetchone()
        recorded, sent, dropped, ambiguous, resent, folded, adopted = map(int, row)
        return Counts(recorded, sent, dropped, ambiguous, resent, folded, adopted, oldest)

    def note_end(self, writer: str, now: float) -> None:
        """Note that a writer has closed and that all of its lines were read."""
        connection = self.open()
        with transaction(connection):
            connection.execute("UPDATE writers SET ended = ? WHERE name = ?", (now, writer))
            connection.execute(
                "UPDATE segments SET gone = ? WHERE gone IS NULL AND writer = "
                "(SELECT id FROM writers WHERE name = ?)",
                (now, writer),
            )

    def seconds_since_others_ingest(self, writer: str, now: float) -> float:
        """Return how many seconds ago another process was the last to ingest.

        Returns infinity if this process was the last, or if there was no ingest yet.
        """
        found = dict(
            self.open().execute("SELECT name, value FROM settings WHERE name LIKE 'ingested%'")
        )
        if found.get("ingested_by") in {None, writer}:
            return float("inf")
        return now - float(found["ingested"])

    def note_ingest(self, writer: str, now: float) -> None:
        """Note that all segments were ingested."""
        self.open().execute(
            "INSERT OR REPLACE INTO settings VALUES ('ingested', ?), ('ingested_by', ?)",
            (now, writer),
        )


def _file_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
