"""Windows of budgets: the calendar minute, hour, day or month of a time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Period = Literal["minute", "hour", "day", "month", "total"]

_SECONDS = {"minute": 60, "hour": 3600}
_MONTH_AND_MORE = timedelta(days=32)


class Window(NamedTuple):
    """A time span in which one limit holds.

    Attributes:
        start: Its first moment, in milliseconds since 1970.
        end: The first moment after it; None: it never ends.
    """

    start: int
    end: int | None

    def holds(self, now: int) -> bool:
        """Return whether a moment, in milliseconds since 1970, is in the window."""
        return self.start <= now and (self.end is None or now < self.end)


TOTAL = Window(0, None)


class Calendar:
    """The windows of one period and time zone. Remembers the last one, which usually is current.

    Args:
        per: The period.
        timezone: IANA name of the time zone.
    """

    def __init__(self, per: Period, timezone: str = "UTC") -> None:
        self.per = per
        self.timezone = timezone
        self._zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)
        self._last = TOTAL if per == "total" else Window(0, 0)

    def window(self, now: int) -> Window:
        """Return the window that a moment, in milliseconds since 1970, is in."""
        last = self._last
        if last.holds(now):
            return last
        self._last = window = self._find(now)
        return window

    def _find(self, now: int) -> Window:
        moment = datetime.fromtimestamp(now / 1000, self._zone)
        if (length := _SECONDS.get(self.per)) is not None:
            # Local minutes and hours begin at whole ones of the zone, which UTC's may not be.
            into = moment.second + (moment.minute * 60 if self.per == "hour" else 0)
            start = (now // 1000 - into) * 1000
            return Window(start, start + length * 1000)
        first = moment.date()
        if self.per == "month":
            first = first.replace(day=1)
            following = (first + _MONTH_AND_MORE).replace(day=1)
        else:
            following = first + timedelta(days=1)
        return Window(self._midnight(first), self._midnight(following))

    def _midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), self._zone).timestamp()) * 1000


@cache
def calendar(per: Period, timezone: str = "UTC") -> Calendar:
    """Return the calendar of a period and a time zone.

    Raises:
        ZoneInfoNotFoundError: The time zone is unknown.
    """
    return Calendar(per, timezone)
