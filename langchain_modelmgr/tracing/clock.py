"""Clock: turns readings of ``time.perf_counter`` into the timestamps of spans."""

from __future__ import annotations

import time


class Clock:
    """Timestamps of one call, which a change of the system's clock leaves in order.

    Attributes:
        start: Nanoseconds since 1970 when the clock was made.
        reading: ``time.perf_counter`` at that time.
    """

    def __init__(self) -> None:
        self.start = time.time_ns()
        self.reading = time.perf_counter()

    def at(self, reading: float) -> int:
        """Return nanoseconds since 1970 at a reading of ``time.perf_counter``."""
        return self.start + max(0, int((reading - self.reading) * 1e9))

    def seconds(self, reading: float) -> float:
        """Return the seconds between the start and a reading of ``time.perf_counter``."""
        return max(0.0, reading - self.reading)

    def now(self) -> int:
        """Return the current timestamp."""
        return self.at(time.perf_counter())
