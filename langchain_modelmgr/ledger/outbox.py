"""Batches of data points that wait to be sent: stored, marked as being sent, settled, counted once.

A batch is a list of datums. Only the last item of a datum matters here: the number of data points
of each writer, ``{"3": 120}``.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.ledger.database_file import transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Batch(NamedTuple):
    """A batch that is being sent.

    Attributes:
        id: The batch's id.
        destination: The id of its destination.
        datums: Its datums, each a list.
    """

    id: int
    destination: int
    datums: list[list[Any]]


def put(
    connection: sqlite3.Connection,
    destination: int,
    owner: str,
    datums: Sequence[list[Any]],
    oldest: int,
) -> None:
    """Store a batch. The caller has a transaction."""
    connection.execute(
        "INSERT INTO batches (destination, owner, oldest, data_points, body) "
        "VALUES (?, ?, ?, ?, ?)",
        (destination, owner, oldest, sum(points_of(datums).values()), _packed(datums)),
    )


def count(connection: sqlite3.Connection, destination: int, what: str, points: Counter[int]) -> int:
    """Count data points as ``recorded``, ``sent``, ``dropped``, ...; return how many.

    The caller has a transaction.
    """
    connection.executemany(
        f"UPDATE writers SET {what} = {what} + ? WHERE id = ?",  # noqa: S608 - our own names
        [(number, writer) for writer, number in points.items()],
    )
    total = points.total()
    connection.execute(
        f"UPDATE destinations SET {what} = {what} + ? WHERE id = ?",  # noqa: S608 - our own names
        (total, destination),
    )
    return total


def drop(connection: sqlite3.Connection, number: int, destination: int, body: bytes) -> int:
    """Discard a batch; return the number of its data points. The caller has a transaction."""
    connection.execute("DELETE FROM batches WHERE id = ?", (number,))
    return count(connection, destination, "dropped", points_of(unpacked(body)))


def take(
    connection: sqlite3.Connection, destinations: Sequence[int], own: Sequence[str]
) -> Batch | None:
    """Mark the next batch as being sent, own batches first; None if none waits.

    Args:
        connection: The database.
        destinations: Ids of the destinations that may be sent to.
        own: The writers of this process, the current one last.
    """
    if not destinations or not has_waiting(connection, destinations):
        return None
    places, sender = ", ".join(map(str, destinations)), own[-1]
    with transaction(connection):
        row = connection.execute(
            "UPDATE batches SET sender = ? WHERE id = (SELECT id FROM batches WHERE "  # noqa: S608 - numbers
            f"sender IS NULL AND destination IN ({places}) ORDER BY owner <> ?, id LIMIT 1) "
            "RETURNING id, destination, body",
            (sender, sender),
        ).fetchone()
        if row is None:
            return None
        batch = Batch(row[0], row[1], unpacked(row[2]))
        for writer in points_of(batch.datums):
            adopt(connection, writer, own)
        return batch


def adopt(connection: sqlite3.Connection, writer: int, own: Sequence[str]) -> None:
    """Count the data points of another writer, which has ended, as this process's from now on.

    The caller has a transaction.

    Args:
        connection: The database.
        writer: The other writer.
        own: The writers of this process, the current one last.
    """
    others = f"name NOT IN ({', '.join('?' * len(own))})"
    connection.execute(
        "UPDATE writers SET adopted_by = ?, "  # noqa: S608 - question marks
        "recorded = recorded - sent - dropped - ambiguous, sent = 0, dropped = 0, ambiguous = 0 "
        f"WHERE id = ? AND ended IS NOT NULL AND adopted_by IS NULL AND {others}",
        (own[-1], writer, *own),
    )


def has_waiting(connection: sqlite3.Connection, destinations: Sequence[int]) -> bool:
    """Return whether a batch waits."""
    places = ", ".join(map(str, destinations))
    found = connection.execute(
        f"SELECT 1 FROM batches WHERE sender IS NULL AND destination IN ({places}) LIMIT 1"  # noqa: S608 - numbers
    ).fetchone()
    return found is not None


def settle(
    connection: sqlite3.Connection,
    batch: Batch,
    *,
    rest: Sequence[list[Any]] = (),
    still_sending: bool = False,
    **settled: Iterable[list[Any]],
) -> None:
    """Count datums of a batch as sent, dropped, ..., and keep the rest.

    Args:
        connection: The database.
        batch: The batch.
        rest: Datums that are not settled. They wait again.
        still_sending: True if the rest is sent next, without waiting.
        **settled: Datums by what they are counted as: ``sent``, ``dropped``, ...
    """
    with transaction(connection):
        # Another process may have learned the account meanwhile, and merged destinations.
        found = connection.execute(
            "SELECT destination FROM batches WHERE id = ?", (batch.id,)
        ).fetchone()
        destination = batch.destination if found is None else int(found[0])
        for what, datums in settled.items():
            count(connection, destination, what, points_of(datums))
        if not rest:
            connection.execute("DELETE FROM batches WHERE id = ?", (batch.id,))
            return
        sender = "sender" if still_sending else "NULL"
        connection.execute(
            f"UPDATE batches SET sender = {sender}, data_points = ?, body = ? WHERE id = ?",  # noqa: S608 - two words
            (sum(points_of(rest).values()), _packed(rest), batch.id),
        )


def release_of_the_dead(
    connection: sqlite3.Connection, is_alive: Callable[[str], bool], *, resend: bool
) -> int:
    """Settle batches whose sender died: they may have arrived. Return the number of data points.

    Args:
        connection: The database.
        is_alive: Returns whether the process of a sender is alive.
        resend: True: send them again, perhaps twice. False: discard and count them.
    """
    senders = connection.execute(
        "SELECT DISTINCT sender FROM batches WHERE sender IS NOT NULL"
    ).fetchall()
    found = 0
    for (sender,) in senders:
        if is_alive(sender):
            continue
        rows = connection.execute(
            "SELECT id, destination, body FROM batches WHERE sender = ?", (sender,)
        ).fetchall()
        for number, destination, body in rows:
            batch = Batch(number, destination, unpacked(body))
            found += points_of(batch.datums).total()
            if resend:
                settle(connection, batch, rest=batch.datums, resent=batch.datums)
            else:
                settle(connection, batch, ambiguous=batch.datums)
    return found


def points_of(datums: Iterable[list[Any]]) -> Counter[int]:
    """Return the data points of datums by writer."""
    points: Counter[int] = Counter()
    for datum in datums:
        for writer, number in datum[-1].items():
            points[int(writer)] += number
    return points


def unpacked(body: bytes) -> list[list[Any]]:
    """Return the datums of a batch's body."""
    found: list[list[Any]] = json.loads(zlib.decompress(body))
    return found


def with_writers(body: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return a batch's body with other numbers for its writers."""
    datums = unpacked(body)
    for datum in datums:
        datum[-1] = {str(numbers[int(writer)]): points for writer, points in datum[-1].items()}
    return _packed(datums)


def _packed(datums: Sequence[list[Any]]) -> bytes:
    return zlib.compress(json.dumps(datums, separators=(",", ":")).encode(), 1)
