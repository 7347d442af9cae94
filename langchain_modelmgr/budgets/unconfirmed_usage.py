"""UnconfirmedUsage: counts what calls spend while the store of the budgets can't be reached."""

from __future__ import annotations

import threading
from typing import TypedDict

from langchain_modelmgr.budgets.money import usd_of_nano
from langchain_modelmgr.runtime.forks import AFTER_FORK


class UnconfirmedFigures(TypedDict):
    """What a manager's calls spent while the store of its budgets could not be reached.

    Attributes:
        unconfirmed_attempts: Attempts that may have been billed.
        unconfirmed_usd: USD of them; of an attempt without token counts, the most it may cost.
        unconfirmed_unpriced: Those whose cost is unknown, and not in ``unconfirmed_usd``.
    """

    unconfirmed_attempts: int
    unconfirmed_usd: float
    unconfirmed_unpriced: int


class UnconfirmedUsage:
    """Counts the attempts that a manager made without the store of its budgets.

    Attributes:
        attempts: Those that may have been billed.
        nano_usd: What they cost; of an attempt without token counts, the most that it may cost.
        unpriced: Those whose cost has no known bound.
    """

    def __init__(self) -> None:
        self._new()
        AFTER_FORK.watch(self)

    def _new(self) -> None:
        self._lock = threading.RLock()
        self.attempts = self.nano_usd = self.unpriced = 0

    def reset_after_fork(self) -> None:
        """Start at zero: the parent keeps what was counted before."""
        self._new()

    def as_dict(self) -> UnconfirmedFigures:
        """Return the counts."""
        with self._lock:
            return UnconfirmedFigures(
                unconfirmed_attempts=self.attempts,
                unconfirmed_usd=float(usd_of_nano(self.nano_usd)),
                unconfirmed_unpriced=self.unpriced,
            )

    def add(self, nano_usd: int | None) -> None:
        """Count an attempt; None: its cost is unknown."""
        if nano_usd == 0:  # not sent, or refused before the model ran
            return
        with self._lock:
            self.attempts += 1
            self.nano_usd += nano_usd or 0
            self.unpriced += nano_usd is None
