"""Who is asked next: candidates in their order, then those that cool down, then the last again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_modelmgr.errors import BedrockContextOverflowError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.cooldown import Caller, Cooldowns
    from langchain_modelmgr.chain.request import ChatRequest
    from langchain_modelmgr.errors import BedrockError


@dataclass(slots=True, eq=False)
class CandidateState:
    """One candidate's part in a call.

    Attributes:
        candidate: The candidate.
        key: What its health is kept by.
        failures: Its failed attempts in this call.
        stale_retry_used: True if a dead connection to it was already replaced once.
        failure: Its last failure.
        passed_over: Why it was not asked in its turn; empty: it was, or its turn is to come.
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
    """The order in which one call asks its candidates.

    Whoever cools down is passed over, and asked when nobody else is left: whose cooldown ends
    first comes first.

    Args:
        candidates: Those that can serve the request, in their order of attempt; at least one.
        request: The request.
        cooldowns: The health of all models.
        caller: The call.

    Attributes:
        current: Whose turn it is.
        last: Who was asked last in the order of attempt; None: all cool down.
        resting: Who was passed over and not asked so far.
        passed_over: True once anybody was passed over.
    """

    def __init__(
        self,
        candidates: Iterable[Candidate],
        request: ChatRequest,
        cooldowns: Cooldowns,
        caller: Caller,
    ) -> None:
        self._cooldowns = cooldowns
        self._caller = caller
        self._request = request
        self._waiting = deque(candidates)
        self.resting: list[CandidateState] = []
        self.passed_over = False
        self.last: CandidateState | None = None
        self.current = self._next()

    @property
    def left(self) -> int:
        """How many candidates may still have their turn."""
        return len(self._waiting) + len(self.resting)

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """Who has not had their turn yet."""
        return tuple(self._waiting)

    def drop(self, failure: BedrockError) -> list[Candidate]:
        """Drop and return whom a failure rules out: after an overflow all but larger windows."""
        if not self.left or not isinstance(failure, BedrockContextOverflowError):
            return []
        window = _window(self.current.candidate)
        left = [*self._waiting, *(turn.candidate for turn in self.resting)]
        self._waiting = deque(c for c in self._waiting if _window(c) > window)
        self.resting = [t for t in self.resting if _window(t.candidate) > window]
        return [candidate for candidate in left if _window(candidate) <= window]

    def go_on(self) -> None:
        """Let the next candidate have its turn."""
        self.current = self._next()

    def _next(self) -> CandidateState:
        while self._waiting:
            candidate = self._waiting.popleft()
            turn = CandidateState(candidate, candidate.settings.health_key(self._request))
            if self._cooldowns.admits(turn.key, self._caller):
                self.last = turn
                return turn
            left = self._cooldowns.seconds_left(turn.key, self._caller)
            turn.passed_over, turn.cools_until = _why(left), self._cooldowns.now() + left
            self.resting.append(turn)
            self.passed_over = True
        turn = min(self.resting, key=lambda turn: turn.cools_until)
        self.resting.remove(turn)
        return turn


def _window(candidate: Candidate) -> int:
    return candidate.settings.model.context_window or 0


def _why(seconds: float) -> str:
    if not seconds:
        return "Model is cooling down after failures, and another call is asking it"
    return f"Model is cooling down after failures, for {seconds:.0f} s more"
