"""A clock that tests set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SetClock:
    """Seconds since 1970, as a test sets them."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now
