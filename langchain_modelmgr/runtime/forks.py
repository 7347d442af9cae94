"""Resets objects in forked children that must not be shared with the parent: locks, sockets."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Resettable(Protocol):
    """An object that is reset in a forked child."""

    def reset_after_fork(self) -> None:
        """Replace locks, threads and connections, and discard the parent's counts.

        Called in the child's only thread, before any other code of the child runs. Objects are
        reset in any order, so this must not use another object that is reset.
        """


class AfterFork:
    """Resets registered objects in every forked child, for as long as they are alive.

    Every object that owns a lock registers itself in its constructor.
    """

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Resettable] = weakref.WeakSet()
        self._registered = False

    def watch(self, resettable: Resettable) -> None:
        """Reset an object in forked children. Only a weak reference to it is kept."""
        self._watched.add(resettable)
        if not self._registered and hasattr(os, "register_at_fork"):
            self._registered = True
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        for resettable in list(self._watched):
            resettable.reset_after_fork()


AFTER_FORK = AfterFork()
"""The objects of this process that are reset in forked children."""
