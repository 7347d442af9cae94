"""Calendar windows in time zones."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.budgets.windows import Calendar, Period


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("per", "zone", "at", "start", "end"),
    [
        ("minute", "UTC", "2026-11-26T20:41:12", "2026-11-26T20:41", "2026-11-26T20:42"),
        ("hour", "UTC", "2026-11-26T20:41:12", "2026-11-26T20:00", "2026-11-26T21:00"),
        ("hour", "Asia/Kolkata", "2026-11-26T20:41:12", "2026-11-26T20:00", "2026-11-26T21:00"),
        ("day", "UTC", "2026-11-26T00:00:00", "2026-11-26", "2026-11-27"),
        ("day", "Asia/Tokyo", "2026-11-26T23:59:59", "2026-11-26", "2026-11-27"),
        ("month", "America/New_York", "2026-12-31T23:00:00", "2026-12-01", "2027-01-01"),
        ("month", "UTC", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_a_window_is_the_calendars(per: Period, zone: str, at: str, start: str, end: str) -> None:
    assert Calendar(per, zone).window(ms(at, zone)) == (ms(start, zone), ms(end, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_of_a_clock_change_has_its_own_length(day: str, hours: int) -> None:
    start, end = Calendar("day", "Europe/Berlin").window(ms(f"{day}T12:00", "Europe/Berlin"))

    assert end is not None
    assert (end - start) / 3_600_000 == hours


def test_a_total_never_ends() -> None:
    assert Calendar("total").window(ms("2026-11-26")) == (0, None)


@given(
    st.sampled_from(["minute", "hour", "day", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu", "Asia/Beirut"]),
    st.integers(0, 4_000_000_000_000),
)
def test_every_moment_is_in_its_window_and_the_end_begins_the_next(
    per: Period, zone: str, now: int
) -> None:
    calendar = Calendar(per, zone)

    window = calendar.window(now)

    assert window.holds(now)
    assert window.end is not None
    assert calendar.window(window.end).start == window.end
