"""An inbox that takes items from any thread, at any moment, and never waits."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Inbox(Generic[T]):
    """Hands items to ``fold``, one at a time, under a lock that ``put`` never waits for.

    An abandoned stream reports its attempt from a finaliser, and Python runs finalisers in the
    middle of whatever a thread does, also while it holds this lock. A plain lock would hang there
    for ever, and a reentrant one would let the item in between a read and its write.

    Args:
        fold: Takes one item into the state that the lock guards. Must not raise.
    """

    def __init__(self, fold: Callable[[T], None]) -> None:
        self._fold = fold
        self._items: deque[T] = deque()
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """Leave an item; fold it now, or leave that to whoever holds the lock next."""
        items = self._items
        items.append(item)
        if self._lock.acquire(False):
            try:
                while items:
                    self._fold(items.popleft())
            finally:
                self._lock.release()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Hold the lock with every item folded, to read or to swap the state."""
        with self._lock:
            self.fold_all()
            yield

    def fold_all(self) -> None:
        """Fold what waits; for who holds the lock, in ``settled``."""
        while self._items:
            self._fold(self._items.popleft())
