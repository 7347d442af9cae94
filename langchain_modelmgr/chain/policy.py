"""Decides and does nothing: after this failure retry here, go to the next model, or stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_modelmgr.bedrock.failures import died_before_reply
from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.errors import BedrockError

BACKOFF_BASE_SECONDS = 0.5
"""Upper bound of the first sleep on the last candidate; doubles with each further one."""

BACKOFF_CAP_SECONDS = 20.0
"""No sleep is longer, whatever the service asks: botocore's own cap for its standard mode."""

LAST_CANDIDATE_RETRIES = 2
"""Further attempts on the last candidate, where there is nobody left to go to."""

LEAST_ATTEMPT_SECONDS = 0.1
"""An attempt with less time than this is not begun: Bedrock's fastest answers take longer."""

FAIR_TIMEOUT_SECONDS = 5.0
"""A time-out that was set shorter says nothing of the model's health."""


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
    """Raise: no other model could mend this, none is left, or there is no time."""

    out_of_time: bool = False


Decision = Retry | NextCandidate | Stop


@dataclass(frozen=True, slots=True)
class History:
    """What has happened in this call so far.

    Attributes:
        failures_here: Failed attempts on the current candidate, this one included. At least 1.
        stale_retry_used: True if a dead connection to this candidate was already replaced once.
        candidates_left: How many candidates may still be asked after the current one.
        content_delivered: True once text or a tool call of this answer was handed on.
        seconds_left: Until the call's deadline; None: it has none.
    """

    failures_here: int
    candidates_left: int
    stale_retry_used: bool = False
    content_delivered: bool = False
    seconds_left: float | None = None


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
    left = history.seconds_left
    if left is not None and left < LEAST_ATTEMPT_SECONDS:
        return Stop(out_of_time=True)
    if died_before_reply(failure) and not history.stale_retry_used:
        return Retry(delay=0.0)
    if history.candidates_left:
        return NextCandidate(larger_window=isinstance(failure, BedrockContextOverflowError))
    retries_used = history.failures_here - 1 - history.stale_retry_used
    if not failure.is_retryable or failure.is_lasting or retries_used >= max_retries:
        return Stop()
    return _after_a_sleep(failure, retries_used, left, jitter)


Strain = Literal["none", "counts", "opens", "opens_long"]
"""What a failure does to its model's cooldown: nothing; it counts, and the third in a row starts
one; it starts one at once; it starts a long one."""


def strain(failure: BedrockError, timeout: float) -> Strain:
    """Return what a failure tells of its model's health.

    Args:
        failure: The classified failure.
        timeout: Seconds that the attempt had: a short time-out is its caller's choice.
    """
    if failure.is_lasting:
        return "opens_long"
    if isinstance(failure, BedrockPermissionDeniedError | BedrockNotFoundError):
        return "opens"
    if isinstance(failure, BedrockTimeoutError):
        return "counts" if timeout >= FAIR_TIMEOUT_SECONDS else "none"
    passing = BedrockRateLimitError | BedrockAPIError | BedrockConnectionError
    return "counts" if isinstance(failure, passing) else "none"


def always_itself(failure: BedrockError) -> bool:
    """Tell whether a call that ends in this failure raises it as it is, whatever came before.

    LangChain's summarisation middleware knows an overflow by its class alone; and what stopped
    the chain at once is the cause that its user must see.
    """
    return isinstance(failure, BedrockContextOverflowError) or _is_hopeless(failure)


def _is_hopeless(failure: BedrockError) -> bool:
    return isinstance(failure, BedrockAuthenticationError | BedrockInvalidRequestError)


def _after_a_sleep(
    failure: BedrockError,
    retries_used: int,
    left: float | None,
    jitter: Callable[[float, float], float],
) -> Retry | Stop:
    """Full jitter, on top of what the service asked for: it asked all its callers the same."""
    asked = min(BACKOFF_CAP_SECONDS, failure.retry_after or 0.0)
    room = math.inf if left is None else left - LEAST_ATTEMPT_SECONDS - asked
    if room < 0:
        return Stop(out_of_time=True)  # no sleep outlives the deadline
    ceiling = min(BACKOFF_CAP_SECONDS - asked, BACKOFF_BASE_SECONDS * 2.0**retries_used, room)
    return Retry(asked + jitter(0.0, ceiling))
