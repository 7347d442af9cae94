"""Warnings that can't flood a log: at most one a minute, the rest counted."""

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
    """Logs a WARNING at most once a minute and says how many were left out before it.

    Args:
        logger: Where to.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self, logger: logging.Logger, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._monotonic = monotonic
        # Reentrant: a finaliser may warn while its thread is in here.
        self._lock = threading.RLock()
        self._next = -float("inf")
        self._left_out = 0
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Start without the parent's warnings, with a new lock."""
        self._lock = threading.RLock()
        self._next = -float("inf")
        self._left_out = 0

    def warning(self, message: str, *args: object) -> bool:
        """Log and return True, or count what was left out and return False."""
        with self._lock:
            now = self._monotonic()
            if now < self._next:
                self._left_out += 1
                return False
            self._next = now + SECONDS_BETWEEN_WARNINGS
            left_out, self._left_out = self._left_out, 0
        if left_out:
            message, args = message + " (and %d warnings before it)", (*args, left_out)
        self._logger.warning(message, *args)
        return True
