"""BudgetGauges: how much of each budget is spent, for metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets.places import unconfirmed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_modelmgr.budgets.limits import Limit
    from langchain_modelmgr.budgets.store import BudgetStore


class BudgetGauges:
    """Tells how much of each budget is spent, by the figures that this process last saw.

    It asks no store, so that publishing takes no longer with many keys.

    Args:
        limits: The budgets.
        store: Their store.
    """

    def __init__(self, limits: Sequence[Limit], store: BudgetStore) -> None:
        self._limits = limits
        self._store = store

    def used(self) -> list[tuple[str, float]]:
        """Return name and spent percentage of each budget that was used, of its highest key."""
        now, seen = int(time.time() * 1000), unconfirmed_of(self._store)
        found = []
        for limit in self._limits:
            spent = seen.highest_spent(limit.stored, limit.calendar.window(now).start)
            if spent is not None:
                found.append((limit.name, 100 * spent / limit.limit))
        return found
