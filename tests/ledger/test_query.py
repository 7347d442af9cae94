"""Usage tables: exact figures by agent, model, day and metadata, from totals or attempts."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.ledger.attempt_rows import AttemptRow, grouped
from langchain_modelmgr.ledger.database_file import open_readonly, open_store, readonly_copy
from langchain_modelmgr.ledger.quarter_hour_totals import Sums
from langchain_modelmgr.ledger.query import query_of, select, usage_table
from langchain_modelmgr.ledger.schema import ATTEMPT_COLUMNS
from langchain_modelmgr.ledger.time_range import time_range_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from langchain_modelmgr.ledger.usage_table import UsageTable

NOW = datetime(2026, 11, 26, 7, 20, tzinfo=UTC)
_BLANK = AttemptRow(*[None] * len(ATTEMPT_COLUMNS))  # type: ignore[arg-type]


def row(time: str = "2026-11-26T07:03:31.250Z", **changes: Any) -> AttemptRow:
    given: dict[str, Any] = {
        "environment": "dev", "agent": "a", "model": "m", "outcome": "answered",
        "input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 3,
        "cache_write_5m_tokens": 2, "cache_write_1h_tokens": 1, "cost_pico_usd": 10**9,
        "latency_ms": 120.0, "attempt": 1, "is_fallback": 0, "call_id": "c", "metadata": "{}",
        **changes,
    }  # fmt: skip
    return _BLANK._replace(time=time, **given)


def store(connection: sqlite3.Connection, rows: Iterable[AttemptRow]) -> None:
    kept = list(rows)
    marks = ", ".join("?" * len(ATTEMPT_COLUMNS))
    connection.executemany(
        f"INSERT INTO attempts ({', '.join(ATTEMPT_COLUMNS)}) VALUES ({marks})",  # noqa: S608
        kept,
    )
    sums = Sums(connection)
    sums.add(grouped(kept))
    sums.store()


def table(
    rows: Sequence[AttemptRow],
    *,
    since: Any = "7d",
    until: Any = None,
    by: Any = ("agent", "model"),
    where: dict[str, Any] | None = None,
    timezone: str | None = None,
    from_attempts: bool = False,
) -> UsageTable:
    with closing(open_store(None)) as connection:
        store(connection, rows)
        if from_attempts:
            connection.execute("DELETE FROM totals")
        else:
            connection.execute("DELETE FROM attempts")
        span = time_range_of(since, until, timezone=timezone, now=NOW)
        query = query_of(span, by, where, ledger_days=35, now=NOW)
        with closing(readonly_copy(connection)) as copy:
            return usage_table(copy, query)


def test_figures_are_summed_by_agent_and_model_and_over_all() -> None:
    found = table(
        [
            row(),
            row(attempt=2, outcome="failed", input_tokens=None, output_tokens=None,
                cache_read_tokens=None, cache_write_5m_tokens=None, cache_write_1h_tokens=None,
                cost_pico_usd=None, estimated_wasted_cost_pico_usd=7 * 10**9, latency_ms=880.0),
            row(agent="b", cost_pico_usd=None, latency_ms=90_000.0),
        ]
    )  # fmt: skip

    assert [(r["agent"], r["model"], r["calls"], r["attempts"]) for r in found.rows] == [
        ("a", "m", 1, 2),
        ("b", "m", 1, 1),
    ]
    assert found.rows[0]["cost_usd"] == Decimal("0.001")
    assert found.rows[0]["estimated_wasted_cost_usd"] == Decimal("0.007")
    assert found.rows[0]["average_latency_ms"] == 500
    assert found.rows[0]["latency_p95_ms"] == 1_000
    assert found.rows[1]["unpriced"] == 1
    assert found.rows[1]["cost_usd"] == 0
    assert found.rows[1]["latency_p95_ms"] is None
    assert found.totals["attempts"] == 3
    assert found.totals["total_tokens"] == 2 * 21
    assert found.totals["cost_usd"] == Decimal("0.001")


def test_money_adds_up_exactly() -> None:
    found = table([row(cost_pico_usd=1)] * 3 + [row(cost_pico_usd=10**17)], by=[])

    assert found.rows[0]["cost_usd"] == Decimal("100000.000000000003")


def test_too_many_values_of_a_metadata_key_are_added_up_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(metadata=json.dumps({"tenant": str(n)})) for n in range(1_003)]

    found = table(rows, by="metadata.tenant")

    assert len(found) == 1_001
    assert {"metadata.tenant": "other", "attempts": 3}.items() <= max(
        found, key=lambda each: each["attempts"]
    ).items()
    assert [record.getMessage() for record in caplog.records] == [
        "the metadata 'tenant' has more than 1000 values: the ledger adds further ones up as "
        "'other'; single attempts keep theirs"
    ]


def test_an_empty_span_is_a_table_without_rows() -> None:
    for by in ((), ("agent",), ("day",)):
        found = table([], by=by)

        assert (len(found), found.totals["attempts"], found.totals["cost_usd"]) == (0, 0, 0)
        assert found.totals["average_latency_ms"] is None


def test_days_are_those_of_the_time_zone() -> None:
    rows = [row(time=f"2026-11-24T{hour}:30:00.000Z") for hour in (21, 22, 23)]

    by_utc = table(rows, by="day")
    by_berlin = table(rows, by="day", timezone="Europe/Berlin")

    assert [(r["day"], r["attempts"]) for r in by_utc] == [("2026-11-24", 3)]
    assert [(r["day"], r["attempts"]) for r in by_berlin] == [("2026-11-24", 2), ("2026-11-25", 1)]


def test_hours_agents_and_metadata_can_be_combined() -> None:
    acme, none = json.dumps({"tenant": "acme"}), "{}"
    found = table(
        [row(metadata=acme), row(metadata=none), row(metadata=acme, agent="b")],
        by=["hour", "metadata.tenant"],
    )

    assert [(r["hour"], r["metadata.tenant"], r["attempts"]) for r in found] == [
        ("2026-11-26T07:00+00:00", None, 1),
        ("2026-11-26T07:00+00:00", "acme", 2),
    ]


@pytest.mark.parametrize(
    ("where", "attempts"),
    [
        ({"agent": "b"}, 1),
        ({"agent": ["a", "b"]}, 4),
        ({"agent": []}, 0),
        ({"agent": "a' OR 1=1 --"}, 0),
        ({"service_tier": None}, 3),
        ({"service_tier": "flex"}, 1),
        ({"is_fallback": True}, 1),
        ({"metadata.tenant": "acme"}, 1),
        ({"metadata.tenant": None, "agent": "a"}, 2),
        ({'metadata.x"y': "z"}, 1),
        ({"environment": "prod"}, 0),
    ],
)
@pytest.mark.parametrize("from_attempts", [False, True])
def test_where_says_which_rows_are_counted(
    where: dict[str, Any], attempts: int, *, from_attempts: bool
) -> None:
    rows = [
        row(metadata=json.dumps({"tenant": "acme"})),
        row(agent="b", metadata=json.dumps({'x"y': "z"})),
        row(service_tier="flex"),
        row(is_fallback=1),
    ]
    since = NOW - timedelta(hours=1, seconds=1 if from_attempts else 300)

    found = table(rows, where=where, since=since, until=NOW.replace(minute=15),
                  from_attempts=from_attempts)  # fmt: skip

    assert found.totals["attempts"] == attempts


def test_queries_beyond_the_totals_are_answered_from_attempts() -> None:
    rows = [row(error="BedrockRateLimitError", outcome="failed"), row()]

    by_error = table(rows, by="error", from_attempts=True)
    exact = table(rows, since="2026-11-26T07:03:31", from_attempts=True)
    later = table(rows, since="2026-11-26T07:03:32", from_attempts=True)

    assert [(r["error"], r["attempts"]) for r in by_error] == [
        (None, 1),
        ("BedrockRateLimitError", 1),
    ]
    assert (exact.totals["attempts"], later.totals["attempts"]) == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"by": "agnet"}, "unknown column 'agnet' in by: did you mean 'agent'?"),
        ({"by": "metadata."}, "unknown column 'metadata.' in by"),
        ({"by": "cost; drop table attempts"}, "unknown column"),
        ({"where": {"day": "2026-11-26"}}, "unknown column 'day' in where"),
        ({"where": {"tenant": "x"}}, "or metadata.<key>"),
        ({"since": "90d", "by": "error"}, r"error of single attempts are kept for 35 days"),
        ({"since": "2026-01-01T00:07"}, "parts of a quarter of an hour"),
    ],
)
def test_an_unanswerable_query_is_an_error_that_names_the_answerable_ones(
    arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        table([], **arguments)


_ROWS = st.lists(
    st.builds(
        row,
        time=st.datetimes(datetime(2026, 11, 20), datetime(2026, 11, 26, 7)).map(  # noqa: DTZ001
            lambda t: f"{t:%Y-%m-%dT%H:%M:%S}.{t.microsecond // 1000:03}Z"
        ),
        agent=st.sampled_from("ab"),
        model=st.sampled_from("mn"),
        outcome=st.sampled_from(["answered", "failed", "aborted", "lost"]),
        cost_pico_usd=st.none() | st.integers(0, 10**13),
        estimated_wasted_cost_pico_usd=st.none() | st.integers(0, 10**13),
        latency_ms=st.none() | st.sampled_from([0.0, 100.0, 100.5, 200.0, 60_000.0, 60_000.5]),
        attempt=st.integers(1, 3),
        is_fallback=st.integers(0, 1),
        service_tier=st.none() | st.just("flex"),
        metadata=st.sampled_from(["{}", '{"tenant": "x"}']),
    ),
    max_size=30,
)


@given(
    _ROWS,
    st.sets(
        st.sampled_from(["agent", "model", "outcome", "is_fallback", "service_tier",
                         "environment", "metadata.tenant", "day"])
    ),
    st.sampled_from([None, "Asia/Kathmandu", "America/Los_Angeles"]),
)  # fmt: skip
def test_totals_and_attempts_agree(
    rows: list[AttemptRow], by: set[str], timezone: str | None
) -> None:
    names = sorted(by)

    of_totals = table(rows, by=names, timezone=timezone)
    start = of_totals.since - timedelta(milliseconds=1)  # no whole quarter: from the attempts
    of_attempts = table(rows, by=names, timezone=timezone, since=start, until=of_totals.until,
                        from_attempts=True)  # fmt: skip

    assert of_totals.rows == of_attempts.rows
    assert of_totals.totals == of_attempts.totals
    assert of_totals.totals["attempts"] == len(rows)


def test_text_in_html_is_escaped() -> None:
    found = table([row(agent="<script>", metadata='{"t": "<b>"}')], by=["agent", "metadata.t"])

    shown = found._repr_html_()

    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown
    assert "$0.001000" in shown


def test_a_table_becomes_a_data_frame_with_exact_money() -> None:
    frame = table([row(), row(agent="b")]).to_pandas()
    empty = table([]).to_pandas()

    assert list(frame["agent"]) == ["a", "b"]
    assert frame["cost_usd"].sum() == Decimal("0.002")
    assert list(empty.columns) == list(frame.columns)
    assert empty.empty


# -- SQL of the user's own


def test_sql_reads_attempts_and_totals(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as connection:
        store(connection, [row(), row(agent="b")])

    with closing(open_readonly(tmp_path)) as reader:
        found = select(
            reader, "select agent, sum(cost_usd) as usd from attempts where agent = ?", ("b",)
        )

    assert found == [{"agent": "b", "usd": 0.001}]


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("delete from attempts", "not authorized"),
        ("update totals set calls = 0", "not authorized"),
        ("select body from batches", "batches.body is prohibited"),
        ("attach database '/tmp/x.db' as x", "not authorized"),
        ("pragma query_only = off", "not authorized"),
        ("create temp table t (x)", "not authorized"),
        ("select 1; select 2", "one statement at a time"),
        ("select agnet from attempts", "no such column: agnet"),
        ("selct 1", "syntax error"),
        ("select load_extension('x')", "not authorized"),
    ],
)
def test_sql_that_is_not_a_query_is_refused(statement: str, text: str, tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as connection:
        store(connection, [row()])

    with closing(open_readonly(tmp_path)) as reader:
        with pytest.raises(ValueError, match=text):
            select(reader, statement, ())

        assert select(reader, "select count(*) as n from attempts", ()) == [{"n": 1}]
