"""RateLimitedLog: logs at most one warning a minute and counts the rest."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

SECONDS_BETWEEN_WARNINGS = 60.0


class RateLimitedLog:
    """Logs a WARNING at most once a minute, with the number of suppressed warnings before it.

    Args:
        logger: The logger.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self, logger: logging.Logger, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._monotonic = monotonic
        # Reentrant: a finaliser may log a warning while its thread holds the lock.
        self._lock = threading.RLock()
        self._next = -float("inf")
        self._suppressed = 0
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Replace the lock and discard the parent's count."""
        self._lock = threading.RLock()
        self._next = -float("inf")
        self._suppressed = 0

    def warning(self, message: str, *args: object) -> bool:
        """Log a warning and return True, or suppress it, count it and return False."""
        with self._lock:
            now = self._monotonic()
            if now < self._next:
                self._suppressed += 1
                return False
            self._next = now + SECONDS_BETWEEN_WARNINGS
            suppressed, self._suppressed = self._suppressed, 0
        if suppressed:
            message, args = message + " (%d earlier warnings suppressed)", (*args, suppressed)
        self._logger.warning(message, *args)
        return True
