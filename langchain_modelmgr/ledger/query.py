"""Queries of the ledger: usage by agent, model, day and more, and SQL of the user's own."""

from __future__ import annotations

import difflib
import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.errors import LedgerError
from langchain_modelmgr.ledger.schema import (
    LATENCY_BOUNDS_MS,
    LATENCY_COLUMNS,
    TOTALS_KEY,
    TOTALS_SUMS,
)
from langchain_modelmgr.ledger.time_range import time_range_of
from langchain_modelmgr.ledger.usage_table import UsageTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_modelmgr.ledger.ledger import Ledger
    from langchain_modelmgr.ledger.time_range import Moment, TimeRange

Period = Literal["day", "hour"]

PERIODS: tuple[Period, ...] = ("day", "hour")
"""Values of ``by`` that are not columns."""

_TOTALS_COLUMNS = tuple(name for name in TOTALS_KEY if name not in ("time", "metadata"))
_ATTEMPT_COLUMNS = ("error", "attempt", "call_id", "run_id", "request_id")
"""Columns of ``attempts`` that are not in ``totals``: kept for ``ledger_days``."""

_METADATA = "metadata."

_ATTEMPT_SUMS: dict[str, str] = {
    "attempts": "1",
    "calls": "attempt = 1",
    "unpriced": "outcome = 'answered' AND input_tokens IS NOT NULL AND cost_pico_usd IS NULL",
    "latency_ms": "latency_ms",
    **{
        column: f"latency_ms > {low} AND latency_ms <= {high}"
        for column, low, high in zip(
            LATENCY_COLUMNS[:-1], (-1, *LATENCY_BOUNDS_MS[:-1]), LATENCY_BOUNDS_MS, strict=True
        )
    },
    LATENCY_COLUMNS[-1]: f"latency_ms > {LATENCY_BOUNDS_MS[-1]}",
}
"""The sums of ``totals``, as expressions over a row of ``attempts``; others are columns there."""

_READABLE = frozenset({"attempts", "totals", "sqlite_master"})


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A query of usage, validated.

    Attributes:
        time_range: The time range.
        by: What to group by.
        where: Columns, and the values that they may have.
    """

    time_range: TimeRange
    by: tuple[str, ...]
    where: Mapping[str, tuple[Any, ...]]

    @property
    def is_of_totals(self) -> bool:
        """Whether ``totals`` is enough to answer it."""
        return self.time_range.is_whole_quarters and not any(
            name in _ATTEMPT_COLUMNS for name in (*self.by, *self.where)
        )


def query_of(
    time_range: TimeRange,
    by: str | Sequence[str],
    where: Mapping[str, Any] | None,
    *,
    ledger_days: int,
    now: datetime,
) -> UsageQuery:
    """Validate a query.

    Args:
        time_range: The time range.
        by: Columns, ``day`` or ``hour``, ``metadata.<key>``.
        where: A value, or a list of values, for each of some columns.
        ledger_days: Days that single attempts are kept.
        now: The current time.

    Raises:
        ValueError: A name is unknown, or the ledger no longer has the rows.
    """
    names = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    for name in names:
        _check_name(name, "by", (*_TOTALS_COLUMNS, *PERIODS, *_ATTEMPT_COLUMNS))
    given = {name: _values(value) for name, value in (where or {}).items()}
    for name in given:
        _check_name(name, "where", (*_TOTALS_COLUMNS, *_ATTEMPT_COLUMNS))
    query = UsageQuery(time_range, names, given)
    kept_since = now - timedelta(days=ledger_days)
    if not query.is_of_totals and time_range.since < kept_since:
        finer = [name for name in (*names, *given) if name in _ATTEMPT_COLUMNS]
        what = f"{', '.join(finer)} of" if finer else "parts of a quarter of an hour of"
        raise ValueError(
            f"{what} single attempts are kept for {ledger_days} days (ledger_days), since "
            f"{kept_since:%Y-%m-%d %H:%M} UTC: ask for a later since, or for what totals hold"
        )
    return query


def usage_table(connection: sqlite3.Connection, query: UsageQuery) -> UsageTable:
    """Run a query.

    Raises:
        sqlite3.Error: The ledger can't be read.
    """
    statement, values = _statement(query)
    return UsageTable.of(query.time_range, query.by, _rows(connection.execute(statement, values)))


def usage(  # noqa: PLR0913 - a query, keyword-only
    ledger: Ledger,
    *,
    since: Moment,
    until: Moment | None,
    by: str | Sequence[str],
    where: Mapping[str, Any] | None,
    timezone: str | None,
) -> UsageTable:
    """Run ``ModelManager.usage`` over everything recorded so far.

    Raises:
        ValueError: An argument is invalid, or the rows are no longer kept.
        LedgerError: The ledger can't be read.
    """
    now = datetime.now(UTC)
    time_range = time_range_of(since, until, timezone=timezone, now=now)
    wanted = {"environment": ledger.environment, **(where or {})}
    query = query_of(time_range, by, wanted, ledger_days=ledger.retention.days, now=now)
    with _reading(ledger) as connection:
        return usage_table(connection, query)


def usages_of(
    ledger: Ledger, since: Moment, queries: Sequence[Mapping[str, Any]]
) -> list[UsageTable]:
    """Run several queries over one state of the ledger, so that their figures agree.

    Args:
        ledger: The ledger.
        since: The time range, as ``usage`` takes it.
        queries: ``by`` and ``where`` of each, as ``usage`` takes them.

    Raises:
        ValueError: An argument is invalid, or the rows are no longer kept.
        LedgerError: The ledger can't be read.
    """
    now = datetime.now(UTC)
    time_range = time_range_of(since, None, timezone=None, now=now)
    found = []
    for query in queries:
        wanted = {"environment": ledger.environment, **query.get("where", {})}
        found.append(
            query_of(time_range, query["by"], wanted, ledger_days=ledger.retention.days, now=now)
        )
    with _reading(ledger) as connection:
        connection.execute("BEGIN")  # its first SELECT sets what all of them see
        return [usage_table(connection, query) for query in found]


def usage_sql(
    ledger: Ledger, statement: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run ``ModelManager.usage_sql`` over everything recorded so far.

    Raises:
        ValueError: SQLite refused the statement; the message says why.
        LedgerError: The ledger can't be read.
    """
    with _reading(ledger) as connection:
        return select(connection, statement, parameters)


