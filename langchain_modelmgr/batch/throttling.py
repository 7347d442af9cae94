"""ConcurrencyLimit: how many rows a worker may have out, fewer while the model is throttled."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LESS = 0.7
_ONCE_IN_SECONDS = 1.0
"""Throttles that come together count once."""


class ConcurrencyLimit:
    """Slots for rows, whose number falls with each throttle and rises with each answer.

    Args:
        most: The largest number of slots.
        clock: The clock; tests replace it.

    Attributes:
        throttles: The number of throttles.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.throttles = 0
        self._allowed = float(most)
        self._used = 0
        self._lowered = -_ONCE_IN_SECONDS
        self._clock = clock
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """The current number of slots."""
        return int(self._allowed)

    @property
    def used(self) -> int:
        """The number of rows that are out."""
        return self._used

    def enter(self, is_stopped: Callable[[], bool]) -> bool:
        """Wait for a slot and take it; return False if the run was stopped meanwhile."""
        with self._changed:
            while self._used >= self.allowed:
                if is_stopped():
                    return False
                self._changed.wait(0.2)
            if is_stopped():
                return False
            self._used += 1
            return True

    def leave(self) -> None:
        """Give a slot back."""
        with self._changed:
            self._used -= 1
            self._changed.notify_all()

    def answered(self) -> None:
        """Allow a little more: one slot more for as many answers as there are slots."""
        with self._changed:
            self._allowed = min(float(self.most), self._allowed + 1 / self._allowed)
            self._changed.notify()

    def throttled(self) -> None:
        """Allow less, at most once a second, and never less than one."""
        with self._changed:
            self.throttles += 1
            if self._clock() - self._lowered >= _ONCE_IN_SECONDS:
                self._lowered = self._clock()
                self._allowed = max(1.0, self._allowed * _LESS)
