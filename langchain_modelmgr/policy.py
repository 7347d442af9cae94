"""Decides and does nothing: after this failure retry here, go to the next model, or stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_modelmgr.errors import (
    BedrockAuthenticationError,
    BedrockContextOverflowError,
    BedrockInvalidRequestError,
)
from langchain_modelmgr.failures import died_before_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.errors import BedrockError

BACKOFF_BASE_SECONDS = 0.5
"""Upper bound of the first sleep on the last candidate; doubles with each further one."""

BACKOFF_CAP_SECONDS = 20.0
"""No sleep is longer, whatever the service asks: botocore's own cap for its standard mode."""

LAST_CANDIDATE_RETRIES = 2
"""Further attempts on the last candidate, where there is nobody left to go to."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same candidate again after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class NextCandidate:
    """Go to the next candidate; after an overflow only to one with a larger window."""

    larger_window: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Raise: no other model could mend this, or none is left."""


Decision = Retry | NextCandidate | Stop


@dataclass(frozen=True, slots=True)
class History:
    """What has happened in this call so far.

    Attributes:
        failures_here: Failed attempts on the current candidate, this one included. At least 1.
        stale_retry_used: True if a dead connection to this candidate was already replaced once.
        candidates_left: How many candidates may still be asked after the current one.
        content_delivered: True once text or a tool call of this answer was handed on.
    """

    failures_here: int
    candidates_left: int
    stale_retry_used: bool = False
    content_delivered: bool = False


def decide(
    failure: BedrockError,
    history: History,
    *,
    max_retries: int = LAST_CANDIDATE_RETRIES,
    jitter: Callable[[float, float], float],
) -> Decision:
    """Return what to do after a failed attempt.

    Args:
        failure: The classified failure.
        history: What this call has seen so far.
        max_retries: Further attempts that the last candidate has for passing failures.
        jitter: ``random.uniform`` or a test's own.

    Returns:
        The one thing to do next.
    """
    if history.content_delivered or _is_hopeless(failure):
        return Stop()
    if died_before_reply(failure) and not history.stale_retry_used:
        return Retry(delay=0.0)
    if history.candidates_left:
        return NextCandidate(larger_window=isinstance(failure, BedrockContextOverflowError))
    retries_used = history.failures_here - 1 - history.stale_retry_used
    if failure.is_retryable and retries_used < max_retries:
        return Retry(delay=_delay(failure, retries_used, jitter))
    return Stop()


def always_itself(failure: BedrockError) -> bool:
    """Tell whether a call that ends in this failure raises it as it is, whatever came before.

    LangChain's summarisation middleware knows an overflow by its class alone; and what stopped
    the chain at once is the cause that its user must see.
    """
    return isinstance(failure, BedrockContextOverflowError) or _is_hopeless(failure)


def _is_hopeless(failure: BedrockError) -> bool:
    return isinstance(failure, BedrockAuthenticationError | BedrockInvalidRequestError)


def _delay(
    failure: BedrockError, retries_used: int, jitter: Callable[[float, float], float]
) -> float:
    """Full jitter; a time that the service asked for is a lower bound, and capped too."""
    ceiling = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2.0**retries_used)
    asked = min(BACKOFF_CAP_SECONDS, failure.retry_after or 0.0)
    return max(asked, jitter(0.0, ceiling))
