"""The steps of a store over tables, which memory and SQLite share."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from langchain_modelmgr.budgets.store import Claim, Figures, Refusal, Reservation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Place(NamedTuple):
    """The key of a counter: budget, key and start of the window."""

    budget: str
    key: str
    start: int


class Counter(NamedTuple):
    """A counter of the tables; ``resets`` counts how often it was reset."""

    spent: int = 0
    held: int = 0
    uncertain: int = 0
    resets: int = 0


NOTHING = Counter()


class Part(NamedTuple):
    """One budget's part of a reservation.

    Attributes:
        place: The counter.
        amount: What is reserved, or was charged.
        resets: ``Counter.resets`` when it was charged; -1: it is still held.
    """

    place: Place
    amount: int
    resets: int = -1


class Tables(Protocol):
    """The counters and reservations of a store, within one transaction."""

    def counter(self, place: Place) -> tuple[int, int, int, int] | None:
        """Return the fields of a ``Counter``; None: there is none."""

    def change(self, place: Place, spent: int, held: int, uncertain: int) -> None:
        """Add to a counter, if it exists."""

    def hold(self, place: Place, end: int | None, amount: int, now: int) -> None:
        """Add to a counter's ``held``; create the counter if it is missing."""

    def keep(self, reservation: str, expires: int, parts: Sequence[Part]) -> None:
        """Store a reservation that is held until ``expires``."""

    def charge(self, reservation: str, parts: Sequence[Part]) -> None:
        """Store that a reservation was charged as reserved."""

    def drop(self, reservation: str) -> bool:
        """Remove a reservation that is held; return whether there was one."""

    def take(self, reservation: str) -> tuple[Part, ...] | None:
        """Remove a reservation and return its parts; None: there is none."""

    def expired(self, now: int) -> Iterable[tuple[str, tuple[Part, ...]]]:
        """Return the held reservations that expire until ``now``."""

    def reset(self, budget: str, key: str | None) -> None:
        """Set ``spent`` and ``uncertain`` to 0, and count the reset."""

    def in_window(self, budget: str, start: int, key: str | None) -> list[tuple[str, Counter]]:
        """Return the counters of a budget's window, by key."""


def reserve(
    tables: Tables, claims: Sequence[Claim], reservation: str, now: int
) -> Reservation | Refusal:
    """Reserve the amounts of all claims, or none. ``reservation`` is its id, by ``store.id_of``."""
    expire(tables, now)
    found = []
    fits = True
    for budget, key, calendar, limit, amount in claims:
        start, end = calendar.window(now)
        place = Place(budget, key, start)
        spent, held, uncertain, _ = tables.counter(place) or NOTHING
        found.append((place, end, amount, spent, held, uncertain))
        fits = fits and spent + held + amount <= limit
    if not fits:
        return Refusal(tuple(Figures(*place, end, *rest) for place, end, _, *rest in found))
    parts, after = [], []
    for place, end, amount, spent, held, uncertain in found:
        tables.hold(place, end, amount, now)
        parts.append(Part(place, amount))
        after.append(Figures(*place, end, spent, held + amount, uncertain))
    tables.keep(reservation, int(reservation.partition("-")[0]), parts)
    return Reservation(reservation, tuple(after))


def settle(
    tables: Tables,
    reservation: str,
    amounts: Sequence[int | None],
    held: Sequence[Part] | None = None,
) -> None:
    """Replace a reservation, or its charge, by what was used.

    Args:
        tables: The tables.
        reservation: Its id.
        amounts: What was used, for each part; None: unknown.
        held: Its parts, if this process knows them; None: they are read.
    """
    parts = held if held is not None and tables.drop(reservation) else tables.take(reservation)
    if parts is None:
        return
    for (place, reserved, resets), used in zip(parts, amounts, strict=True):
        if resets < 0:
            spent, uncertain = (reserved, reserved) if used is None else (used, 0)
            tables.change(place, spent, -reserved, uncertain)
        elif used is not None:
            counter = tables.counter(place)
            if counter is not None and counter[3] == resets:
                tables.change(place, used - reserved, 0, -reserved)


def add(tables: Tables, claims: Sequence[Claim], now: int) -> None:
    """Add amounts to ``spent`` without a reservation."""
    expire(tables, now)
    for budget, key, calendar, _, amount in claims:
        start, end = calendar.window(now)
        place = Place(budget, key, start)
        tables.hold(place, end, 0, now)
        tables.change(place, amount, 0, 0)


def expire(tables: Tables, now: int) -> None:
    """Charge the reservations whose time is over as reserved."""
    for reservation, parts in tables.expired(now):
        charged = []
        for place, amount, _ in parts:
            tables.change(place, amount, -amount, amount)
            counter = tables.counter(place)
            charged.append(Part(place, amount, 0 if counter is None else counter[3]))
        tables.charge(reservation, charged)


class Ids:
    """Makes ids of reservations that no other process makes."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Use another prefix, as a forked child must."""
        self._prefix = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """Return a new id."""
        return f"{self._prefix}-{next(self._numbers)}"
