"""Counts and logs the failures of a ledger."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.database_file import ForeignDatabaseError

if TYPE_CHECKING:
    from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog


class FailureLog:
    """Counts failures, and logs them.

    Args:
        log: Logs the same warning once in a while.

    Attributes:
        count: The number of failures.
    """

    def __init__(self, log: RateLimitedLog) -> None:
        self._log = log
        self.count = 0

    def note(self, error: Exception) -> None:
        """Count and log a failure."""
        # Python 3.12.1 starts no thread once exit handlers run: ours delivers without one.
        if "interpreter shutdown" in str(error):
            return
        self.count += 1
        why = error if isinstance(error, ForeignDatabaseError) else type(error).__name__
        if isinstance(error, (OSError, sqlite3.Error)):
            self._log.warning(
                "the ledger can't be written (%s): what was recorded waits in its segments", why
            )
        else:
            self._log.warning("the ledger failed: %s", why)
