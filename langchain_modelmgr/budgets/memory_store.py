"""MemoryStore: budgets of this process alone."""

from __future__ import annotations

import heapq
import threading
import time
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets import steps
from langchain_modelmgr.budgets.steps import NOTHING, Counter, Ids, Part, Place
from langchain_modelmgr.budgets.store import (
    KEPT_MS,
    TASK_KEPT_MS,
    TASK_PREFIX,
    Claim,
    Figures,
    Refusal,
    Reservation,
    id_of,
)
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_modelmgr.budgets.windows import Calendar

_PRUNE_MS = 3_600_000
"""Milliseconds between two searches for counters that are no longer kept."""


class MemoryStore:
    """Holds budgets in memory. A forked child begins with its parent's counters.

    Args:
        clock: Returns seconds since 1970; tests replace it.
    """

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tables = _Memory()
        self._ids = Ids()
        self._lock = threading.Lock()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Make a new lock and new ids; the parent's reservations are the parent's."""
        self._lock = threading.Lock()
        self._ids.renew()
        self._tables.forget_reservations()

    def reserve(
        self,
        claims: Sequence[Claim],
        *,
        seconds: float,
        deadline: float,  # noqa: ARG002 - nothing to wait for
        named: str | None = None,
    ) -> Reservation | Refusal:
        """Reserve the amounts of all claims, or none."""
        with self._lock:
            now = self._now()
            self._tables.prune(now)
            name = named or id_of(now + int(seconds * 1000), self._ids.new())
            return steps.reserve(self._tables, claims, name, now)

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            steps.settle(self._tables, reservation, amounts)

    def add(
        self,
        claims: Sequence[Claim],
        *,
        once: str | None = None,  # noqa: ARG002 - it never fails half-way
        deadline: float | None = None,  # noqa: ARG002 - nothing to wait for
    ) -> None:
        """Add amounts to ``spent`` without a reservation."""
        with self._lock:
            steps.add(self._tables, claims, self._now())

    def figures(self, budget: str, calendar: Calendar, *, key: str | None = None) -> list[Figures]:
        """Return the counters of a budget's current window, by key."""
        with self._lock:
            now = self._now()
            steps.expire(self._tables, now)
            start, end = calendar.window(now)
            found = self._tables.in_window(budget, start, key)
        return [Figures(budget, name, start, end, *counter[:3]) for name, counter in found]

    def reset(self, budget: str, *, key: str | None = None) -> None:
        """Set ``spent`` and ``uncertain`` to 0 in all windows of a budget."""
        with self._lock:
            steps.expire(self._tables, self._now())
            self._tables.reset(budget, key)

    def close(self) -> None:
        """Do nothing: the counters live as long as the process."""

    def _now(self) -> int:
        return int(self._clock() * 1000)


class _Memory:
    def __init__(self) -> None:
        self._counters: dict[Place, Counter] = {}
        self._kept_until: dict[Place, int] = {}
        self._reservations: dict[str, tuple[Part, ...]] = {}
        self._queue: list[tuple[int, str]] = []
        self._charged: dict[str, int] = {}
        self._pruned = 0

    def counter(self, place: Place) -> Counter | None:
        return self._counters.get(place)

    def change(self, place: Place, spent: int, held: int, uncertain: int) -> None:
        old = self._counters.get(place)
        if old is not None:
            self._counters[place] = Counter(
                old.spent + spent, old.held + held, old.uncertain + uncertain, old.resets
            )

    def hold(self, place: Place, end: int | None, amount: int, now: int) -> None:
        self._counters.setdefault(place, NOTHING)
        self.change(place, 0, amount, 0)
        if end is not None:
            self._kept_until[place] = end + KEPT_MS
        elif place.budget.startswith(TASK_PREFIX):
            self._kept_until[place] = now + TASK_KEPT_MS

    def keep(self, reservation: str, expires: int, parts: Sequence[Part]) -> None:
        self._reservations[reservation] = tuple(parts)
        heapq.heappush(self._queue, (expires, reservation))

    def charge(self, reservation: str, parts: Sequence[Part]) -> None:
        self._reservations[reservation] = tuple(parts)

    def drop(self, reservation: str) -> bool:  # noqa: ARG002 - take() is as fast
        return False

    def take(self, reservation: str) -> tuple[Part, ...] | None:
        self._charged.pop(reservation, None)
        return self._reservations.pop(reservation, None)

    def expired(self, now: int) -> Iterator[tuple[str, tuple[Part, ...]]]:
        while self._queue and self._queue[0][0] <= now:
            expires, reservation = heapq.heappop(self._queue)
            parts = self._reservations.get(reservation)
            if parts is not None:
                self._charged[reservation] = expires
                yield reservation, parts

    def reset(self, budget: str, key: str | None) -> None:
        for place, old in list(self._counters.items()):
            if place.budget == budget and key in (None, place.key):
                self._counters[place] = Counter(0, old.held, 0, old.resets + 1)

    def in_window(self, budget: str, start: int, key: str | None) -> list[tuple[str, Counter]]:
        return sorted(
            (place.key, counter)
            for place, counter in self._counters.items()
            if place.budget == budget and place.start == start and key in (None, place.key)
        )

    def prune(self, now: int) -> None:
        """Remove what is no longer kept; look for it once an hour."""
        if abs(now - self._pruned) < _PRUNE_MS:
            return
        self._pruned = now
        for place, until in list(self._kept_until.items()):
            if until <= now and not self._counters[place].held:
                del self._counters[place], self._kept_until[place]
        for reservation, since in list(self._charged.items()):
            if since + KEPT_MS <= now:
                self.take(reservation)

    def forget_reservations(self) -> None:
        for parts in self._reservations.values():
            for place, amount, resets in parts:
                if resets < 0:
                    self.change(place, 0, -amount, 0)
        self._reservations.clear()
        self._queue.clear()
        self._charged.clear()
