"""Settles reservations where the ending thread must not wait: on event loops and the watchdog."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets.store import StoreBusyError, StoreUnreachableError
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.budgets.store import BudgetStore, Claim
    from langchain_modelmgr.runtime.workers import FewWorkers

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
        self._running: set[Future[None]] = set()

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
    ) -> None:
        """Settle a reservation on another thread, also from a finaliser."""
        self._later(partial(self.settle, store, reservation, amounts))

    def settle_on(
        self,
        threads: FewWorkers,
        store: BudgetStore,
        reservation: str,
        amounts: Sequence[int | None],
    ) -> Future[None]:
        """Settle a reservation on one of a store's threads; return a future of its end."""
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()  # who awaits it may be cancelled, the work may not

        def run() -> None:
            try:
                self.settle(store, reservation, amounts)
            finally:
                self._running.discard(ended)
                ended.set_result(None)

        self._running.add(ended)
        try:
            threads.run(run)
        except RuntimeError:  # no more threads: nobody waits for it
            self._running.discard(ended)
            ended.set_result(None)
            self.settle_later(store, reservation, amounts)
        return ended

    def add_later(self, store: BudgetStore, claims: Sequence[Claim]) -> None:
        """Add spending without a reservation, on another thread."""
        self._later(partial(self._add, store, claims))

    def _add(self, store: BudgetStore, claims: Sequence[Claim]) -> None:
        try:
            store.add(claims)
        except (StoreUnreachableError, StoreBusyError) as error:
            self._log.warning("spending could not be added (%s)", type(error).__name__)

    def _later(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)
        try:
            WORKERS.run(self.drain)
        except RuntimeError:  # no more threads: the next status drains the queue
            logger.debug("no thread for a settlement")

    def drain(self) -> None:
        """Settle what waits, and wait for settlements of other threads."""
        with self._lock:
            while self._waiting:
                self._waiting.popleft()()
        wait(tuple(self._running))


SETTLEMENTS = Settlements()
"""The settlements of this process."""
