"""Cooldown: a model that keeps failing is passed over for a while, then asked by one call first."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_modelmgr.runtime.forks import AFTER_FORK

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
"""Models whose failures are remembered, and prompts; what failed first is forgotten first."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """One call, as far as cooldowns depend on it. Two calls are never equal.

    Attributes:
        agent_name: Its agent.
        seconds: The agent's ``cooldown_seconds``: how long a model is passed over at first; 0:
            never.
        timeout: Seconds that it would wait for a model's content.
        prompt: Returns what tells its prompt from others.
    """

    agent_name: str
    seconds: float
    timeout: float
    prompt: Callable[[], Hashable]


@dataclass(slots=True)
class _Health:
    """What is known of a model since it last answered.

    Attributes:
        waits: Seconds that callers waited before its failures, the longest; infinite where the
            failure would be any caller's.
        prompts: The prompts of its last failures, where they may have been the cause.
        opened: When its cooldown started; None: there is none.
        timeout: The cooldown holds for callers that would wait no longer than this.
        is_long: The cooldown is a long one.
        cooldowns: How many have started with no answer between them.
        probe: The call that finds out whether it is well again.
    """

    waits: list[float] = field(default_factory=list)
    prompts: deque[Hashable] = field(default_factory=lambda: deque(maxlen=FAILURES_IN_A_ROW))
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

    def count(self, effect: HealthEffect, now: float, *, was_probe: bool) -> None:
        """Count a failure; the third in a row, or one that says enough, starts a cooldown."""
        self.waits = heapq.nlargest(FAILURES_IN_A_ROW, [*self.waits, effect.waited])
        at_once = effect.kind != "counts"
        enough = len(self.waits) == FAILURES_IN_A_ROW
        timeout = math.inf if at_once else min(self.waits)
        if self.opened is not None and not was_probe:  # asked as a last resort
            self.is_long |= effect.kind == "opens_long"
            self.timeout = max(self.timeout, timeout if at_once or enough else 0)
        elif at_once or enough or was_probe:
            self.timeout = max(timeout, self.timeout) if was_probe else timeout
            self.opened, self.is_long = now, effect.kind == "opens_long"
            self.cooldowns += 1


_Healths = dict[tuple["Hashable", "Hashable"], _Health]


class Cooldowns:
    """The health of all models that a manager's calls have asked, in this process.

    Closed: calls pass. Cooling: none does. Over: exactly one call passes, as a probe; it
    ends the cooldown or starts a longer one. All methods may be called from any thread.

    How long a cooldown is, each caller's own ``cooldown_seconds`` says. Failures that an agent's
    requests may have caused hold for the agent alone, those that a prompt may have caused for
    calls with this prompt, and time-outs for callers that would wait no longer.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._models: _Healths = {}  # by model, and by agent or None: for all
        self._prompts: _Healths = {}  # by model and prompt
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Start without any failures, with a new lock: a thread of the parent may hold the old."""
        self._lock = threading.Lock()
        self._models = {}
        self._prompts = {}

    def now(self) -> float:
        """Return the time by which attempts begin and cooldowns end."""
        return self._clock()

    def seconds_left(self, model: Hashable, caller: Caller) -> float:
        """Return how long a model is still passed over for a caller; 0: it is not."""
        if self._all_well or caller.seconds <= 0:
            return 0.0
        with self._lock:
            ends = [h.end(caller) for h in self._known(model, caller) if h.holds_for(caller)]
        return max(0.0, max(ends, default=0.0) - self._clock())

    def admits(self, model: Hashable, caller: Caller) -> bool:
        """Return whether a call may ask the model; once a cooldown is over the first to ask probes.

        A call that is admitted must report the end: ``answered``, ``failed`` or ``left``.
        """
        if self._all_well or caller.seconds <= 0:  # the common case takes no lock
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
        if self._all_well:
            return
        with self._lock:
            for health in self._known(model, caller):
                if health.opened is not None and began >= health.opened:
                    health.opened = health.probe = None

    def answered(self, model: Hashable, caller: Caller, began: float) -> None:
        """The model answered: it is well, unless the answer began before its cooldown."""
        if self._all_well:
            return
        with self._lock:
            for healths, key in self._keys(model, caller):
                health = healths.get(key)
                if health and (health.opened is None or began >= health.opened):
                    del healths[key]

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
            for health in self._concerned(model, caller, effect, probed):
                was_probe = any(health is one for one in probed)
                # Not what was under way when the cooldown started.
                if health.opened is None or began >= health.opened:
                    health.count(effect, self._clock(), was_probe=was_probe)

    def left(self, model: Hashable, caller: Caller) -> None:
        """The call was left, or failed for a reason of its own: if it probed, another may."""
        if not self._all_well:
            with self._lock:
                self._let_go(model, caller)

    @property
    def _all_well(self) -> bool:
        return not self._models and not self._prompts

    def _concerned(
        self, model: Hashable, caller: Caller, effect: HealthEffect, probed: list[_Health]
    ) -> Iterator[_Health]:
        """Yield what a failure counts for; the lock must be held.

        A prompt that fails again tells nothing new to calls with other prompts.
        """
        if effect.scope == "agent":
            yield _entry(self._models, (model, caller.agent_name))
            return
        of_all = _entry(self._models, (model, None))
        if effect.scope == "prompt":
            prompt = caller.prompt()
            yield _entry(self._prompts, (model, prompt))
            if prompt in of_all.prompts and not any(of_all is one for one in probed):
                return
            of_all.prompts.append(prompt)
        yield of_all

    def _let_go(self, model: Hashable, caller: Caller) -> list[_Health]:
        """End the call's probes and return what they were of; the lock must be held."""
        probed = [h for h in self._known(model, caller) if h.probe is caller]
        for health in probed:
            health.probe = None
        return probed

    def _known(self, model: Hashable, caller: Caller) -> Iterator[_Health]:
        """Yield what holds for a caller; the lock must be held."""
        for healths, key in self._keys(model, caller):
            if (health := healths.get(key)) is not None:
                yield health

    def _keys(
        self, model: Hashable, caller: Caller
    ) -> Iterator[tuple[_Healths, tuple[Hashable, Hashable]]]:
        yield self._models, (model, None)
        yield self._models, (model, caller.agent_name)
        if self._prompts:
            yield self._prompts, (model, caller.prompt())


def _entry(healths: _Healths, key: tuple[Hashable, Hashable]) -> _Health:
    if key not in healths and len(healths) >= MODELS_KEPT:
        del healths[next(iter(healths))]
    return healths.setdefault(key, _Health())
