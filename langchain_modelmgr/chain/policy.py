"""The fallback policy, as pure functions: after a failure retry, go to the next model, or stop."""

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
"""Upper bound of the first sleep on the last candidate; doubles with each further sleep."""

BACKOFF_CAP_SECONDS = 20.0
"""The longest sleep, whatever the service asks for: botocore's own cap in its standard mode."""

LAST_CANDIDATE_RETRIES = 2
"""Further attempts on the last candidate, after which no other is left."""

LEAST_ATTEMPT_SECONDS = 0.1
"""No attempt starts with less time than this: Bedrock's fastest answers take longer."""

FAIR_TIMEOUT_SECONDS = 5.0
"""A time-out after no more than this says nothing about the model's health."""

LONG_PAUSE_SECONDS = 5.0
"""A connection may break because the reader of a stream paused for this long."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the request to the same candidate again after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class NextCandidate:
    """Go to the next candidate.

    Attributes:
        larger_window: True after an overflow: only candidates with a larger context window than
            the current one's remain.
    """

    larger_window: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Raise the error: no other model could help, none is left, or no time is left.

    Attributes:
        out_of_time: True if the deadline is the reason.
        larger_window: True after an overflow: no candidate without a larger context window than
            the current one's could have answered.
    """

    out_of_time: bool = False
    larger_window: bool = False


Decision = Retry | NextCandidate | Stop


@dataclass(frozen=True, slots=True)
class History:
    """What has happened in this call so far.

    Attributes:
        failures_here: Failed attempts on the current candidate, this one included. At least 1.
        stale_retry_used: True if a dead connection to this candidate was already replaced once.
        candidates_left: How many candidates can still be called after the current one.
        larger_windows_left: How many of them remain after an overflow: those with a larger context
            window.
        content_delivered: True once the caller has received text or a tool call of this answer.
        seconds_left: Seconds until the call's deadline; None: there is no deadline.
        is_substitute: True if the candidate is a fallback, called because a model before it failed
            for a passing reason: the request was formed for another model.
    """

    failures_here: int
    candidates_left: int
    larger_windows_left: int = 0
    stale_retry_used: bool = False
    content_delivered: bool = False
    seconds_left: float | None = None
    is_substitute: bool = False


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
        history: What has happened in this call so far.
        max_retries: Further attempts that the last candidate gets for passing failures.
        jitter: Returns a number between two others, by chance.

    Returns:
        The next step.
    """
    overflow = isinstance(failure, BedrockContextOverflowError)
    if history.content_delivered or is_hopeless(failure, is_substitute=history.is_substitute):
        return Stop(larger_window=overflow)
    left = history.seconds_left
    if left is not None and left < LEAST_ATTEMPT_SECONDS:
        return Stop(out_of_time=True, larger_window=overflow)
    if died_before_reply(failure) and not history.stale_retry_used:
        return Retry(delay=0.0)
    if history.larger_windows_left if overflow else history.candidates_left:
        return NextCandidate(larger_window=overflow)
    retries_used = history.failures_here - 1 - history.stale_retry_used
    if not failure.is_retryable or failure.is_lasting or retries_used >= max_retries:
        return Stop(larger_window=overflow)
    return _after_a_sleep(failure, retries_used, left, jitter)


@dataclass(frozen=True, slots=True)
class HealthEffect:
    """What a failure does to its model's cooldown.

    Attributes:
        kind: ``none``: nothing; ``counts``: the third in a row starts a cooldown; ``opens``: it
            starts a cooldown; ``opens_long``: it starts a long cooldown.
        waited: Seconds that the call waited for the model: a cooldown does not apply to calls that
            would wait longer. Infinite: it applies to all calls.
        scope: The calls to which the cooldown applies: ``all``; ``agent``: the agent's, because its
            requests may be the cause; ``prompt``: those with the same prompt, and all calls if
            different prompts fail.
    """

    kind: Literal["none", "counts", "opens", "opens_long"]
    waited: float = math.inf
    scope: Literal["all", "agent", "prompt"] = "all"


NO_EFFECT = HealthEffect("none")
_REFUSALS = (BedrockPermissionDeniedError, BedrockNotFoundError)


def health_effect(failure: BedrockError, waited: float, *, paused: float = 0.0) -> HealthEffect:
    """Return the effect of a failure on its model's cooldown.

    Args:
        failure: The classified failure.
        waited: Seconds that the call waited for the model since its last content.
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


def always_itself(failure: BedrockError, *, is_substitute: bool = False) -> bool:
    """Return whether a call that ends with this failure raises it, whatever failed before.

    LangChain's summarisation middleware recognises an overflow by its class alone, and a failure
    that stopped the chain at once is the cause that its user must see.
    """
    overflow = isinstance(failure, BedrockContextOverflowError)
    return overflow or is_hopeless(failure, is_substitute=is_substitute)


def is_hopeless(failure: BedrockError, *, is_substitute: bool = False) -> bool:
    """Return whether no other model could answer either.

    A request that a substitute refuses may still be right for the next model: it was changed to
    fit the substitute, and the caller's own model has not refused it.
    """
    if isinstance(failure, BedrockInvalidRequestError):
        return not (failure.concerns_model or is_substitute)
    return isinstance(failure, BedrockAuthenticationError)


def _after_a_sleep(
    failure: BedrockError,
    retries_used: int,
    left: float | None,
    jitter: Callable[[float, float], float],
) -> Retry | Stop:
    """Return a retry after full jitter, added to the delay that the service asks of all callers."""
    wanted = min(BACKOFF_CAP_SECONDS, failure.retry_after or 0.0)
    room = math.inf if left is None else left - LEAST_ATTEMPT_SECONDS - wanted
    if room < 0:
        return Stop(out_of_time=True)  # the sleep would end after the deadline
    ceiling = min(BACKOFF_CAP_SECONDS - wanted, BACKOFF_BASE_SECONDS * 2.0**retries_used, room)
    return Retry(wanted + jitter(0.0, ceiling))
