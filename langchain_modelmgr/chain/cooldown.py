"""Cooldown: a model that keeps failing is passed over for a while, then asked by one call first."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from langchain_modelmgr.chain.policy import Strain

FAILURES_IN_A_ROW = 3
"""Failed attempts, of any calls, with no answer between them, that start a cooldown."""

LONGEST_FACTOR = 10
"""A cooldown that starts again at once is twice as long, up to this many times the first."""

LONG_SECONDS = 900.0
"""The cooldown after a day's quota, a service quota, or an agreement that is being created."""


@dataclass(slots=True)
class _Health:
    failures: int = 0
    cooldowns: int = 0
    until: float = 0.0
    probe: object | None = None


class Cooldowns:
    """The health of all models that a manager's calls have asked, in this process.

    Closed: calls pass. Cooling: none does. Over: exactly one call passes, as a probe; it
    ends the cooldown or starts a longer one. All methods may be called from any thread. A call is
    any object of its own: another's end does not end a probe.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything; in a forked child the lock may be held by a thread that is not."""
        self._lock = threading.Lock()
        self._models: dict[Hashable, _Health] = {}

    def seconds_left(self, model: Hashable) -> float:
        """Return how long a model is still passed over; 0: it is not."""
        health = self._models.get(model)
        return 0.0 if health is None else max(0.0, health.until - self._clock())

    def admits(self, model: Hashable, call: object) -> bool:
        """Tell whether a call may ask the model; once a cooldown is over the first to ask probes.

        Who is admitted must tell the end: ``answered``, ``failed`` or ``left``.
        """
        if model not in self._models:  # the common case takes no lock
            return True
        with self._lock:
            health = self._models.get(model)
            if health is None or not health.until:
                return True
            if health.probe is not None or self._clock() < health.until:
                return False
            health.probe = call
            return True

    def answered(self, model: Hashable) -> None:
        """The model answered: it is well."""
        if model in self._models:
            with self._lock:
                self._models.pop(model, None)

    def failed(self, model: Hashable, call: object, strain: Strain, seconds: float) -> None:
        """An attempt failed.

        Args:
            model: The model.
            call: Whose attempt it was.
            strain: What the failure tells of its health.
            seconds: How long its first cooldown is; 0: it never has one.
        """
        if strain == "none" or seconds <= 0:
            self.left(model, call)
            return
        with self._lock:
            health = self._models.setdefault(model, _Health())
            was_probe = health.probe is call
            if was_probe:
                health.probe = None
            health.failures += 1
            if strain == "counts" and not was_probe and health.failures < FAILURES_IN_A_ROW:
                return
            now = self._clock()
            if now < health.until:
                return  # an attempt that was under way when the cooldown started
            factor = min(LONGEST_FACTOR, 2**health.cooldowns)
            first = max(seconds, LONG_SECONDS) if strain == "opens_long" else seconds
            health.until = now + first * factor
            health.cooldowns += 1

    def left(self, model: Hashable, call: object) -> None:
        """The call was left, or failed for a reason of its own: if it probed, another may."""
        if model in self._models:
            with self._lock:
                health = self._models.get(model)
                if health is not None and health.probe is call:
                    health.probe = None