def select(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run one SELECT over ``attempts`` and ``totals``.

    Raises:
        ValueError: SQLite refused it; the message says why.
    """
    connection.set_authorizer(_authorize)
    try:
        return _rows(connection.execute(statement, parameters))
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ValueError(
            f"{error}; the ledger's tables are attempts and totals, and queries only read"
        ) from error
    finally:
        connection.set_authorizer(None)


@contextmanager
def _reading(ledger: Ledger) -> Iterator[sqlite3.Connection]:
    try:
        with ledger.reading() as connection:
            yield connection
    except (OSError, sqlite3.Error) as error:
        where = "in memory" if ledger.folder is None else f"in {ledger.folder}"
        raise LedgerError(f"the ledger {where} can't be read: {error}") from error


def _rows(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor]


def _authorize(action: int, first: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_OK if first in _READABLE else sqlite3.SQLITE_DENY
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _check_name(name: str, argument: str, known: Sequence[str]) -> None:
    if name in known or (name.startswith(_METADATA) and len(name) > len(_METADATA)):
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f": did you mean {near[0]!r}?" if near else f": use one of {', '.join(known)}"
    raise ValueError(f"unknown column {name!r} in {argument}{hint}, or metadata.<key>")


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def _statement(query: UsageQuery) -> tuple[str, dict[str, Any]]:
    source = "totals" if query.is_of_totals else "attempts"
    period = next((period for period in PERIODS if period in query.by), None)
    values: dict[str, Any] = {
        "parts": json.dumps(list(_parts(query, period))),
        "since": _text(query.time_range.since),
        "until": _text(query.time_range.until),
    }
    keys = [f'{_column(name, source, values)} AS "{_quoted(name)}"' for name in query.by]
    sums = [f"TOTAL({expression}) AS {name}" if name == "latency_ms" else
            f"SUM({expression}) AS {name}" for name, expression in _sums(source)]  # fmt: skip
    conditions = [_condition(name, given, source, values) for name, given in query.where.items()]
    # The periods are the outer loop: each reads its own range of the index on time.
    statement = (
        f"SELECT {', '.join([*keys, *sums])} "  # noqa: S608 - our own names and parameters
        f"FROM json_each(:parts) AS part CROSS JOIN {source} "
        f"ON {source}.time >= json_extract(part.value, '$[1]') "
        f"AND {source}.time < json_extract(part.value, '$[2]')"
    )
    if conditions:
        statement += f" WHERE {' AND '.join(conditions)}"
    if keys:
        numbers = ", ".join(str(i + 1) for i in range(len(keys)))
        statement += f" GROUP BY {numbers} ORDER BY {numbers}"
    return statement, values


def _parts(query: UsageQuery, period: Period | None) -> Iterator[list[str]]:
    if period is not None:
        for name, start, end in query.time_range.parts(period):
            yield [name, _text(start), _text(end)]
    else:
        yield ["", _text(query.time_range.since), _text(query.time_range.until)]


def _sums(source: str) -> Iterator[tuple[str, str]]:
    for name in TOTALS_SUMS:
        yield name, name if source == "totals" else _ATTEMPT_SUMS.get(name, name)


def _column(name: str, source: str, values: dict[str, Any]) -> str:
    if name in PERIODS:
        return "json_extract(part.value, '$[0]')"
    if name.startswith(_METADATA):
        key = f"key{len(values)}"
        values[key] = name.removeprefix(_METADATA)
        # Not json_extract: its paths take no key with a quote in it (SQLite 3.40).
        return f"(SELECT value FROM json_each(metadata) WHERE key = :{key})"  # noqa: S608 - a parameter
    if name == "service_tier" and source == "totals":
        return "NULLIF(service_tier, '')"
    return name


def _condition(name: str, given: tuple[Any, ...], source: str, values: dict[str, Any]) -> str:
    column = _column(name, source, values)
    found = []
    for value in given:
        key = f"value{len(values)}"
        values[key] = value
        found.append(f"{column} IS :{key}")
    return f"({' OR '.join(found) or 'FALSE'})"


def _quoted(name: str) -> str:
    return name.replace('"', '""')


def _text(moment: datetime) -> str:
    """Format a time as the ledger stores it: it sorts as text."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
