"""The policy decides what to do after each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.chain import policy
from langchain_modelmgr.chain.policy import (
    BACKOFF_CAP_SECONDS,
    FAIR_TIMEOUT_SECONDS,
    LAST_CANDIDATE_RETRIES,
    LEAST_ATTEMPT_SECONDS,
    NO_EFFECT,
    Decision,
    HealthEffect,
    History,
    NextCandidate,
    Retry,
    Stop,
    always_itself,
    decide,
    health_effect,
)
from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockError,
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

GO_ON = [
    BedrockAPIError,
    BedrockConnectionError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
]
STOP = [BedrockAuthenticationError, BedrockInvalidRequestError]
ALL = [*GO_ON, *STOP, BedrockContextOverflowError]


def _most(_: float, high: float) -> float:
    return high


def _least(low: float, _: float) -> float:
    return low


def _decide(
    failure: BedrockError,
    *,
    left: int,
    larger: int = 0,
    here: int = 1,
    stale: bool = False,
    said: bool = False,
    seconds: float | None = None,
    retries: int = LAST_CANDIDATE_RETRIES,
    jitter: Callable[[float, float], float] = _most,
) -> Decision:
    history = History(
        failures_here=here,
        candidates_left=left,
        larger_windows_left=larger,
        stale_retry_used=stale,
        content_delivered=said,
        seconds_left=seconds,
    )
    return decide(failure, history, max_retries=retries, jitter=jitter)


@pytest.mark.parametrize("kind", GO_ON)
def test_a_failure_of_one_model_falls_back_at_once(kind: type[BedrockError]) -> None:
    assert _decide(kind("x"), left=1) == NextCandidate()


@pytest.mark.parametrize("kind", STOP)
@pytest.mark.parametrize("left", [0, 3])
def test_a_failure_of_every_model_stops_at_once(kind: type[BedrockError], left: int) -> None:
    assert _decide(kind("x"), left=left) == Stop()


def test_a_fallbacks_refusal_falls_back_to_the_next_model() -> None:
    refused = BedrockInvalidRequestError("x")

    assert decide(refused, History(1, 1, is_substitute=True), jitter=_most) == NextCandidate()
    assert decide(refused, History(1, 0, is_substitute=True), jitter=_most) == Stop()
    assert not always_itself(refused, is_substitute=True)
    assert decide(
        BedrockAuthenticationError("x"), History(1, 1, is_substitute=True), jitter=_most
    ) == (Stop())


def test_a_limit_of_one_model_falls_back() -> None:
    unable = BedrockInvalidRequestError("x")
    unable.concerns_model = True

    assert _decide(unable, left=1) == NextCandidate()
    assert _decide(unable, left=0) == Stop()
    assert health_effect(unable, 60) == NO_EFFECT


def test_an_overflow_goes_only_to_a_larger_window() -> None:
    overflow = BedrockContextOverflowError("x")

    assert _decide(overflow, left=3, larger=1) == NextCandidate(larger_window=True)
    assert _decide(overflow, left=3, larger=0) == Stop(larger_window=True)
    assert _decide(overflow, left=0) == Stop(larger_window=True)
    assert _decide(overflow, left=3, larger=1, seconds=0) == Stop(
        out_of_time=True, larger_window=True
    )


def test_other_failures_go_on_to_any_window() -> None:
    assert _decide(BedrockRateLimitError("x"), left=3, larger=0) == NextCandidate()


@pytest.mark.parametrize("kind", ALL)
def test_nothing_falls_back_once_content_was_delivered(kind: type[BedrockError]) -> None:
    decision = _decide(kind("x"), left=3, larger=3, said=True)

    assert decision == Stop(larger_window=kind is BedrockContextOverflowError)


def test_a_dead_connection_is_replaced_once_on_any_candidate() -> None:
    dead = BedrockConnectionError("x", code="ConnectionClosedError")

    assert _decide(dead, left=2) == Retry(0.0)
    assert _decide(dead, left=2, here=2, stale=True) == NextCandidate()


def test_the_last_candidate_has_two_more_attempts_for_passing_failures() -> None:
    throttled = BedrockRateLimitError("x")

    decisions = [_decide(throttled, left=0, here=here) for here in (1, 2, 3)]

    assert decisions == [Retry(0.5), Retry(1.0), Stop()]


def test_a_replaced_connection_is_not_one_of_those_attempts() -> None:
    dead = BedrockConnectionError("x", code="ConnectionClosedError")

    decisions = [_decide(dead, left=0, here=here, stale=True) for here in (2, 3, 4)]

    assert decisions == [Retry(0.5), Retry(1.0), Stop()]


def test_a_denied_or_missing_model_is_not_retried() -> None:
    assert _decide(BedrockPermissionDeniedError("x"), left=0) == Stop()
    assert _decide(BedrockNotFoundError("x"), left=0) == Stop()


def test_a_time_that_the_service_asks_for_is_honoured_and_capped() -> None:
    def slept(delay: float, jitter: Callable[[float, float], float]) -> Decision:
        return _decide(BedrockRateLimitError("x", retry_after=delay), left=0, jitter=jitter)

    assert slept(3, _least) == Retry(3)
    assert slept(3, _most) == Retry(3.5)  # other calls got the same three seconds
    assert slept(999, _most) == slept(999, _least) == Retry(BACKOFF_CAP_SECONDS)


def test_jitter_covers_the_whole_interval() -> None:
    throttled = BedrockRateLimitError("x")

    assert _decide(throttled, left=0, jitter=_least) == Retry(0.0)
    assert _decide(throttled, left=0, here=9, retries=9) == Retry(BACKOFF_CAP_SECONDS)


def test_without_time_nothing_is_begun() -> None:
    throttled, dead = (
        BedrockRateLimitError("x"),
        BedrockConnectionError("x", code="ConnectionClosedError"),
    )

    assert _decide(throttled, left=3, seconds=LEAST_ATTEMPT_SECONDS / 2) == Stop(out_of_time=True)
    assert _decide(dead, left=3, seconds=-1) == Stop(out_of_time=True)
    assert _decide(throttled, left=3, seconds=LEAST_ATTEMPT_SECONDS) == NextCandidate()


def test_no_sleep_outlives_the_deadline() -> None:
    delayed, throttled = BedrockRateLimitError("x", retry_after=3), BedrockRateLimitError("x")

    for failure, room in ((delayed, 3.25), (throttled, 0.25)):  # its jitter could be 0.5 s
        found = _decide(failure, left=0, seconds=room + LEAST_ATTEMPT_SECONDS)
        assert isinstance(found, Retry)
        assert found.delay == pytest.approx(room)
    assert _decide(delayed, left=0, seconds=3) == Stop(out_of_time=True)


def test_lasting_failures_are_not_waited_for() -> None:
    for lasting in (BedrockRateLimitError("x"), BedrockPermissionDeniedError("x")):
        lasting.is_lasting = True

        assert _decide(lasting, left=1) == NextCandidate()
        assert _decide(lasting, left=0) == Stop()
        assert health_effect(lasting, 60) == HealthEffect("opens_long")


_SLOW = "ModelTimeoutException"


def _of_the_request(failure: BedrockError) -> BedrockError:
    failure.concerns_model = False
    return failure


@pytest.mark.parametrize(
    ("failure", "waited", "effect"),
    [
        (BedrockRateLimitError("x"), 60, HealthEffect("counts")),
        (BedrockAPIError("x"), 60, HealthEffect("counts", scope="prompt")),
        (BedrockAPIError("x", code="ServiceUnavailableException"), 60, HealthEffect("counts")),
        (
            BedrockAPIError("x", code="ModelErrorException"),
            60,
            HealthEffect("counts", scope="agent"),
        ),
        (BedrockConnectionError("x"), 60, HealthEffect("counts")),
        (
            BedrockTimeoutError("x"),
            FAIR_TIMEOUT_SECONDS,
            HealthEffect("counts", 5.0, scope="prompt"),
        ),
        (BedrockTimeoutError("x"), FAIR_TIMEOUT_SECONDS / 2, NO_EFFECT),
        (BedrockTimeoutError("x", code="ConnectTimeoutError"), 1, HealthEffect("counts")),
        (BedrockTimeoutError("x", code=_SLOW), 1, HealthEffect("counts", scope="agent")),
        (BedrockPermissionDeniedError("x"), 60, HealthEffect("opens")),
        (_of_the_request(BedrockPermissionDeniedError("x")), 60, NO_EFFECT),
        (_of_the_request(BedrockNotFoundError("x")), 60, NO_EFFECT),
        (BedrockNotFoundError("x"), 60, HealthEffect("opens")),
        (BedrockInvalidRequestError("x"), 60, NO_EFFECT),
        (BedrockContextOverflowError("x"), 60, NO_EFFECT),
        (BedrockAuthenticationError("x"), 60, NO_EFFECT),
    ],
)
def test_a_failures_effect_on_a_models_health(
    failure: BedrockError, waited: float, effect: HealthEffect
) -> None:
    assert health_effect(failure, waited) == effect


def test_a_connection_that_broke_after_its_reader_paused_does_not_count() -> None:
    broke = BedrockConnectionError("x")

    assert health_effect(broke, 60, paused=policy.LONG_PAUSE_SECONDS) == NO_EFFECT
    assert health_effect(broke, 60, paused=1) == HealthEffect("counts")


def test_a_failure_that_stops_the_chain_is_raised_unchanged() -> None:
    assert always_itself(BedrockContextOverflowError("x"))
    assert always_itself(BedrockInvalidRequestError("x"))
    assert not always_itself(BedrockRateLimitError("x"))


@given(
    kinds=st.lists(st.sampled_from(ALL), min_size=1, max_size=30),
    candidates=st.integers(1, 4),
    max_retries=st.integers(0, 4),
    dead=st.booleans(),
)
def test_every_chain_of_failures_ends_within_its_promised_attempts(
    kinds: list[type[BedrockError]], candidates: int, max_retries: int, dead: bool
) -> None:
    left, here, stale, attempts = candidates - 1, 0, False, 0
    code = "ConnectionClosedError" if dead else ""

    for kind in kinds * 20:
        attempts, here = attempts + 1, here + 1
        decision = decide(
            kind("x", code=code),
            History(
                failures_here=here,
                candidates_left=left,
                larger_windows_left=left,
                stale_retry_used=stale,
            ),
            max_retries=max_retries,
            jitter=_most,
        )
        if isinstance(decision, Stop):
            break
        if isinstance(decision, Retry):
            assert 0 <= decision.delay <= BACKOFF_CAP_SECONDS
            stale = stale or dead
        else:
            left, here, stale = left - 1, 0, False
            assert left >= 0
    else:
        pytest.fail("no end")

    assert attempts <= 2 * candidates + max_retries
