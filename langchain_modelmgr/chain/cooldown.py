"""Cooldowns: a model that keeps failing is skipped for a while, then probed by a single call."""

from __future__ import annotations

import heapq
import logging
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

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Number of consecutive failed attempts, of any calls, that starts a cooldown."""

LONGEST_FACTOR = 10
"""Consecutive cooldowns double in length, up to this multiple of the first."""

LONG_SECONDS = 900.0
"""The cooldown after a day's quota, a service quota, or an agreement that is being created."""

SAME_TIMEOUT = 1.1
"""Timeouts up to this ratio apart are treated as equal: such a call would fail too."""

SECONDS_BETWEEN_LINES = 3_600.0
"""Once a model's cooldowns have their full length, they are logged at most this often."""

MODELS_KEPT = 1_024
"""Maximum number of models, and of prompts, with remembered failures; the oldest go first."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The properties of a call that cooldowns depend on. Two calls are never equal.

    Attributes:
        agent_name: Its agent.
        seconds: The agent's ``cooldown_seconds``: how long a model is skipped at first; 0:
            never.
        timeout: Seconds that the call waits for a model's content.
        prompt: Returns a value that identifies its prompt.
    """

    agent_name: str
    seconds: float
    timeout: float
    prompt: Callable[[], Hashable]


@dataclass(slots=True)
class _Health:
    """The failures of a model since it last answered.

    Attributes:
        waits: The longest waits before its failures, in seconds; infinite for failures that would
            affect any caller.
        prompts: The prompts of its last failures that a prompt may have caused.
        opened: When its cooldown started; None if there is none.
        timeout: The cooldown applies to callers with at most this timeout.
        is_long: True if the cooldown is a long one.
        cooldowns: Number of consecutive cooldowns without an answer.
        probe: The call that tests whether the model has recovered.
        logged: When its last cooldown was logged.
    """

    waits: list[float] = field(default_factory=list)
    prompts: deque[Hashable] = field(default_factory=lambda: deque(maxlen=FAILURES_IN_A_ROW))
    opened: float | None = None
    timeout: float = math.inf
    is_long: bool = False
    cooldowns: int = 0
    probe: Caller | None = None
    logged: float = -math.inf

    def holds_for(self, caller: Caller) -> bool:
        return self.opened is not None and caller.timeout <= SAME_TIMEOUT * self.timeout

    def seconds(self, caller: Caller) -> float:
        first = max(caller.seconds, LONG_SECONDS) if self.is_long else caller.seconds
        return first * min(LONGEST_FACTOR, 2.0 ** (self.cooldowns - 1))

    def end(self, caller: Caller) -> float:
        return (self.opened or 0.0) + self.seconds(caller)

    def is_news(self, now: float) -> bool:
        """Return whether its cooldowns still become longer, or were not logged for an hour."""
        grows = 2.0 ** (self.cooldowns - 1) <= LONGEST_FACTOR
        return grows or now - self.logged >= SECONDS_BETWEEN_LINES

    def count(self, effect: HealthEffect, now: float, *, was_probe: bool) -> None:
        """Count a failure; the third in a row, or a sufficiently clear one, starts a cooldown."""
        self.waits = heapq.nlargest(FAILURES_IN_A_ROW, [*self.waits, effect.waited])
        at_once = effect.kind != "counts"
        enough = len(self.waits) == FAILURES_IN_A_ROW
        timeout = math.inf if at_once else min(self.waits)
        if self.opened is not None and not was_probe:  # tried as a last resort
            self.is_long |= effect.kind == "opens_long"
            self.timeout = max(self.timeout, timeout if at_once or enough else 0)
        elif at_once or enough or was_probe:
            self.timeout = max(timeout, self.timeout) if was_probe else timeout
            self.opened, self.is_long = now, effect.kind == "opens_long"
            self.cooldowns += 1


_Healths = dict[tuple["Hashable", "Hashable"], _Health]


