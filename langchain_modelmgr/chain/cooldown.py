"""Cooldown: a model that keeps failing is passed over for a while, then asked by one call first."""

from __future__ import annotations

import heapq
import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from langchain_modelmgr.chain.policy import HealthEffect

FAILURES_IN_A_ROW = 3
"""Failed attempts, of any calls, with no answer between them, that start a cooldown."""

LONGEST_FACTOR = 10
"""A cooldown that starts again at once is twice as long, up to this many times the first."""

LONG_SECONDS = 900.0
"""The cooldown after a day's quota, a service quota, or an agreement that is being created."""

SAME_TIMEOUT = 1.1
"""A time-out up to this many times as long is the same one: its call would fail too."""

MODELS_KEPT = 1_024
"""Models whose failures are remembered; the one that failed first is forgotten first."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """One call, as far as cooldowns depend on it. Two calls are never equal.

    Attributes:
        agent_name: Its agent.
        seconds: The agent's ``cooldown_seconds``: how long a model is passed over at first; 0:
            never.
        timeout: Seconds that it would wait for a model's content.
    """

    agent_name: str
    seconds: float
    timeout: float


@dataclass(slots=True)
class _Health:
    """What is known of a model since it last answered.

    Attributes:
        waits: Seconds that callers waited before its failures, the longest; infinite where the
            failure would be any caller's.
        opened: When its cooldown started; None: there is none.
        timeout: The cooldown holds for callers that would wait no longer than this.
        is_long: The cooldown is a long one.
        cooldowns: How many have started with no answer between them.
        probe: The call that finds out whether it is well again.
    """

    waits: list[float] = field(default_factory=list)
    opened: float | None = None
    timeout: float = math.inf
    is_long: bool = False
    cooldowns: int = 0
    probe: Caller | None = None

    def holds_for(self, caller: Caller) -> bool:
        return self.opened is not None and caller.timeout <= SAME_TIMEOUT * self.timeout

    def end(self, caller: Caller) -> float:
        first = max(caller.seconds, LONG_SECONDS) if self.is_long else caller.seconds
        return (self.opened or 0.0) + first * min(LONGEST_FACTOR, 2.0 ** (self.cooldowns - 1))

    def open(self, now: float, timeout: float, *, is_long: bool) -> None:
        self.opened, self.timeout, self.is_long = now, timeout, is_long
        self.cooldowns += 1


class Cooldowns:
    """The health of all models that a manager's calls have asked, in this process.

    Closed: calls pass. Cooling: none does. Over: exactly one call passes, as a probe; it
    ends the cooldown or starts a longer one. All methods may be called from any thread.

    How long a cooldown is, each caller's own ``cooldown_seconds`` says. Failures that its requests
    may have caused hold for an agent alone; time-outs for callers that would wait no longer.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything; in a forked child the lock may be held by a thread that is not."""
        self._lock = threading.Lock()
        self._models: dict[tuple[Hashable, str | None], _Health] = {}

    def now(self) -> float:
        """Return the time by which attempts begin and cooldowns end."""
        return self._clock()

    def seconds_left(self, model: Hashable, caller: Caller) -> float:
        """Return how long a model is still passed over for a caller; 0: it is not."""
        if not self._models or caller.seconds <= 0:
            return 0.0
        with self._lock:
            ends = [h.end(caller) for h in self._known(model, caller) if h.holds_for(caller)]
        return max(0.0, max(ends, default=0.0) - self._clock())

    def admits(self, model: Hashable, caller: Caller) -> bool:
        """Return whether a call may ask the model; once a cooldown is over the first to ask probes.

        A call that is admitted must report the end: ``answered``, ``failed`` or ``left``.
        """
        if not self._models or caller.seconds <= 0:  # the common case takes no lock
            return True
        with self._lock:
            held = [h for h in self._known(model, caller) if h.holds_for(caller)]
            now = self._clock()
            if any(h.probe is not None or now < h.end(caller) for h in held):
                return False
            for health in held:
                health.probe = caller
            return True

    def content_came(self, model: Hashable, caller: Caller, began: float) -> None:
        """A stream gave its first content: others may ask, and a failure to come counts on.

        Args:
            model: The model.
            caller: Whose attempt it is.
            began: When the attempt began, by ``now``.
        """
        if self._models:
            with self._lock:
                for health in self._known(model, caller):
                    if health.opened is not None and began >= health.opened:
                        health.opened = health.probe = None

    def answered(self, model: Hashable, caller: Caller, began: float) -> None:
        """The model answered: it is well, unless the answer began before its cooldown."""
        if self._models:
            with self._lock:
                for scope in (None, caller.agent_name):
                    health = self._models.get((model, scope))
                    if health and (health.opened is None or began >= health.opened):
                        del self._models[model, scope]

    def failed(self, model: Hashable, caller: Caller, effect: HealthEffect, began: float) -> None:
        """An attempt failed.

        Args:
            model: The model.
            caller: Whose attempt it was.
            effect: What the failure tells of the model's health.
            began: When the attempt began, by ``now``.
        """
        if effect.kind == "none" or caller.seconds <= 0:
            self.left(model, caller)
            return
        with self._lock:
            probed = self._let_go(model, caller)
            health = self._health(model, caller.agent_name if effect.of_agent else None)
            was_probe = any(health is one for one in probed)
            if health.opened is not None and began < health.opened:
                return  # under way when the cooldown started
            health.waits = heapq.nlargest(FAILURES_IN_A_ROW, [*health.waits, effect.waited])
            at_once = effect.kind != "counts"
            enough = len(health.waits) == FAILURES_IN_A_ROW
            timeout = math.inf if at_once else min(health.waits)
            if health.opened is not None and not was_probe:  # asked as a last resort
                health.is_long |= effect.kind == "opens_long"
                health.timeout = max(health.timeout, timeout if at_once or enough else 0)
            elif at_once or enough or was_probe:
                timeout = max(timeout, health.timeout) if was_probe else timeout
                health.open(self._clock(), timeout, is_long=effect.kind == "opens_long")

    def left(self, model: Hashable, caller: Caller) -> None:
        """The call was left, or failed for a reason of its own: if it probed, another may."""
        if self._models:
            with self._lock:
                self._let_go(model, caller)

    def _let_go(self, model: Hashable, caller: Caller) -> list[_Health]:
        """End the call's probes and return what they were of; the lock must be held."""
        probed = [h for h in self._known(model, caller) if h.probe is caller]
        for health in probed:
            health.probe = None
        return probed

    def _known(self, model: Hashable, caller: Caller) -> Iterator[_Health]:
        """Yield what holds for all agents, then for the caller's own; the lock must be held."""
        for scope in (None, caller.agent_name):
            if (health := self._models.get((model, scope))) is not None:
                yield health

    def _health(self, model: Hashable, scope: str | None) -> _Health:
        key = (model, scope)
        if key not in self._models and len(self._models) >= MODELS_KEPT:
            del self._models[next(iter(self._models))]
        return self._models.setdefault(key, _Health())
