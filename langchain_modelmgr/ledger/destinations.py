"""Destinations in the database: a namespace, region and endpoint of one account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.schema import DATA_POINT_COUNTS

if TYPE_CHECKING:
    import sqlite3


def destination_of(
    connection: sqlite3.Connection, namespace: str, region: str, endpoint: str, identity: str
) -> int:
    """Return the id of a destination; add it if it is new."""
    key = (namespace, region, endpoint, identity)
    connection.execute(
        "INSERT INTO destinations (namespace, region, endpoint, identity) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        key,
    )
    found = connection.execute(
        "SELECT id FROM destinations WHERE (namespace, region, endpoint, identity) = (?, ?, ?, ?)",
        key,
    ).fetchone()
    return int(found[0])


def identify(connection: sqlite3.Connection, destination: int, identity: str) -> int:
    """Store a destination's account; merge equal destinations, and return the id that stays."""
    namespace, region, endpoint, before = connection.execute(
        "SELECT namespace, region, endpoint, identity FROM destinations WHERE id = ?",
        (destination,),
    ).fetchone()
    if before == identity:
        return destination
    same = destination_of(connection, namespace, region, endpoint, identity)
    for table in ("batches", "writers"):
        connection.execute(
            f"UPDATE {table} SET destination = ? WHERE destination = ?",  # noqa: S608 - our own names
            (same, destination),
        )
    for name in DATA_POINT_COUNTS:
        connection.execute(
            f"UPDATE destinations SET {name} = {name} + "  # noqa: S608 - our own names
            f"(SELECT {name} FROM destinations WHERE id = ?) WHERE id = ?",
            (destination, same),
        )
    connection.execute("DELETE FROM destinations WHERE id = ?", (destination,))
    connection.execute("DELETE FROM places WHERE destination = ?", (destination,))
    return same


def reachable(
    connection: sqlite3.Connection,
    namespace: str,
    region: str,
    endpoint: str,
    identities: frozenset[str],
) -> list[int]:
    """Return the ids of the destinations that belong to one of these identities."""
    return [
        number
        for number, identity in connection.execute(
            "SELECT id, identity FROM destinations WHERE (namespace, region, endpoint) = (?, ?, ?)",
            (namespace, region, endpoint),
        )
        if identity in identities
    ]


def identities_waiting(
    connection: sqlite3.Connection, namespace: str, region: str, endpoint: str
) -> set[str]:
    """Return the identities of the accounts that batches of one endpoint wait for."""
    rows = connection.execute(
        "SELECT identity FROM destinations WHERE (namespace, region, endpoint) = (?, ?, ?) "
        "AND id IN (SELECT destination FROM batches WHERE sender IS NULL)",
        (namespace, region, endpoint),
    )
    return {identity for (identity,) in rows}
