"""Connections to SQLite that no fork can catch in the middle of a call.

SQLite has locks that all connections of a process share. If a thread holds one while another
forks, the child waits for it for ever as soon as it opens a database of its own (run with SQLite
3.40 on Linux). So a fork waits until no thread is in a call into SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_FORK_SECONDS = 1.0
"""How long a fork waits. A call that takes longer waits for another connection's transaction, and
then holds none of SQLite's shared locks."""


class _ForkGate:
    """Counts the threads that are in SQLite, and lets a fork wait until there are none.

    While a fork waits, no further thread enters: threads that enter again and again would
    otherwise keep it waiting.
    """

    def __init__(self) -> None:
        self._is_registered = False
        self._open()

    def _open(self) -> None:
        self._changed = threading.Condition()
        self._inside: list[int] = []
        self._forking = False

    def __enter__(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            # A thread that is inside enters again where a cursor is collected.
            while self._forking and thread not in self._inside:
                self._changed.wait(_FORK_SECONDS)
            self._inside.append(thread)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside.remove(threading.get_ident())
            if self._forking:
                self._changed.notify_all()

    def register(self) -> None:
        """Let forks wait from now on."""
        if not self._is_registered and hasattr(os, "register_at_fork"):
            self._is_registered = True
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_in_parent,
                after_in_child=self._open,
            )

    def _before_fork(self) -> None:
        self._changed.acquire()
        self._forking = True
        self._changed.wait_for(lambda: not self._inside, _FORK_SECONDS)

    def _after_in_parent(self) -> None:
        self._forking = False
        self._changed.notify_all()
        self._changed.release()


GATE = _ForkGate()
"""The gate around calls into SQLite. A thread that is inside may enter again."""


def connect(name: str, **options: Any) -> sqlite3.Connection:
    """Open a database as ``sqlite3.connect`` does."""
    GATE.register()
    with GATE:
        return sqlite3.connect(name, factory=_Connection, **options)


class _Cursor(sqlite3.Cursor):
    def __del__(self) -> None:
        # A cursor that is collected resets its statement, which is a call into SQLite.
        with suppress(sqlite3.Error):
            self.close()

    def execute(self, *arguments: Any) -> Self:
        with GATE:
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> Self:
        with GATE:
            return super().executemany(*arguments)

    def fetchone(self) -> Any:
        with GATE:
            return super().fetchone()

    def fetchmany(self, *arguments: Any) -> list[Any]:
        with GATE:
            return super().fetchmany(*arguments)

    def fetchall(self) -> list[Any]:
        with GATE:
            return super().fetchall()

    def __next__(self) -> Any:
        with GATE:
            return super().__next__()

    def close(self) -> None:
        with GATE:
            super().close()


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Callable[[sqlite3.Connection], Any] | None = None) -> Any:
        return super().cursor(factory or _Cursor)

    def execute(self, *arguments: Any) -> Any:
        # sqlite3's own makes a plain cursor, not one of ``self.cursor()``.
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        return self.cursor().executemany(*arguments)

    def serialize(self, **options: Any) -> bytes:
        with GATE:
            return super().serialize(**options)

    def deserialize(self, data: Any, /, **options: Any) -> None:
        with GATE:
            super().deserialize(data, **options)

    def close(self) -> None:
        with GATE:
            super().close()

    def __del__(self) -> None:
        # A connection that is collected closes its database, which is a call into SQLite. Python
        # 3.13 warns of it.
        with suppress(sqlite3.Error):
            self.close()
