"""Slots: limits how many calls run at once, and how many of them use one model."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Literal

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MODEL_SHARE = 4
"""Largest ratio of the slots that one model has to those that stay free (at least one stays free).
With 4, a model that hangs takes at most four fifths of the slots and leaves a fifth to others."""


class SlotRequest:
    """A request for a slot, and the slot once it is granted; it can be used repeatedly.

    Args:
        model: The model that the slot is counted against.
        on_granted: Called, in any thread, when a slot is granted after a wait.
    """

    def __init__(self, model: Hashable, on_granted: Callable[[], None]) -> None:
        self.model = model
        self.on_granted = on_granted
        self.state: Literal["none", "waits", "has"] = "none"
        self.number = 0
        """The number of the current wait, unique within the process."""


class Slots:
    """A fixed number of slots, granted in the order of the requests.

    While a model has its full share, its requests wait and later requests for other models are
    granted first. All methods may be called from any thread.

    Args:
        total: The number of slots.
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

    def take(self, request: SlotRequest, *, again: bool = False) -> int | None:
        """Take a slot, or wait for one.

        Args:
            request: The request; it must not have a slot.
            again: The request had a slot and released it for a while: it precedes new ones.

        Returns:
            The number of the wait that begins; None if a slot was free.
        """
        with self._lock:
            request.number = next(self._numbers)
            if self._may_take(request.model) and not self._waits_before(request.model, again=again):
                self._grant(request)
                return None
            request.state = "waits"
            queue = self._queues[not again]
            queue.setdefault(request.model, OrderedDict())[request.number] = request
            return request.number

    def give_back(self, request: SlotRequest) -> Literal["none", "waits", "has"]:
        """Release the slot or leave the queue; return the previous state. May be repeated."""
        granted: list[SlotRequest] = []
        with self._lock:
            state = request.state
            request.state = "none"
            if state == "waits":
                self._leave(request)
            elif state == "has":
                self._free += 1
                self._taken[request.model] -= 1
                if not self._taken[request.model]:
                    del self._taken[request.model]
                granted = self._grant_waiting()
        for other in granted:
            other.on_granted()
        return state

    def give_up(self, request: SlotRequest, number: int) -> bool:
        """Leave the queue if the wait with this number still goes on; return whether it did."""
        with self._lock:
            if request.state != "waits" or request.number != number:
                return False
            request.state = "none"
            self._leave(request)
            return True

    # -- the caller must hold the lock

    def _may_take(self, model: Hashable) -> bool:
        taken = self._taken.get(model, 0)
        return self._free > 0 if not taken else taken < MODEL_SHARE * (self._free - 1)

    def _waits_before(self, model: Hashable, *, again: bool) -> bool:
        """Return whether other requests for the model must be granted first."""
        had, new = self._queues
        return model in had or (not again and model in new)

    def _grant(self, request: SlotRequest) -> None:
        request.state = "has"
        self._free -= 1
        self._taken[request.model] += 1

    def _leave(self, request: SlotRequest) -> None:
        for queue in self._queues:
            waits = queue.get(request.model)
            if waits and waits.pop(request.number, None) is not None and not waits:
                del queue[request.model]

    def _grant_waiting(self) -> list[SlotRequest]:
        granted: list[SlotRequest] = []
        while (request := self._next()) is not None:
            self._leave(request)
            self._grant(request)
            granted.append(request)
        return granted

    def _next(self) -> SlotRequest | None:
        """Return the oldest waiting request for a model that may take a slot, or None."""
        if not self._free or not any(self._queues):
            return None
        for queue in self._queues:
            heads = [next(iter(w.values())) for model, w in queue.items() if self._may_take(model)]
            if heads:
                return min(heads, key=lambda request: request.number)
        return None


_Queue = OrderedDict["Hashable", OrderedDict[int, SlotRequest]]
