"""Adds rows up by quarters of an hour, for spans that are longer than a query should read."""

from __future__ import annotations

import json
from bisect import bisect_left
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.schema import (
    LATENCY_BOUNDS_MS,
    LATENCY_COLUMNS,
    QUARTER_SECONDS,
    TOTALS_KEY,
    TOTALS_SUMS,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from langchain_modelmgr.ledger.rows import AttemptRow

MAX_VALUES = 1_000
"""Values of a metadata key that totals tell apart; further ones are added up as ``other``."""

OTHER = "other"

_FIXED = len(TOTALS_SUMS) - len(LATENCY_COLUMNS)
_UPSERT = (
    f"INSERT INTO totals ({', '.join(TOTALS_KEY + TOTALS_SUMS)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(TOTALS_KEY + TOTALS_SUMS))}) "
    f"ON CONFLICT ({', '.join(TOTALS_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in TOTALS_SUMS)
)


class TimeText:
    """Writes times as ``2026-11-26T07:03:31.250Z``; those of one second are written once."""

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def of(self, milliseconds: int) -> str:
        """Return a time in milliseconds since 1970 as text."""
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{rest:03}Z"


class Sums:
    """What the rows of one transaction add to ``totals``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sums: dict[tuple[object, ...], list[float]] = {}
        self._metadata: dict[str | None, str] = {None: "{}"}
        self._quarters: dict[str, str] = {}

    def add(self, rows: Iterable[AttemptRow]) -> None:
        """Add rows."""
        for row in rows:
            minute = row.time[:16]
            key = (
                self._quarters.get(minute) or self._quarter(minute), row.environment, row.agent,
                row.model, row.outcome, row.is_fallback, row.service_tier or "",
                self._metadata.get(row.metadata) or self._bounded(row.metadata or "{}"),
            )  # fmt: skip
            sums = self._sums.get(key)
            if sums is None:
                sums = self._sums[key] = [0] * len(TOTALS_SUMS)
            sums[0] += 1
            sums[1] += row.attempt == 1
            if row.input_tokens is not None:
                sums[2] += row.input_tokens
                sums[3] += row.output_tokens or 0
                sums[4] += row.cache_read_tokens or 0
                sums[5] += row.cache_write_5m_tokens or 0
                sums[6] += row.cache_write_1h_tokens or 0
                sums[7] += row.cost_pico_usd or 0
                sums[9] += row.is_unpriced
            sums[8] += row.estimated_wasted_cost_pico_usd or 0
            if row.latency_ms is not None:
                sums[10] += row.latency_ms
                sums[_FIXED + bisect_left(LATENCY_BOUNDS_MS, row.latency_ms)] += 1

    def store(self) -> None:
        """Write what was added."""
        self._connection.executemany(_UPSERT, [(*key, *sums) for key, sums in self._sums.items()])

    def _quarter(self, minute: str) -> str:
        start = int(minute[14:16]) * 60 // QUARTER_SECONDS * QUARTER_SECONDS // 60
        quarter = self._quarters[minute] = f"{minute[:14]}{start:02}:00.000Z"
        return quarter

    def _bounded(self, metadata: str) -> str:
        """Return metadata with no more values than totals tell apart."""
        told = {key: self._admitted(key, value) for key, value in _pairs(metadata)}
        text = self._metadata[metadata] = json.dumps(told, sort_keys=True)
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
            return OTHER
        connection.execute("INSERT INTO metadata_values VALUES (?, ?)", (key, value))
        return value


def _pairs(metadata: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(metadata)
    except ValueError:
        return []
    return [(k, str(v)) for k, v in found.items()] if isinstance(found, dict) else []
