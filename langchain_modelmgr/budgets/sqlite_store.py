"""SqliteStore: budgets of all processes of one host, in a file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets import steps
from langchain_modelmgr.budgets.sqlite_tables import SqliteTables, open_file
from langchain_modelmgr.budgets.steps import Ids, Part
from langchain_modelmgr.budgets.store import (
    Claim,
    Figures,
    Refusal,
    Reservation,
    StoreBusyError,
    StoreUnreachableError,
    id_of,
)
from langchain_modelmgr.ledger.fork_safe_sqlite import GATE
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from langchain_modelmgr.budgets.windows import Calendar

SETTLE_SECONDS = 30.0
"""Seconds that a settlement, a status or a reset waits for other processes."""

_MOST_AT_ONCE = 256
"""Steps of one transaction: others can take the lock after it."""

_MOST_HELD = 100_000
"""Reservations whose parts a process remembers, so that settling need not read them."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_NEVER_CLOSED: list[object] = []
"""Connections of a parent process: SQLite forbids a child even to close them."""


class _Step:
    """One step that waits for a transaction; its result or error is set when it is over."""

    __slots__ = ("deadline", "error", "is_over", "result", "run")

    def __init__(self, run: Callable[[SqliteTables, int], Any], deadline: float) -> None:
        self.run = run
        self.deadline = deadline
        self.is_over = False
        self.result: Any = None
        self.error: Exception | None = None


class SqliteStore:
    """Holds budgets in an SQLite file in WAL mode, with one connection a process.

    Steps of several threads that wait for the connection are committed in one transaction, by
    the thread that gets it.

    Args:
        path: The file; it is made if it is missing.
        clock: Returns seconds since 1970; tests replace it.
    """

    name = "SQLite"

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._ids = Ids()
        self._held: dict[str, Sequence[Part]] = {}
        self._connection: sqlite3.Connection | None = None
        self._tables: SqliteTables | None = None
        self._new_locks()
        AFTER_FORK.watch(self)

    def _new_locks(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Step] = deque()

    def reset_after_fork(self) -> None:
        """Forget the parent's connection; the parent's reservations are the parent's."""
        _NEVER_CLOSED.append((self._connection, self._tables))
        self._connection = self._tables = None
        self._ids.renew()
        self._held = {}
        self._new_locks()

    # -- the protocol

    def reserve(
        self,
        claims: Sequence[Claim],
        *,
        seconds: float,
        deadline: float,
        named: str | None = None,
    ) -> Reservation | Refusal:
        """Reserve the amounts of all claims, or none."""
        lasts, new_id = int(seconds * 1000), self._ids.new()
        if len(self._held) >= _MOST_HELD:  # nobody settles them: they expire in the file
            self._held.clear()
        result: Reservation | Refusal = self._do(
            lambda tables, now: steps.reserve(
                tables, claims, named or id_of(now + lasts, new_id), now
            ),
            deadline,
        )
        return result

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Replace a reservation by what was used."""
        held = self._held.pop(reservation, None)
        self._do(lambda tables, _: steps.settle(tables, reservation, amounts, held))

    def add(
        self,
        claims: Sequence[Claim],
        *,
        once: str | None = None,  # noqa: ARG002 - a transaction that failed has added nothing
        deadline: float | None = None,
    ) -> None:
        """Add amounts to ``spent`` without a reservation."""
        self._do(lambda tables, now: steps.add(tables, claims, now), deadline)

    def figures(self, budget: str, calendar: Calendar, *, key: str | None = None) -> list[Figures]:
        """Return the counters of a budget's current window, by key."""

        def read(tables: SqliteTables, now: int) -> list[Figures]:
            steps.expire(tables, now)
            start, end = calendar.window(now)
            return [
                Figures(budget, name, start, end, *counter[:3])
                for name, counter in tables.in_window(budget, start, key)
            ]

        found: list[Figures] = self._do(read)
        return found

    def reset(self, budget: str, *, key: str | None = None) -> None:
        """Set ``spent`` and ``uncertain`` to 0 in all windows of a budget."""

        def change(tables: SqliteTables, now: int) -> None:
            steps.expire(tables, now)
            tables.reset(budget, key)

        self._do(change)

    def close(self) -> None:
        """Close the file. The next step opens it again."""
        with self._lock:
            self._abandon()

    # -- transactions

    def _do(self, run: Callable[[SqliteTables, int], Any], deadline: float | None = None) -> Any:
        until = time.monotonic() + SETTLE_SECONDS if deadline is None else deadline
        step = _Step(run, until)
        self._waiting.append(step)
        try:
            self._wait_for(step)
        except BaseException:  # interrupted: nobody would settle it
            self._withdrawn(step)
            raise
        if step.error is not None:
            raise step.error
        return step.result

    def _wait_for(self, step: _Step) -> None:
        """Run the steps that wait, unless another thread runs this one."""
        while not step.is_over:
            if self._lock.acquire(timeout=max(0.0, step.deadline - time.monotonic())):
                try:
                    if not step.is_over:
                        self._run_together()
                finally:
                    self._lock.release()
            elif self._withdrawn(step):
                raise StoreBusyError

    def _withdrawn(self, step: _Step) -> bool:
        """Return whether a step was removed before it ran; else it is running now."""
        try:
            self._waiting.remove(step)
        except ValueError:
            time.sleep(0)
            return False
        return True

    def _run_together(self) -> None:
        """Run the steps that wait, in one transaction."""
        batch: list[_Step] = []
        while self._waiting and len(batch) < _MOST_AT_ONCE:
            batch.append(self._waiting.popleft())
        # What an interrupt leaves: the steps of other threads did not happen either.
        error: Exception | None = StoreUnreachableError("interrupted")
        try:
            self._transaction(batch)
            error = None
        except StoreBusyError as busy:
            error = busy
        except (sqlite3.Error, OSError, ValueError, TypeError) as failure:
            self._abandon()
            error = StoreUnreachableError(type(failure).__name__)
            error.__cause__ = failure
        finally:
            for step in batch:
                step.error = error
                step.is_over = True

    def _transaction(self, batch: Sequence[_Step]) -> None:
        until = max([step.deadline for step in batch])
        with GATE:
            tables = self._tables or self._open(until)
            _waiting_for_others(tables.begin, until)
            try:
                now = int(self._clock() * 1000)
                tables.prune(now)
                for step in batch:
                    step.result = step.run(tables, now)
                tables.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended it already
                    tables.execute("ROLLBACK")
                raise

    def _open(self, until: float) -> SqliteTables:
        self._connection = connection = _waiting_for_others(lambda: open_file(self.path), until)
        self._tables = SqliteTables(connection, self._held)
        return self._tables

    def _abandon(self) -> None:
        connection, self._connection, self._tables = self._connection, None, None
        if connection is not None:
            with GATE, suppress(sqlite3.Error):
                connection.close()


def _waiting_for_others(call: Callable[[], Any], until: float) -> Any:
    """Call a function again while another process holds the lock.

    Raises:
        StoreBusyError: The time is over.
    """
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                raise
            if time.monotonic() >= until:
                raise StoreBusyError from None
