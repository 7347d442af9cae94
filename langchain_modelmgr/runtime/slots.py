"""Slots: how many calls may run at once, and how many of them one model may have."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Literal

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MODEL_SHARE = 4
"""A model may have this many times as many slots as it leaves free (and one is left in any case):
four fifths of what it finds. A model that hangs then leaves a fifth of the slots to others."""


class SlotRequest:
    """One wait for a slot of one model, and the slot; it may be taken again and again.

    Args:
        model: Whose share the slot counts to.
        on_granted: Called, in any thread, when a slot comes free that was waited for.
    """

    def __init__(self, model: Hashable, on_granted: Callable[[], None]) -> None:
        self.model = model
        self.on_granted = on_granted
        self.state: Literal["none", "waits", "has"] = "none"
        self.number = 0
        """Which wait this is: no other has the same."""


class Slots:
    """A bounded number of slots, granted in the order in which they were asked for.

    A model that has its share waits, and those behind it go first. All methods may be called from
    any thread.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._taken: Counter[Hashable] = Counter()
        self._free = total
        # Requests that wait, by model: those that had a slot before, and new ones.
        self._queues: tuple[_Queue, _Queue] = (OrderedDict(), OrderedDict())
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Free all slots: a forked child runs none of its parent's calls."""
        self._lock = threading.Lock()
        self._taken = Counter()
        self._free = self.total
        self._queues = (OrderedDict(), OrderedDict())

    def taken(self, model: Hashable) -> int:
        """Return how many slots a model has."""
        return self._taken[model]

    def take(self, turn: SlotRequest, *, again: bool = False) -> int | None:
        """Take a slot, or wait for one.

        Args:
            turn: Who takes it; it must have none.
            again: It had one before and gave it back for a while: it goes before new ones.

        Returns:
            The number of the wait that begins; None: a slot was free.
        """
        with self._lock:
            turn.number = next(self._numbers)
            if self._may_take(turn.model) and not self._waits_before(turn.model, again=again):
                self._grant(turn)
                return None
            turn.state = "waits"
            queue = self._queues[not again]
            queue.setdefault(turn.model, OrderedDict())[turn.number] = turn
            return turn.number

    def give_back(self, turn: SlotRequest) -> Literal["none", "waits", "has"]:
        """Give a slot back, or leave the queue; return which it was. Again, it does nothing."""
        granted: list[SlotRequest] = []
        with self._lock:
            state = turn.state
            turn.state = "none"
            if state == "waits":
                self._leave(turn)
            elif state == "has":
                self._free += 1
                self._taken[turn.model] -= 1
                if not self._taken[turn.model]:
                    del self._taken[turn.model]
                granted = self._grant_waiting()
        for other in granted:
            other.on_granted()
        return state

    def give_up(self, turn: SlotRequest, number: int) -> bool:
        """Leave the queue if that very wait still goes on; return whether it did."""
        with self._lock:
            if turn.state != "waits" or turn.number != number:
                return False
            turn.state = "none"
            self._leave(turn)
            return True

    # -- the caller must hold the lock

    def _may_take(self, model: Hashable) -> bool:
        taken = self._taken.get(model, 0)
        return self._free > 0 if not taken else taken < MODEL_SHARE * (self._free - 1)

    def _waits_before(self, model: Hashable, *, again: bool) -> bool:
        """Return whether others of the model wait that go first."""
        had, new = self._queues
        return model in had or (not again and model in new)

    def _grant(self, turn: SlotRequest) -> None:
        turn.state = "has"
        self._free -= 1
        self._taken[turn.model] += 1

    def _leave(self, turn: SlotRequest) -> None:
        for queue in self._queues:
            waiting = queue.get(turn.model)
            if waiting is not None and waiting.pop(turn.number, None) is not None and not waiting:
                del queue[turn.model]

    def _grant_waiting(self) -> list[SlotRequest]:
        granted: list[SlotRequest] = []
        while (turn := self._next()) is not None:
            self._leave(turn)
            self._grant(turn)
            granted.append(turn)
        return granted

    def _next(self) -> SlotRequest | None:
        """Return who waits longest, of the models that may take a slot."""
        if not self._free or not any(self._queues):
            return None
        for queue in self._queues:
            heads = [next(iter(w.values())) for model, w in queue.items() if self._may_take(model)]
            if heads:
                return min(heads, key=lambda turn: turn.number)
        return None


_Queue = OrderedDict["Hashable", OrderedDict[int, SlotRequest]]
