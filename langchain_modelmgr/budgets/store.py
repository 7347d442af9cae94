"""The protocol of a store of budgets: reserve, settle, figures, reset."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from langchain_modelmgr.errors import BudgetStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.budgets.windows import Calendar

KEPT_MS = 35 * 86_400_000
"""Milliseconds for which the counters of an ended window are kept, and late settlements taken."""

TASK_KEPT_MS = 30 * 86_400_000
"""Milliseconds for which a budget without a window (``total``) is kept after its last use, if it
is a task's."""

TASK_PREFIX = "task/"
"""The names of tasks' budgets begin so in a store; the YAML's names have no slash."""


class StoreUnreachableError(Exception):
    """The store can't be reached, or failed: the step may or may not have happened."""


class StoreBusyError(Exception):
    """The deadline passed while other processes held the store's lock: nothing happened."""


@contextmanager
def answered() -> Iterator[None]:
    """Raise the errors of a store as ``BudgetStoreError``, where a user asked for its figures."""
    try:
        yield
    except StoreBusyError:
        raise BudgetStoreError("the store of the budgets is busy: try again") from None
    except StoreUnreachableError as error:
        raise BudgetStoreError(f"the store of the budgets can't be used: {error}") from error


class Claim(NamedTuple):
    """What one attempt needs of one budget.

    Amounts and limits are whole nano-USD, or tokens.

    Attributes:
        budget: The budget's name.
        key: The value of ``by``; empty: the budget has none, or the call has none for it.
        calendar: The budget's period and time zone. The store's clock chooses the window.
        limit: The limit of the window.
        amount: The amount to reserve, or to add.
    """

    budget: str
    key: str
    calendar: Calendar
    limit: int
    amount: int


class Figures(NamedTuple):
    """The counters of one budget, key and window.

    Attributes:
        budget: The budget's name.
        key: The value of ``by``; may be empty.
        start: The window's start, in milliseconds since 1970.
        end: The first moment after the window; None: it never ends.
        spent: What was settled, including ``uncertain``.
        held: What is reserved by attempts that have not ended.
        uncertain: The part of ``spent`` that may be more than what was billed.
    """

    budget: str
    key: str
    start: int
    end: int | None
    spent: int = 0
    held: int = 0
    uncertain: int = 0


class Reservation(NamedTuple):
    """An amount that is reserved in all budgets of an attempt.

    Attributes:
        id: Unique among all processes.
        figures: The counters of each claim, in order, after the reservation.
    """

    id: str
    figures: tuple[Figures, ...]


class Refusal(NamedTuple):
    """A reservation that does not fit: nothing was reserved in any budget.

    Attributes:
        figures: The counters of each claim, in order.
    """

    figures: tuple[Figures, ...]


def reservation_id(seconds: float) -> str:
    """Return a new id of a reservation that lasts some seconds, to note it before it is made."""
    return id_of(int((time.time() + seconds) * 1000), os.urandom(12).hex())


def id_of(expires: int, new_id: str) -> str:
    """Return the id of a reservation: its expiry comes first, so that SQLite finds it by that.

    Args:
        expires: When it expires, in milliseconds since 1970.
        new_id: What no other reservation has.
    """
    return f"{expires:014}-{new_id}"


class BudgetStore(Protocol):
    """Holds the counters and reservations of a project's budgets. Any thread may call it.

    Each step is atomic over all of its budgets. Before each step, reservations whose time is
    over are charged as reserved: held becomes spent and uncertain. A later settlement replaces
    that charge in the window of the reservation, and never adds to it.

    No method but ``reserve`` needs to return soon: callers on an event loop use a thread.
    """

    def reserve(
        self,
        claims: Sequence[Claim],
        *,
        seconds: float,
        deadline: float,
        named: str | None = None,
    ) -> Reservation | Refusal:
        """Reserve the amounts of all claims, or none.

        A claim is refused if ``spent + held + amount > limit`` in the window of the store's clock.

        Args:
            claims: At least one, each of another budget and key.
            seconds: How long the reservation lasts, by the store's clock.
            deadline: When to stop waiting for the store, by ``time.monotonic``.
            named: The id to use, which ``reservation_id`` has made; None: the store makes one.

        Raises:
            StoreUnreachableError: The store can't be reached.
            StoreBusyError: The deadline passed.
        """

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Replace a reservation by what was used. An unknown or settled one is ignored.

        Args:
            reservation: Its id.
            amounts: What was used, for each claim in order; None: unknown, so that the reserved
                amount is charged as uncertain.

        Raises:
            StoreUnreachableError: The store can't be reached.
        """

    def add(
        self, claims: Sequence[Claim], *, once: str | None = None, deadline: float | None = None
    ) -> None:
        """Add amounts to ``spent`` without a reservation and whatever the limit.

        Args:
            claims: What to add, each to the window of the store's clock.
            once: An id, with which the amounts are added once, however often it is called.
            deadline: When to stop waiting for the store, by ``time.monotonic``.

        Raises:
            StoreUnreachableError: The store can't be reached.
            StoreBusyError: The deadline passed.
        """

    def figures(self, budget: str, calendar: Calendar, *, key: str | None = None) -> list[Figures]:
        """Return the counters of a budget's current window, by key; without ``key``: all keys.

        Raises:
            StoreUnreachableError: The store can't be reached.
        """

    def reset(self, budget: str, *, key: str | None = None) -> None:
        """Set ``spent`` and ``uncertain`` to 0 in all windows of a budget; ``held`` stays.

        A charge that was reset is not corrected by a late settlement.

        Args:
            budget: The budget's name.
            key: The only key to reset; None: all keys.

        Raises:
            StoreUnreachableError: The store can't be reached.
        """

    def close(self) -> None:
        """Close files and connections. The next step opens them again."""
