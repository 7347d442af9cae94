"""One lock per boto3 session: a session builds clients for one thread at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class SessionLocks:
    """The locks under which clients of boto3 sessions are built.

    boto3's documentation says that sessions are not thread-safe (Boto3 guide, "Session
    reference", read 2026-11-26).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_session: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
        AFTER_FORK.watch(self)

    def of(self, session: Any) -> AbstractContextManager[bool]:
        """Return the lock of a session."""
        with self._lock:
            return self._by_session.setdefault(session, threading.Lock())

    def reset_after_fork(self) -> None:
        """Make new locks: threads of the parent may hold the old ones."""
        self._lock = threading.Lock()
        self._by_session = WeakKeyDictionary()


SESSION_LOCKS = SessionLocks()
"""The locks of this process."""
