"""The order in which one call tries its candidates: in order, then those in a cooldown."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.cooldown import Caller, Cooldowns
    from langchain_modelmgr.chain.request import ChatRequest
    from langchain_modelmgr.errors import BedrockError


@dataclass(slots=True, eq=False)
class CandidateState:
    """The state of one candidate in a call.

    Attributes:
        candidate: The candidate.
        key: The key of its health in ``Cooldowns``.
        failures: Its failed attempts in this call.
        stale_retry_used: True if a dead connection to it was already replaced once.
        failure: Its last failure.
        passed_over: Why it was not tried in its order; empty: it was, or it still can be.
        cools_until: When its cooldown ends, by the cooldowns' clock.
    """

    candidate: Candidate
    key: Hashable
    failures: int = 0
    stale_retry_used: bool = False
    failure: BedrockError | None = None
    passed_over: str = ""
    cools_until: float = 0.0


class CandidateOrder:
    """The order in which one call tries its candidates.

    A candidate in a cooldown is passed over, and tried when no other is left: the one with the
    cooldown that ends first is tried first.

    Args:
        request: The request.
        cooldowns: The health of all models.
        caller: The call.

    Attributes:
        last: The last one that was tried in order; None: all are in a cooldown.
        resting: Those that were passed over and not tried so far.
        passed_over: True once a candidate was passed over.
    """

    def __init__(
        self,
        request: ChatRequest,
        cooldowns: Cooldowns,
        caller: Caller,
    ) -> None:
        self._cooldowns = cooldowns
        self._caller = caller
        self._request = request
        self._waiting: deque[Candidate] = deque()
        self._current: CandidateState | None = None
        self.resting: list[CandidateState] = []
        self.passed_over = False
        self.last: CandidateState | None = None

    def start(self, candidates: Iterable[Candidate]) -> None:
        """Make the first candidate that isn't in a cooldown the current one.

        Args:
            candidates: Those that can serve the request, in order; at least one.
        """
        self._waiting.extend(candidates)
        self.go_on()

    @property
    def current(self) -> CandidateState:
        """The candidate that is tried now.

        Raises:
            RuntimeError: The order was not started.
        """
        if self._current is None:
            raise RuntimeError("no candidate is tried before start()")
        return self._current

    @property
    def left(self) -> int:
        """How many candidates can still be tried."""
        return len(self._waiting) + len(self.resting)

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """The candidates that were not tried yet, in order."""
        return tuple(self._waiting)

    @property
    def larger_windows_left(self) -> int:
        """How many of the candidates left have a larger context window than the current one."""
        window = _window(self.current.candidate)
        return sum(_window(candidate) > window for candidate in self._candidates_left())

    def drop_smaller_windows(self) -> list[Candidate]:
        """Drop the candidates left without a larger context window than the current one's.

        Returns:
            Those that were dropped.
        """
        window = _window(self.current.candidate)
        dropped = [c for c in self._candidates_left() if _window(c) <= window]
        self._waiting = deque(c for c in self._waiting if _window(c) > window)
        self.resting = [s for s in self.resting if _window(s.candidate) > window]
        return dropped

    def why_passed_over(self, candidate: Candidate) -> str:
        """Return why a candidate in a cooldown was passed over; empty if it was not."""
        return next((s.passed_over for s in self.resting if s.candidate is candidate), "")

    def _candidates_left(self) -> list[Candidate]:
        return [*self._waiting, *(state.candidate for state in self.resting)]

    def rearrange(self, candidates: Iterable[Candidate]) -> None:
        """Replace the candidates that were not tried yet."""
        self._waiting = deque(candidates)

    def go_on(self) -> None:
        """Make the next candidate the current one."""
        self._current = self._next()

    def go_back(self) -> None:
        """Make the last candidate in order the current one again, after the last resorts."""
        if self.last is not None:
            self._current = self.last

    def _next(self) -> CandidateState:
        while self._waiting:
            candidate = self._waiting.popleft()
            state = CandidateState(candidate, candidate.settings.health_key(self._request))
            if self._cooldowns.admits(state.key, self._caller):
                self.last = state
                return state
            left = self._cooldowns.seconds_left(state.key, self._caller)
            state.passed_over, state.cools_until = _why(left), self._cooldowns.now() + left
            self.resting.append(state)
            self.passed_over = True
        state = min(self.resting, key=lambda state: state.cools_until)
        self.resting.remove(state)
        return state


def _window(candidate: Candidate) -> int:
    return candidate.settings.model.context_window or 0


def _why(seconds: float) -> str:
    if not seconds:
        return "Model is cooling down after failures, and another call is testing it"
    return f"Model is cooling down after failures, for {seconds:.0f} s more"
