"""The tables of budgets in SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets.steps import Counter, Part, Place
from langchain_modelmgr.budgets.store import KEPT_MS, TASK_KEPT_MS, TASK_PREFIX
from langchain_modelmgr.ledger.fork_safe_sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE_NAME = "budgets.db"

BUSY_SECONDS = 1.0
"""Seconds that one try to begin a transaction waits for another process."""

_PRUNE_MS = 3_600_000
"""Milliseconds between two searches for rows that are no longer kept."""

_FOREVER = 2**62

_DDL = """
CREATE TABLE IF NOT EXISTS counters (
    budget TEXT NOT NULL, key TEXT NOT NULL, start INTEGER NOT NULL,
    spent INTEGER NOT NULL, held INTEGER NOT NULL, uncertain INTEGER NOT NULL,
    resets INTEGER NOT NULL, kept_until INTEGER NOT NULL,
    PRIMARY KEY (budget, start, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charged (id TEXT PRIMARY KEY, parts TEXT NOT NULL) WITHOUT ROWID;
"""

_COUNTER = (
    "SELECT spent, held, uncertain, resets FROM counters WHERE budget = ? AND start = ? AND key = ?"
)
_CHANGE = (
    "UPDATE counters SET spent = spent + ?, held = held + ?, uncertain = uncertain + ? "
    "WHERE budget = ? AND start = ? AND key = ?"
)
_HOLD = (
    "INSERT INTO counters VALUES (?, ?, ?, 0, ?, 0, 0, ?) ON CONFLICT DO UPDATE "
    "SET held = held + excluded.held, kept_until = excluded.kept_until"
)
_EXPIRED = "SELECT id, parts FROM held WHERE id < ?"
_DROP = "DELETE FROM held WHERE id = ?"
_TAKE = "DELETE FROM held WHERE id = ? RETURNING parts"
_TAKE_CHARGED = "DELETE FROM charged WHERE id = ? RETURNING parts"


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file of a store for writing; create missing folders and tables.

    The caller is in the gate that forks wait for.

    Raises:
        OSError: The folder or the file can't be written.
        sqlite3.Error: The file is not a database, or can't be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite would create the file with the process's umask; its -wal and -shm take the file's mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = connect(
        str(path), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # A transaction changes a few rows: small pages make less to write.
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing. After a power failure the last commits may be missing.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_DDL)
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteTables:
    """The tables over one connection, within a transaction of its caller.

    Args:
        connection: The connection.
        held: Gets the parts of the reservations that are made, so that they need not be read.
    """

    def __init__(self, connection: sqlite3.Connection, held: dict[str, Sequence[Part]]) -> None:
        self._held = held
        # A plain cursor: its caller has entered the gate, once for the whole transaction.
        self._cursor = sqlite3.Cursor(connection)
        self._pruned = 0

    def begin(self) -> None:
        """Begin a transaction that may write."""
        self._cursor.execute("BEGIN IMMEDIATE")

    def execute(self, statement: str) -> None:
        """Run a statement, such as ``COMMIT``."""
        self._cursor.execute(statement)

    def counter(self, place: Place) -> tuple[int, int, int, int] | None:
        """Return the fields of a ``Counter``; None: there is none."""
        budget, key, start = place
        row: tuple[int, int, int, int] | None
        row = self._cursor.execute(_COUNTER, (budget, start, key)).fetchone()
        return row

    def change(self, place: Place, spent: int, held: int, uncertain: int) -> None:
        """Add to a counter, if it exists."""
        budget, key, start = place
        self._cursor.execute(_CHANGE, (spent, held, uncertain, budget, start, key))

    def hold(self, place: Place, end: int | None, amount: int, now: int) -> None:
        """Add to a counter's ``held``; create the counter if it is missing."""
        budget, key, start = place
        if end is not None:
            kept = end + KEPT_MS
        else:
            kept = now + TASK_KEPT_MS if budget.startswith(TASK_PREFIX) else _FOREVER
        self._cursor.execute(_HOLD, (budget, key, start, amount, kept))

    def keep(self, reservation: str, expires: int, parts: Sequence[Part]) -> None:  # noqa: ARG002
        """Store a reservation that is held; its id begins with its expiry."""
        self._cursor.execute("INSERT INTO held VALUES (?, ?)", (reservation, _text(parts)))
        self._held[reservation] = parts

    def charge(self, reservation: str, parts: Sequence[Part]) -> None:
        """Store that a reservation was charged as reserved."""
        self._cursor.execute("DELETE FROM held WHERE id = ?", (reservation,))
        self._cursor.execute(
            "INSERT OR REPLACE INTO charged VALUES (?, ?)", (reservation, _text(parts))
        )

    def drop(self, reservation: str) -> bool:
        """Remove a reservation that is held; return whether there was one."""
        return self._cursor.execute(_DROP, (reservation,)).rowcount == 1

    def take(self, reservation: str) -> tuple[Part, ...] | None:
        """Remove a reservation and return its parts; None: there is none."""
        for statement in (_TAKE, _TAKE_CHARGED):
            if row := self._cursor.execute(statement, (reservation,)).fetchall():
                return _parts(row[0][0])
        return None

    def expired(self, now: int) -> Iterator[tuple[str, tuple[Part, ...]]]:
        """Return the held reservations that expire until ``now``."""
        for reservation, parts in self._cursor.execute(_EXPIRED, (_expiry(now + 1),)).fetchall():
            yield reservation, _parts(parts)

    def reset(self, budget: str, key: str | None) -> None:
        """Set ``spent`` and ``uncertain`` to 0, and count the reset."""
        self._cursor.execute(
            "UPDATE counters SET spent = 0, uncertain = 0, resets = resets + 1 "
            "WHERE budget = ? AND key = ifnull(?, key)",
            (budget, key),
        )

    def in_window(self, budget: str, start: int, key: str | None) -> list[tuple[str, Counter]]:
        """Return the counters of a budget's window, by key."""
        rows = self._cursor.execute(
            "SELECT key, spent, held, uncertain, resets FROM counters "
            "WHERE budget = ? AND start = ? AND key = ifnull(?, key) ORDER BY key",
            (budget, start, key),
        ).fetchall()
        return [(name, Counter._make(counter)) for name, *counter in rows]

    def prune(self, now: int) -> None:
        """Delete what is no longer kept; look for it once an hour."""
        if abs(now - self._pruned) < _PRUNE_MS:
            return
        self._pruned = now
        self._cursor.execute("DELETE FROM counters WHERE kept_until <= ? AND held = 0", (now,))
        self._cursor.execute("DELETE FROM charged WHERE id < ?", (_expiry(now - KEPT_MS),))


def _expiry(ms: int) -> str:
    """Return the beginning of the ids that expire at a time."""
    return f"{max(0, ms):014}"


def _text(parts: Sequence[Part]) -> str:
    # JSON, as json.dumps() writes it, in a third of its time.
    rows = [
        f"[{_quoted(budget)}, {_quoted(key)}, {start}, {amount}, {resets}]"
        for (budget, key, start), amount, resets in parts
    ]
    return f"[{', '.join(rows)}]"


def _parts(text: str) -> tuple[Part, ...]:
    return tuple(
        Part(Place(budget, key, start), amount, resets)
        for budget, key, start, amount, resets in json.loads(text)
    )
