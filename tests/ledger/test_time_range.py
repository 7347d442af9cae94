"""Spans of time as people write them, in every time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.ledger.time_range import TimeRange, time_range_of

NOW = datetime(2026, 11, 26, 7, 20, 31, 250_000, tzinfo=UTC)
SOON = datetime(2026, 11, 26, 7, 30, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "timezone", "first", "after"),
    [
        ("7d", None, "2026-11-19T07:15", "2026-11-26T07:30"),
        ("24h", None, "2026-11-25T07:15", "2026-11-26T07:30"),
        ("1h", "Asia/Kathmandu", "2026-11-26T06:15", "2026-11-26T07:30"),
        ("today", None, "2026-11-26T00:00", "2026-11-26T07:30"),
        ("today", "Europe/Berlin", "2026-11-25T23:00", "2026-11-26T07:30"),
        ("today", "America/Los_Angeles", "2026-11-25T08:00", "2026-11-26T07:30"),
        ("yesterday", None, "2026-11-25T00:00", "2026-11-26T00:00"),
        ("yesterday", "Asia/Kathmandu", "2026-11-24T18:15", "2026-11-25T18:15"),
        ("2026-11", None, "2026-11-01T00:00", "2026-12-01T00:00"),
        ("2026-12", None, "2026-12-01T00:00", "2027-01-01T00:00"),
        ("2026-10", "Europe/Berlin", "2026-09-30T22:00", "2026-10-31T23:00"),
        ("2026-11-20", None, "2026-11-20T00:00", "2026-11-26T07:30"),
        (date(2026, 11, 20), "Europe/Berlin", "2026-11-19T23:00", "2026-11-26T07:30"),
        ("2026-11-20T10:00", "Europe/Berlin", "2026-11-20T09:00", "2026-11-26T07:30"),
        ("2026-11-20T10:00+05:30", None, "2026-11-20T04:30", "2026-11-26T07:30"),
        (datetime(2026, 11, 20, 10, 0, 7), None, "2026-11-20T10:00:07", "2026-11-26T07:30"),  # noqa: DTZ001
    ],
)
def test_a_span_is_what_people_mean(
    since: Any, timezone: str | None, first: str, after: str
) -> None:
    span = time_range_of(since, None, timezone=timezone, now=NOW)

    assert (span.since, span.until) == (utc(first), utc(after))


def test_until_ends_any_span() -> None:
    span = time_range_of("2026-11", "2026-11-03", timezone=None, now=NOW)

    assert (span.since, span.until) == (utc("2026-11-01"), utc("2026-11-03"))


@pytest.mark.parametrize(
    ("since", "until", "timezone", "text"),
    [
        ("last week", None, None, "since 'last week' is not a time: use 7d, 24h, today"),
        ("7w", None, None, "since '7w' is not a time"),
        ("2026-13", None, None, "since 2026-13 is not a month"),
        ("2026-02-30", None, None, "since '2026-02-30' is not a time"),
        ("7d", "7d", None, "until '7d' is not a time: use a date or a datetime"),
        ("2027-01-01", None, None, "the time range is empty"),
        ("2026-11-03", "2026-11-03", None, "the time range is empty"),
        ("7d", None, "Berlin", "unknown time zone 'Berlin': use an IANA name"),
        ("7d", None, "../etc/passwd", "unknown time zone"),
        ("7d", None, "", "unknown time zone"),
    ],
)
def test_a_meaningless_value_is_an_error_that_names_the_valid_ones(
    since: str, until: str | None, timezone: str | None, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        time_range_of(since, until, timezone=timezone, now=NOW)


def test_a_day_may_have_25_hours() -> None:
    span = time_range_of("2026-10-25", "2026-10-26", timezone="Europe/Berlin", now=NOW)

    (day,) = span.parts("day")
    hours = list(span.parts("hour"))

    assert day == ("2026-10-25", span.since, span.until)
    assert len(hours) == 25
    assert [name for name, _, _ in hours[2:4]] == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
    ]


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 400),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu", "Australia/Lord_Howe",
         "America/St_Johns", "Pacific/Chatham", "Africa/Casablanca"]
    ),
    st.sampled_from(["day", "hour"]),
)  # fmt: skip
def test_the_parts_of_a_span_are_the_span(
    now: datetime, hours: int, timezone: str, unit: Any
) -> None:
    span: TimeRange = time_range_of(f"{hours}h", None, timezone=timezone, now=now)

    parts = list(span.parts(unit))

    assert parts[0][1] == span.since
    assert parts[-1][2] == span.until
    assert all(before[2] == after[1] for before, after in pairwise(parts))
    assert all(start < end for _, start, end in parts)
    if timezone != "Australia/Lord_Howe":  # its clocks go back half an hour, into the same hour
        assert len({name for name, _, _ in parts}) == len(parts)
    longest = timedelta(hours=25) if unit == "day" else timedelta(hours=1)
    assert all(end - start <= longest for _, start, end in parts)
    assert all(TimeRange(start, end, UTC).is_whole_quarters for _, start, end in parts)