class Cooldowns:
    """The health of all models that a manager has called, in this process.

    Without a cooldown, calls pass. During one, none does. After it, exactly one call passes as a
    probe, which ends the cooldown or starts a longer one. All methods are thread-safe.

    Each caller's ``cooldown_seconds`` determines the length. Failures that an agent's requests may
    have caused apply to that agent only, failures that a prompt may have caused to calls with this
    prompt, and timeouts to callers with the same or a shorter timeout.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._models: _Healths = {}  # by model, and by agent or None: for all
        self._prompts: _Healths = {}  # by model and prompt
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard all failures, and the lock, which a thread of the parent may hold."""
        self._lock = threading.Lock()
        self._models = {}
        self._prompts = {}

    def now(self) -> float:
        """Return the current time of the cooldowns' clock."""
        return self._clock()

    def seconds_left(self, model: Hashable, caller: Caller) -> float:
        """Return the seconds left of the model's cooldown for a caller; 0 if none applies."""
        if self._all_well or caller.seconds <= 0:
            return 0.0
        with self._lock:
            ends = [h.end(caller) for h in self._known(model, caller) if h.holds_for(caller)]
        return max(0.0, max(ends, default=0.0) - self._clock())

    def admits(self, model: Hashable, caller: Caller) -> bool:
        """Return whether a call may use the model; the first one after a cooldown is its probe.

        An admitted call must report its end: ``answered``, ``failed`` or ``left``.
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
            is_news = any(health.is_news(now) for health in held)
        if is_news:
            logger.info("%s: its cooldown is over; one call tests it", model)
        return True

    def content_came(self, model: Hashable, caller: Caller, began: float) -> None:
        """Record the first content of a stream, which admits other calls; failures still add up.

        Args:
            model: The model.
            caller: The call of the attempt.
            began: When the attempt began, by ``now``.
        """
        if self._all_well:
            return
        with self._lock:
            ended = False
            for health in self._known(model, caller):
                if health.opened is not None and began >= health.opened:
                    health.opened = health.probe = None
                    ended = True
        if ended:
            _log_end(model)

    def answered(self, model: Hashable, caller: Caller, began: float) -> None:
        """Record an answer, which ends a cooldown unless the attempt began before it."""
        if self._all_well:
            return
        with self._lock:
            ended = False
            for healths, key in self._keys(model, caller):
                health = healths.get(key)
                if health and (health.opened is None or began >= health.opened):
                    ended |= health.opened is not None
                    del healths[key]
        if ended:
            _log_end(model)

    def failed(self, model: Hashable, caller: Caller, effect: HealthEffect, began: float) -> bool:
        """Record a failed attempt.

        Args:
            model: The model.
            caller: The call of the attempt.
            effect: The effect of the failure on the model's health.
            began: When the attempt began, by ``now``.

        Returns:
            False if the failure is one more of a model that keeps failing, which was logged less
            than an hour ago; else True.
        """
        if effect.kind == "none" or caller.seconds <= 0:
            self.left(model, caller)
            return True
        longest, was_quiet = 0.0, False
        with self._lock:
            now = self._clock()
            probed = self._end_probes(model, caller)
            for health in self._concerned(model, caller, effect, probed):
                was_probe = any(health is one for one in probed)
                # Ignore attempts that were running when the cooldown started.
                if health.opened is not None and began < health.opened:
                    continue
                before = health.cooldowns
                health.count(effect, now, was_probe=was_probe)
                if health.cooldowns == before:
                    continue
                if health.is_news(now):
                    health.logged, longest = now, max(longest, health.seconds(caller))
                else:
                    was_quiet = True
        if longest:
            logger.info("%s: skipped for %.0f s, because it keeps failing", model, longest)
        return bool(longest) or not was_quiet

    def left(self, model: Hashable, caller: Caller) -> None:
        """Record a call that ended without evidence about the model, so that another may probe."""
        if not self._all_well:
            with self._lock:
                self._end_probes(model, caller)

    @property
    def _all_well(self) -> bool:
        return not self._models and not self._prompts

    def _concerned(
        self, model: Hashable, caller: Caller, effect: HealthEffect, probed: list[_Health]
    ) -> Iterator[_Health]:
        """Yield the entries that a failure counts for. The caller must hold the lock.

        A repeated failure of one prompt does not count for calls with other prompts.
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

    def _end_probes(self, model: Hashable, caller: Caller) -> list[_Health]:
        """End the call's probes and return their entries. The caller must hold the lock."""
        probed = [h for h in self._known(model, caller) if h.probe is caller]
        for health in probed:
            health.probe = None
        return probed

    def _known(self, model: Hashable, caller: Caller) -> Iterator[_Health]:
        """Yield the entries that apply to a caller. The caller of this must hold the lock."""
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


def _log_end(model: Hashable) -> None:
    logger.info("%s: answers again; its cooldown has ended", model)


def _entry(healths: _Healths, key: tuple[Hashable, Hashable]) -> _Health:
    if key not in healths and len(healths) >= MODELS_KEPT:
        del healths[next(iter(healths))]
    return healths.setdefault(key, _Health())
