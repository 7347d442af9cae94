"""Opens and upgrades the ledger's database file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.fork_safe_sqlite import connect
from langchain_modelmgr.ledger.schema import DDL, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "ledger.db"

BUSY_SECONDS = 5.0
"""Seconds that a transaction waits for one of another process."""


_TABLES = {"attempts", "totals", "writers", "segments", "batches"}
"""Tables that every version of the ledger has."""


class ForeignDatabaseError(sqlite3.DatabaseError):
    """The file is a database of another program."""


def open_store(folder: Path | None) -> sqlite3.Connection:
    """Open the database of a folder for writing; create missing folders and tables.

    Args:
        folder: The ledger's folder, made if it is missing; None: a database in memory.

    Returns:
        A connection without implicit transactions. It must not cross a fork.

    Raises:
        OSError: The folder or the file can't be written.
        ForeignDatabaseError: The file is another program's database; it is left as it is.
        sqlite3.Error: The file is not a database, or can't be written.
    """
    if folder is None:
        return _prepared(_connect(":memory:"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE_NAME
    # SQLite would create the file with the process's umask; its -wal and -shm take the file's mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _connect(str(path))
    try:
        _check_ours(connection)
        _choose_journal(connection)
        return _prepared(connection)
    except BaseException:
        connection.close()
        raise


def open_readonly(folder: Path) -> sqlite3.Connection:
    """Open the database of a folder read-only.

    Raises:
        sqlite3.OperationalError: The file is missing or can't be read.
    """
    uri = (folder / FILE_NAME).absolute().as_uri() + "?mode=ro"
    connection = connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def readonly_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a read-only copy of a database in memory."""
    copy = connect(":memory:", isolation_level=None, check_same_thread=False)
    copy.deserialize(connection.serialize())
    copy.execute("PRAGMA query_only = ON")
    return copy


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction: commit it, or roll it back on an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes in use, without free pages."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _connect(name: str) -> sqlite3.Connection:
    # The ledger's lock guards it: at exit another thread may use it.
    return connect(name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _check_ours(connection: sqlite3.Connection) -> None:
    # First the version, which is written with the tables: another process may write both now.
    version = _version(connection)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if (found or version) and not found >= _TABLES:
        raise ForeignDatabaseError(f"{FILE_NAME} is another program's database")


def _choose_journal(connection: sqlite3.Connection) -> None:
    """Use a write-ahead log, and a rollback journal where there can be none (network disks)."""
    mode = ""
    with suppress(sqlite3.OperationalError):
        if _version(connection) == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = DELETE")
    # A killed process loses nothing by this; only a machine that loses power may.
    connection.execute("PRAGMA synchronous = NORMAL")


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    if _version(connection) < VERSION:
        with transaction(connection):
            if _version(connection) < VERSION:  # another process may have been first
                for statement in DDL.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as found:
        return int(found.fetchone()[0])
