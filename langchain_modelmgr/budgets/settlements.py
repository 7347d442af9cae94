"""Settles reservations where the ending thread must not wait: on event loops and the watchdog."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets.store import StoreBusyError, StoreUnreachableError
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.budgets.store import BudgetStore, Claim

logger = logging.getLogger(__name__)


class Settlements:
    """Settles reservations, now or on a thread of its own, and never raises."""

    def __init__(self) -> None:
        self._log = RateLimitedLog(logger)
        self._new()
        AFTER_FORK.watch(self)

    def _new(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()

    def reset_after_fork(self) -> None:
        """Discard what the parent settles."""
        self._new()

    def settle(self, store: BudgetStore, reservation: str, amounts: Sequence[int | None]) -> None:
        """Settle a reservation in this thread."""
        try:
            store.settle(reservation, amounts)
        except (StoreUnreachableError, StoreBusyError) as error:
            self._log.warning(
                "a reservation could not be settled (%s): it is charged as reserved",
                type(error).__name__,
            )

    def settle_later(
        self, store: BudgetStore, reservation: str, amounts: Sequence[int | None]
    ) -> Future[None]:
        """Settle a reservation on another thread; return a future of its end."""
        return self._later(partial(self.settle, store, reservation, amounts))

    def add_later(self, store: BudgetStore, claims: Sequence[Claim]) -> None:
        """Add spending without a reservation, on another thread."""
        self._later(partial(self._add, store, claims))

    def _add(self, store: BudgetStore, claims: Sequence[Claim]) -> None:
        try:
            store.add(claims)
        except (StoreUnreachableError, StoreBusyError) as error:
            self._log.warning("spending could not be added (%s)", type(error).__name__)

    def _later(self, work: Callable[[], None]) -> Future[None]:
        ended: Future[None] = Future()

        def run() -> None:
            try:
                work()
            finally:
                ended.set_result(None)

        self._waiting.append(run)
        try:
            WORKERS.run(self.drain)
        except RuntimeError:  # no more threads: the next status drains the queue
            logger.debug("no thread for a settlement")
        return ended

    def drain(self) -> None:
        """Settle what waits, and wait for settlements of other threads."""
        with self._lock:
            while self._waiting:
                self._waiting.popleft()()


SETTLEMENTS = Settlements()
"""The settlements of this process."""
