"""One lock per boto3 session, so that one thread at a time builds clients from it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class SessionLocks:
    """The locks to hold while building clients from boto3 sessions.

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
        """Replace all locks: threads of the parent may hold the old ones."""
        self._lock = threading.Lock()
        self._by_session = WeakKeyDictionary()


SESSION_LOCKS = SessionLocks()
"""The locks of this process."""
