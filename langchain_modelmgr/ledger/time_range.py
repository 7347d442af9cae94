"""TimeRange: parsed from ``7d``, ``yesterday``, ``2026-11``, a date or a datetime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from langchain_modelmgr.ledger.schema import QUARTER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

Moment = str | date | datetime
"""A point in time: a date (its midnight), a datetime, or either as ISO 8601 text."""

_QUARTER = timedelta(seconds=QUARTER_SECONDS)
_HOUR = timedelta(hours=1)
_RELATIVE = re.compile(r"(\d{1,5})([dh])")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_FORMS = "7d, 24h, today, yesterday, 2026-11, a date or a datetime"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``since`` until just before ``until``, both in UTC.

    Attributes:
        since: The first moment.
        until: The first moment after it.
        zone: The time zone that its days and hours are of.
    """

    since: datetime
    until: datetime
    zone: tzinfo

    @property
    def is_whole_quarters(self) -> bool:
        """Whether it starts and ends at a quarter of an hour."""
        return all(moment.timestamp() % QUARTER_SECONDS == 0 for moment in (self.since, self.until))

    def parts(self, unit: Literal["day", "hour"]) -> Iterator[tuple[str, datetime, datetime]]:
        """Yield its days or hours: name, first moment and first moment after it, in UTC."""
        start = self.since
        while start < self.until:
            name, end = self._day(start) if unit == "day" else self._hour(start)
            yield name, start, min(end, self.until)
            start = end

    def _day(self, moment: datetime) -> tuple[str, datetime]:
        day = moment.astimezone(self.zone).date()
        return day.isoformat(), _midnight(day + timedelta(days=1), self.zone)

    def _hour(self, moment: datetime) -> tuple[str, datetime]:
        local = moment.astimezone(self.zone)
        start = local.replace(minute=0, second=0, microsecond=0)
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return start.isoformat(timespec="minutes"), moment - into + _HOUR


def time_range_of(
    since: Moment, until: Moment | None, *, timezone: str | None, now: datetime
) -> TimeRange:
    """Return the time range that the arguments of a query name.

    Args:
        since: ``7d`` or ``24h`` back from now, at a quarter of an hour; ``today``, ``yesterday``
            or a month (``2026-11``): that period alone; a date or a datetime: from there on.
        until: A date or a datetime before which it ends; None: the end of the period that
            ``since`` names, else now.
        timezone: IANA name, such as ``Europe/Berlin``; None: UTC. Datetimes without a time zone
            are of it.
        now: The current time.

    Raises:
        ValueError: An argument is not a time, or the range is empty.
    """
    zone = _zone(timezone)
    start, end = _period(since, zone, now)
    if until is not None:
        end = _moment(until, zone, "until")
    if start >= end:
        raise ValueError(
            f"the time range is empty: since {start.isoformat()} is not before "
            f"until {end.isoformat()}"
        )
    return TimeRange(start, end, zone)


def _period(since: Moment, zone: tzinfo, now: datetime) -> tuple[datetime, datetime]:
    after_now = _floor(now) + _QUARTER
    today = now.astimezone(zone).date()
    if isinstance(since, str):
        if found := _RELATIVE.fullmatch(since):
            unit = timedelta(days=1) if found[2] == "d" else _HOUR
            return _floor(now - int(found[1]) * unit), after_now
        if since == "today":
            return _midnight(today, zone), after_now
        if since == "yesterday":
            return _midnight(today - timedelta(days=1), zone), _midnight(today, zone)
        if found := _MONTH.fullmatch(since):
            return _month(int(found[1]), int(found[2]), zone)
    return _moment(since, zone, "since"), after_now


def _month(year: int, month: int, zone: tzinfo) -> tuple[datetime, datetime]:
    try:
        first = date(year, month, 1)
    except ValueError:
        raise ValueError(f"since {year:04}-{month:02} is not a month") from None
    following = (first + timedelta(days=31)).replace(day=1)
    return _midnight(first, zone), _midnight(following, zone)


def _moment(value: Moment, zone: tzinfo, name: str) -> datetime:
    if isinstance(value, str):
        value = _parsed(value, name)
    if not isinstance(value, datetime):
        return _midnight(value, zone)
    return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)


def _parsed(text: str, name: str) -> date | datetime:
    for form in (date, datetime):
        try:
            return form.fromisoformat(text)
        except ValueError:
            continue
    forms = _FORMS if name == "since" else "a date or a datetime"
    raise ValueError(f"{name} {text!r} is not a time: use {forms}")


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _floor(moment: datetime) -> datetime:
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % QUARTER_SECONDS, UTC)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}: use an IANA name such as Europe/Berlin"
        ) from None
