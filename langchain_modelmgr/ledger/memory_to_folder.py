"""Moves the rows of a ledger in memory into a folder that has become usable."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.database_file import FILE_NAME, open_store, transaction
from langchain_modelmgr.ledger.outbox import with_writers
from langchain_modelmgr.ledger.schema import (
    ATTEMPT_COLUMNS,
    DATA_POINT_COUNTS,
    TOTALS_KEY,
    TOTALS_SUMS,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

_PLACE = ("namespace", "region", "endpoint", "identity")
_NEW_PLACE = (
    "(SELECT n.id FROM disk.destinations n JOIN main.destinations o "
    "USING (namespace, region, endpoint, identity) WHERE o.id = destination)"
)


def move(memory: sqlite3.Connection, folder: Path, now: float) -> None:
    """Move all rows of a database in memory into a folder. Its writers must have ended.

    Args:
        memory: The database.
        folder: The folder.
        now: Seconds since 1970.

    Raises:
        OSError: The folder can't be used.
        sqlite3.Error: The database can't be used; nothing was moved.
    """
    with closing(open_store(folder)):
        memory.execute("ATTACH ? AS disk", (str(folder / FILE_NAME),))
    try:
        with transaction(memory):
            _move(memory, now)
    finally:
        memory.execute("DETACH disk")


def _move(memory: sqlite3.Connection, now: float) -> None:
    _add(memory, "attempts", ATTEMPT_COLUMNS)
    _add(memory, "totals", TOTALS_KEY, TOTALS_SUMS)
    _add(memory, "metadata_values", ("key", "value"), ())
    _add(memory, "destinations", _PLACE, DATA_POINT_COUNTS)
    memory.execute(
        "INSERT OR IGNORE INTO disk.places (destination, agent, model, day) "  # noqa: S608 - our own names
        f"SELECT {_NEW_PLACE}, agent, model, day FROM main.places"
    )
    writers = f"name, environment, settings, folded, {', '.join(DATA_POINT_COUNTS)}"
    memory.execute(
        f"INSERT INTO disk.writers ({writers}, destination, ended) "  # noqa: S608 - our own names
        f"SELECT {writers}, {_NEW_PLACE}, ? FROM main.writers",
        (now,),
    )
    numbers = dict(
        memory.execute("SELECT o.id, n.id FROM main.writers o JOIN disk.writers n USING (name)")
    )
    batches = memory.execute(
        f"SELECT {_NEW_PLACE}, owner, sender, oldest, data_points, body FROM main.batches"  # noqa: S608 - our own names
    ).fetchall()
    memory.executemany(
        "INSERT INTO disk.batches (destination, owner, sender, oldest, data_points, body) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [(*batch, with_writers(body, numbers)) for *batch, body in batches],
    )


def _add(
    memory: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    sums: Sequence[str] | None = None,
) -> None:
    """Copy a table; ``sums`` are added to rows that have the same other columns."""
    conflict = ""
    if sums is not None:
        added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
        conflict = f"WHERE 1 ON CONFLICT ({', '.join(columns)}) DO " + (
            f"UPDATE SET {added}" if sums else "NOTHING"
        )
    names = ", ".join((*columns, *(sums or ())))
    memory.execute(
        f"INSERT INTO disk.{table} ({names}) SELECT {names} FROM main.{table} {conflict}"  # noqa: S608 - our own names
    )
