"""Adds rows up by quarter of an hour, so that long time ranges are fast to query."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.attempt_rows import MINUTE_TEXT
from langchain_modelmgr.ledger.schema import (
    ATTEMPT_COLUMNS,
    COST_COLUMNS,
    LATENCY_BOUNDS_MS,
    LATENCY_COLUMNS,
    QUARTER_SECONDS,
    TOKEN_COLUMNS,
    TOTALS_KEY,
    TOTALS_SUMS,
)
from langchain_modelmgr.usage.record import OTHER

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from langchain_modelmgr.ledger.attempt_rows import Group

logger = logging.getLogger(__name__)

MAX_VALUES = 1_000
"""Distinct values of a metadata key in ``totals``; further ones are added up as ``other``."""

_ADDED_UP = tuple(map(ATTEMPT_COLUMNS.index, (*TOKEN_COLUMNS, *COST_COLUMNS)))
"""Columns of ``attempts`` that ``totals`` adds up as they are."""

_ATTEMPTS, _CALLS, _TOKENS, _UNPRICED, _LATENCY, _BUCKETS = map(
    TOTALS_SUMS.index,
    ("attempts", "calls", TOKEN_COLUMNS[0], "unpriced", "latency_ms", LATENCY_COLUMNS[0]),
)
_UPSERT = (
    f"INSERT INTO totals ({', '.join(TOTALS_KEY + TOTALS_SUMS)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(TOTALS_KEY + TOTALS_SUMS))}) "
    f"ON CONFLICT ({', '.join(TOTALS_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in TOTALS_SUMS)
)


class TimeText(dict[int, str]):
    """Formats times as ``2026-11-26T07:03:31.250Z``; caches the text of each second."""

    def of(self, milliseconds: int) -> str:
        """Return a time in milliseconds since 1970 as text."""
        second, rest = divmod(milliseconds, 1000)
        return f"{self[second]}.{rest:03}Z"

    def __missing__(self, second: int) -> str:
        """Format a second."""
        text = self[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return text


class Sums:
    """The sums that the rows of one transaction add to ``totals``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sums: dict[tuple[object, ...], list[float]] = {}
        self._metadata: dict[str | None, str] = {None: "{}"}
        self._quarters: dict[str, str] = {}

    def add(self, groups: Iterable[Group]) -> None:
        """Add rows."""
        for group in groups:
            row, columns = group.first, group.columns
            minute = row.time[:MINUTE_TEXT]
            key = (
                self._quarters.get(minute) or self._quarter(minute), row.environment, row.agent,
                row.model, row.outcome, row.is_fallback, row.service_tier or "",
                self._metadata.get(row.metadata) or self._bounded(row.metadata or "{}"),
            )  # fmt: skip
            sums = self._sums.get(key)
            if sums is None:
                sums = self._sums[key] = [0] * len(TOTALS_SUMS)
            sums[_ATTEMPTS] += group.size
            sums[_CALLS] += columns.attempt.count(1)
            for at, column in enumerate(_ADDED_UP, _TOKENS):
                sums[at] += sum(filter(None, columns[column]))
            sums[_UNPRICED] += group.unpriced
            latencies = [latency for latency in columns.latency_ms if latency is not None]
            sums[_LATENCY] += sum(latencies)
            for bucket in map(bisect_left, repeat(LATENCY_BOUNDS_MS), latencies):
                sums[_BUCKETS + bucket] += 1

    def store(self) -> None:
        """Write the sums."""
        self._connection.executemany(_UPSERT, [(*key, *sums) for key, sums in self._sums.items()])

    def _quarter(self, minute: str) -> str:
        start = int(minute[14:16]) * 60 // QUARTER_SECONDS * QUARTER_SECONDS // 60
        quarter = self._quarters[minute] = f"{minute[:14]}{start:02}:00.000Z"
        return quarter

    def _bounded(self, metadata: str) -> str:
        """Return metadata in which values beyond ``MAX_VALUES`` are ``other``."""
        kept = {key: self._admitted(key, value) for key, value in _pairs(metadata)}
        text = self._metadata[metadata] = json.dumps(kept, sort_keys=True)
        return text

    def _admitted(self, key: str, value: str) -> str:
        connection = self._connection
        found = connection.execute(
            "SELECT 1 FROM metadata_values WHERE (key, value) = (?, ?)", (key, value)
        ).fetchone()
        if found:
            return value
        (count,) = connection.execute(
            "SELECT count(*) FROM metadata_values WHERE key = ?", (key,)
        ).fetchone()
        if count >= MAX_VALUES:
            self._log_folding(key)
            return OTHER
        connection.execute("INSERT INTO metadata_values VALUES (?, ?)", (key, value))
        return value

    def _log_folding(self, key: str) -> None:
        """Log, once in the life of a ledger, that a key has too many values."""
        is_first = self._connection.execute(
            "INSERT INTO settings VALUES (?, 1) ON CONFLICT DO NOTHING", (f"folded {key}",)
        )
        if is_first.rowcount:
            logger.warning(
                "the metadata %r has more than %d values: the ledger adds further ones up as %r; "
                "single attempts keep theirs",
                key,
                MAX_VALUES,
                OTHER,
            )


def _pairs(metadata: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(metadata)
    except ValueError:
        return []
    if not isinstance(found, dict):
        return []
    # A JSON escape may be half a surrogate pair, which SQLite refuses.
    return [
        (key.encode("utf-8", "replace").decode(), str(value).encode("utf-8", "replace").decode())
        for key, value in found.items()
    ]
