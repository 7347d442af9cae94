"""Decides and does nothing: after this failure retry here, go to the next model, or stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langchain_modelmgr.bedrock.failures import (
    died_before_reply,
    may_be_the_prompts,
    takes_no_request,
)
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
"""A model that was waited for no longer than this may be well."""

LONG_PAUSE_SECONDS = 5.0
"""A connection may break because the reader of a stream paused for so long."""


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
        stands_in: True if the candidate is a fallback, asked because a model before it failed for
            a passing reason: the request was formed for another model.
    """

    failures_here: int
    candidates_left: int
    stale_retry_used: bool = False
    content_delivered: bool = False
    seconds_left: float | None = None
    stands_in: bool = False


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
    if history.content_delivered or is_hopeless(failure, stands_in=history.stands_in):
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


@dataclass(frozen=True, slots=True)
class HealthEffect:
    """What a failure does to its model's cooldown.

    Attributes:
        kind: ``none``: nothing; ``counts``: the third in a row starts one; ``opens``: it starts
            one; ``opens_long``: it starts a long one.
        waited: Seconds that the model was waited for: the failure tells nothing to a caller that
            would wait longer. Infinite: it would be any caller's.
        scope: Whose calls are concerned: ``all``; ``agent``: the agent's, whose requests may be the
            cause; ``prompt``: those with the same prompt, and all where different prompts fail.
    """

    kind: Literal["none", "counts", "opens", "opens_long"]
    waited: float = math.inf
    scope: Literal["all", "agent", "prompt"] = "all"


NO_EFFECT = HealthEffect("none")
_REFUSALS = (BedrockPermissionDeniedError, BedrockNotFoundError)


def health_effect(failure: BedrockError, waited: float, *, paused: float = 0.0) -> HealthEffect:
    """Return what a failure tells of its model's health.

    Args:
        failure: The classified failure.
        waited: Seconds that the model was waited for since its last content.
        paused: Seconds that the reader of a stream had paused before it broke.
    """
    if failure.is_lasting:
        return HealthEffect("opens_long")
    if isinstance(failure, _REFUSALS):
        return HealthEffect("opens") if failure.concerns_model else NO_EFFECT
    if isinstance(failure, BedrockConnectionError) and paused >= LONG_PAUSE_SECONDS:
        return NO_EFFECT
    if isinstance(failure, BedrockRateLimitError | BedrockConnectionError):
        return HealthEffect("counts")
    if isinstance(failure, BedrockAPIError | BedrockTimeoutError):
        return _effect_of_a_prompt(failure, waited)
    return NO_EFFECT


def _effect_of_a_prompt(failure: BedrockError, waited: float) -> HealthEffect:
    if may_be_the_prompts(failure):
        return HealthEffect("counts", scope="agent")
    if takes_no_request(failure):
        return HealthEffect("counts")
    if isinstance(failure, BedrockAPIError):
        return HealthEffect("counts", scope="prompt")
    if waited < FAIR_TIMEOUT_SECONDS:
        return NO_EFFECT
    return HealthEffect("counts", waited, scope="prompt")


def always_itself(failure: BedrockError, *, stands_in: bool = False) -> bool:
    """Return whether a call that ends in this failure raises it as it is, whatever came before.

    LangChain's summarisation middleware knows an overflow by its class alone; and what stopped
    the chain at once is the cause that its user must see.
    """
    overflow = isinstance(failure, BedrockContextOverflowError)
    return overflow or is_hopeless(failure, stands_in=stands_in)


def is_hopeless(failure: BedrockError, *, stands_in: bool = False) -> bool:
    """Return whether no other model could answer either.

    What a model refuses that stands in for another may be right for the next: the request was
    made to fit it, and its caller's own model has not judged it.
    """
    if isinstance(failure, BedrockInvalidRequestError):
        return not (failure.concerns_model or stands_in)
    return isinstance(failure, BedrockAuthenticationError)


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
