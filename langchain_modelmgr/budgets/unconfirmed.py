"""UnconfirmedStore: limits calls while the store of the budgets can't be reached."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from uuid import uuid4

from langchain_modelmgr.budgets.memory_store import MemoryStore
from langchain_modelmgr.budgets.store import (
    Claim,
    Figures,
    Refusal,
    Reservation,
    StoreUnreachableError,
)
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_modelmgr.budgets.store import BudgetStore
    from langchain_modelmgr.budgets.windows import Calendar

logger = logging.getLogger(__name__)

_KEYS_KEPT = 10_000
"""Budgets and keys whose last figures are remembered; the oldest are forgotten first."""


class UnconfirmedStore:
    """Holds reservations in memory, on top of the last figures that the real store returned.

    Each process may then spend what it last saw as remaining. What it spends is added to the real
    store when that works again.

    Args:
        real: The store that can't be reached at the moment.
    """

    def __init__(self, real: BudgetStore) -> None:
        self._real = real
        self._own = MemoryStore()
        self._seen: OrderedDict[tuple[str, str], Figures] = OrderedDict()
        self._log = RateLimitedLog(logger)
        self._new()
        AFTER_FORK.watch(self)

    def _new(self) -> None:
        # Reentrant: a stream that is collected settles in any thread, at any time.
        self._lock = threading.RLock()
        self._delivery = threading.Lock()
        self._claims: dict[str, Sequence[Claim]] = {}
        self._to_add: dict[tuple[str, str], Claim] = {}
        self._sent: tuple[str, Sequence[Claim]] | None = None

    def reset_after_fork(self) -> None:
        """Make new locks; what the parent spent is the parent's to add."""
        self._new()

    def saw(self, figures: Sequence[Figures]) -> None:
        """Remember what the real store returned."""
        with self._lock:
            for each in figures:
                self._seen[each.budget, each.key] = each
                self._seen.move_to_end((each.budget, each.key))
            while len(self._seen) > _KEYS_KEPT:
                self._seen.popitem(last=False)

    def deliver(self, deadline: float | None = None, *, waits: bool = False) -> None:
        """Add what was spent without the real store to it.

        Args:
            deadline: When to stop waiting for the store, by ``time.monotonic``.
            waits: Whether to wait while another thread adds it.

        Raises:
            StoreUnreachableError: The store can't be reached, or another thread adds the amounts
                right now; they are kept.
            StoreBusyError: The deadline passed; the amounts are kept.
        """
        while self._to_add or self._sent:
            if not self._delivery.acquire(blocking=waits):
                raise StoreUnreachableError("spending is being added")
            try:
                self._deliver(deadline)
            finally:
                self._delivery.release()

    def _deliver(self, deadline: float | None) -> None:
        with self._lock:
            if self._sent is None and self._to_add:
                # The id stays until the store confirms: it may have added them already.
                self._sent = uuid4().hex, tuple(self._to_add.values())
                self._to_add = {}
            sent = self._sent
        if sent is not None:
            self._real.add(sent[1], once=sent[0], deadline=deadline)
            self._delivered(sent[1])

    def _delivered(self, claims: Sequence[Claim]) -> None:
        with self._lock:
            self._sent, self._own = None, MemoryStore()
            for claim in claims:
                seen = self._seen.get((claim.budget, claim.key))
                if seen is not None:
                    added = seen._replace(spent=seen.spent + claim.amount)
                    self._seen[claim.budget, claim.key] = added

    def settled(self, claims: Sequence[Claim], used: Sequence[int | None]) -> None:
        """Correct the last figures by a settlement in the real store."""
        with self._lock:
            for claim, amount in zip(claims, used, strict=True):
                seen = self._seen.get((claim.budget, claim.key))
                if seen is not None:
                    # Not by _replace(), which takes several times as long.
                    budget, key, start, end, spent, held, uncertain = seen
                    self._seen[budget, key] = Figures(
                        budget, key, start, end,
                        spent + (claim.amount if amount is None else amount),
                        held - claim.amount if held > claim.amount else 0,
                        uncertain,
                    )  # fmt: skip

    def highest_spent(self, budget: str, start: int) -> int | None:
        """Return the most that a key of a budget has spent in a window; None: none was seen."""
        with self._lock:
            spent = [
                seen.spent
                for seen in self._seen.values()
                if seen.budget == budget and seen.start == start
            ]
        return max(spent, default=None)

    def reserve(
        self,
        claims: Sequence[Claim],
        *,
        seconds: float,
        deadline: float,
        named: str | None = None,
    ) -> Reservation | Refusal:
        """Reserve what is left by the last figures."""
        self._log.warning(
            "the store of the budgets can't be reached: calls go on with the last figures and "
            "this process's own spending; state_required: true refuses them instead"
        )
        now = int(time.time() * 1000)
        spent = [self._last_used(claim, now) for claim in claims]
        less = [
            claim._replace(limit=claim.limit - before)
            for claim, before in zip(claims, spent, strict=True)
        ]
        made = self._own.reserve(less, seconds=seconds, deadline=deadline, named=named)
        figures = tuple(
            each._replace(spent=each.spent + before)
            for each, before in zip(made.figures, spent, strict=True)
        )
        if isinstance(made, Refusal):
            return Refusal(figures)
        with self._lock:
            self._claims[made.id] = claims
        return Reservation(made.id, figures)

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Settle a reservation, and remember to add it to the real store."""
        self._own.settle(reservation, amounts)
        with self._lock:
            claims = self._claims.pop(reservation, ())
            self._keep(
                claim if used is None else claim._replace(amount=used)
                for claim, used in zip(claims, amounts, strict=bool(claims))
            )

    def add(
        self,
        claims: Sequence[Claim],
        *,
        once: str | None = None,  # noqa: ARG002 - the real store gets an id of this store's
        deadline: float | None = None,  # noqa: ARG002 - nothing to wait for
    ) -> None:
        """Remember to add spending to the real store."""
        self._own.add(claims)
        with self._lock:
            self._keep(claims)

    def _keep(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if claim.amount:
                before = self._to_add.get((claim.budget, claim.key))
                amount = claim.amount + (0 if before is None else before.amount)
                self._to_add[claim.budget, claim.key] = claim._replace(amount=amount)

    def figures(self, budget: str, calendar: Calendar, *, key: str | None = None) -> list[Figures]:
        """Return what was spent without the real store."""
        return self._own.figures(budget, calendar, key=key)

    def reset(self, budget: str, *, key: str | None = None) -> None:
        """Forget what was spent without the real store."""
        self._own.reset(budget, key=key)

    def close(self) -> None:
        """Do nothing: it is in memory."""

    def _last_used(self, claim: Claim, now: int) -> int:
        seen = self._seen.get((claim.budget, claim.key))
        if seen is None or seen.start != claim.calendar.window(now).start:
            return 0
        return seen.spent + seen.held
