"""Resets in a forked child what it must not share with its parent: locks, sockets, accounts."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Resettable(Protocol):
    """What starts anew in a forked child."""

    def reset_after_fork(self) -> None:
        """Start anew; the parent goes on with what was there."""


class AfterFork:
    """Resets everything that it watches, as long as that lives, in every forked child."""

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Resettable] = weakref.WeakSet()
        self._registered = False

    def watch(self, thing: Resettable) -> None:
        """Reset ``thing`` in forked children."""
        self._watched.add(thing)
        if not self._registered and hasattr(os, "register_at_fork"):
            self._registered = True
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        for thing in list(self._watched):
            thing.reset_after_fork()


AFTER_FORK = AfterFork()
