"""The ledger's tables. ``user_version`` tells schemas apart; columns are only ever added."""

from __future__ import annotations

from dataclasses import fields

from langchain_modelmgr.ledger.attempt_rows import AttemptRow
from langchain_modelmgr.usage.pricing import TokenCounts

VERSION = 1

LATENCY_BOUNDS_MS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000)
"""Upper bounds of the latency histogram's buckets in ``totals``; a last bucket holds the rest."""

LATENCY_COLUMNS = (*(f"latency_le_{bound}" for bound in LATENCY_BOUNDS_MS), "latency_above")

QUARTER_SECONDS = 900
"""Seconds that one row of ``totals`` covers: the midnight of every time zone starts one."""

ATTEMPT_COLUMNS = AttemptRow._fields
"""The columns of ``attempts`` that are written, in order."""

TOTALS_KEY = (
    "time",
    "environment",
    "agent",
    "model",
    "outcome",
    "is_fallback",
    "service_tier",
    "metadata",
)
"""The key columns of ``totals``."""

TOKEN_COLUMNS = tuple(field.name for field in fields(TokenCounts))
COST_COLUMNS = ("cost_pico_usd", "estimated_wasted_cost_pico_usd")

TOTALS_SUMS = (
    "attempts",
    "calls",
    *TOKEN_COLUMNS,
    *COST_COLUMNS,
    "unpriced",
    "latency_ms",
    *LATENCY_COLUMNS,
)
"""The columns of ``totals`` that are sums."""

DATA_POINT_COUNTS = ("recorded", "sent", "dropped", "ambiguous", "resent")
"""Columns that count data points, of a destination and of a writer."""

_DATA_POINTS = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in DATA_POINT_COUNTS)
_USD = "GENERATED ALWAYS AS ({} / 1000000000000.0) VIRTUAL"

DDL = f"""
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,                       -- UTC, as 2026-11-26T07:03:31.250Z: when it ended
    environment TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,                      -- account ids are masked
    outcome TEXT NOT NULL,                    -- answered, failed, aborted, lost
    error TEXT,                               -- the class of the failure
    input_tokens INTEGER,                     -- NULL: the reply did not tell its usage
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    cost_pico_usd INTEGER,                    -- 1e-12 USD; NULL: no usage, or its price is unknown
    estimated_wasted_cost_pico_usd INTEGER,
    latency_ms REAL,                          -- NULL: lost
    time_to_first_token_ms REAL,
    attempt INTEGER NOT NULL,                 -- 1 is the first of its call
    is_fallback INTEGER NOT NULL,
    service_tier TEXT,
    call_id TEXT NOT NULL,
    run_id TEXT,
    request_id TEXT,
    metadata TEXT,                            -- JSON object of the keys that are allowed
    tags TEXT,                                -- JSON list of the tags that are allowed
    cost_usd REAL {_USD.format("cost_pico_usd")},
    estimated_wasted_cost_usd REAL {_USD.format("estimated_wasted_cost_pico_usd")}
);
CREATE INDEX attempts_time ON attempts (time);

CREATE TABLE totals (
    time TEXT NOT NULL,                       -- UTC, the start of a quarter of an hour
    environment TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    is_fallback INTEGER NOT NULL,
    service_tier TEXT NOT NULL,               -- '': the default
    metadata TEXT NOT NULL,                   -- JSON object of the keys that are allowed, or '{{}}'
    {", ".join(f"{name} INTEGER NOT NULL" for name in TOTALS_SUMS)},
    cost_usd REAL {_USD.format("cost_pico_usd")},
    estimated_wasted_cost_usd REAL {_USD.format("estimated_wasted_cost_pico_usd")},
    PRIMARY KEY ({", ".join(TOTALS_KEY)})
) WITHOUT ROWID;

-- Internal tables. Only attempts and totals are a public interface.

CREATE TABLE settings (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;

CREATE TABLE destinations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    region TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    identity TEXT NOT NULL,                   -- a hash that stands for account or access key
    {_DATA_POINTS},
    UNIQUE (namespace, region, endpoint, identity)
);

CREATE TABLE writers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    environment TEXT NOT NULL,
    destination INTEGER,
    settings TEXT NOT NULL,                   -- JSON: what of its rows is published
    {_DATA_POINTS},                           -- of its rows
    folded INTEGER NOT NULL DEFAULT 0,        -- attempts that were counted as 'other'
    adopted_by TEXT,                          -- the writer that found its process dead
    ended REAL                                -- when that was, or when it closed
);

CREATE TABLE segments (
    name TEXT PRIMARY KEY,
    writer INTEGER NOT NULL,
    offset INTEGER NOT NULL,                  -- bytes that are in the tables
    names TEXT NOT NULL,                      -- JSON: the names that its lines refer to by number
    gone REAL                                 -- when its file was removed
) WITHOUT ROWID;

CREATE TABLE in_flight (
    writer INTEGER NOT NULL,
    number INTEGER NOT NULL,
    facts TEXT NOT NULL,                      -- JSON: what was known when it left
    PRIMARY KEY (writer, number)
) WITHOUT ROWID;

CREATE TABLE metadata_values (              -- the values that totals keeps apart
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key, value)
) WITHOUT ROWID;

CREATE TABLE places (
    destination INTEGER NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    day TEXT NOT NULL,                        -- the last one on which it was published
    PRIMARY KEY (destination, agent, model)
) WITHOUT ROWID;

CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,     -- ids of sent ones must not come back
    destination INTEGER NOT NULL,
    owner TEXT NOT NULL,                      -- the writer, of a process, that made it
    sender TEXT,                              -- the writer that is sending it; NULL: it waits
    oldest INTEGER NOT NULL,                  -- its first minute, in seconds since 1970
    data_points INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX batches_destination ON batches (destination, id);
"""
