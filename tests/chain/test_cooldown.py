"""A model that keeps failing is passed over; one call finds out whether it is well again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.chain.cooldown import (
    FAILURES_IN_A_ROW,
    LONG_SECONDS,
    LONGEST_FACTOR,
    MODELS_KEPT,
    Caller,
    Cooldowns,
)
from langchain_modelmgr.chain.policy import NO_EFFECT, HealthEffect

M = "model"
SECONDS = 30
OF_A_PROMPT = HealthEffect("counts", scope="prompt")
COUNTS, OPENS, LONG = (HealthEffect(kind) for kind in ("counts", "opens", "opens_long"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cooldowns(clock: Clock) -> Cooldowns:
    return Cooldowns(clock)


def caller(
    agent: str = "a", seconds: float = SECONDS, timeout: float = 60, prompt: str = "x"
) -> Caller:
    return Caller(agent, seconds, timeout, lambda: prompt)


CALL = caller()


def _open(cooldowns: Cooldowns, effect: HealthEffect = COUNTS, call: Caller = CALL) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        cooldowns.failed(M, call, effect, cooldowns.now())


def test_repeated_failures_start_a_cooldown_and_an_answer_between_them_does_not(
    cooldowns: Cooldowns,
) -> None:
    for _ in range(2):
        cooldowns.failed(M, CALL, COUNTS, cooldowns.now())
    cooldowns.answered(M, CALL, cooldowns.now())
    for _ in range(2):
        cooldowns.failed(M, CALL, COUNTS, cooldowns.now())
    assert cooldowns.admits(M, CALL)

    cooldowns.failed(M, CALL, COUNTS, cooldowns.now())

    assert not cooldowns.admits(M, CALL)
    assert cooldowns.seconds_left(M, CALL) == SECONDS


def test_one_probe_ends_it_or_starts_a_longer_one(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    lengths = []
    for _ in range(6):
        clock.now += cooldowns.seconds_left(M, CALL)
        assert cooldowns.admits(M, CALL)
        assert not cooldowns.admits(M, caller())
        cooldowns.failed(M, CALL, COUNTS, clock.now)
        lengths.append(cooldowns.seconds_left(M, CALL) / SECONDS)
    assert lengths == [2, 4, 8, LONGEST_FACTOR, LONGEST_FACTOR, LONGEST_FACTOR]

    clock.now += cooldowns.seconds_left(M, CALL)
    assert cooldowns.admits(M, CALL)
    cooldowns.answered(M, CALL, clock.now)

    assert cooldowns.admits(M, caller())
    assert cooldowns.admits(M, caller())


def test_a_probe_that_was_left_lets_another_probe(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)

    cooldowns.left(M, CALL)

    assert cooldowns.admits(M, caller())
    assert not cooldowns.admits(M, caller())


def test_another_calls_end_does_not_end_a_probe(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)

    cooldowns.left(M, caller())
    cooldowns.failed(M, caller(), NO_EFFECT, clock.now)
    cooldowns.failed(M, caller(), COUNTS, clock.now)  # as a last resort

    assert not cooldowns.admits(M, caller())


def test_a_clients_mistake_neither_starts_nor_ends_a_cooldown(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    for _ in range(10):
        cooldowns.failed(M, CALL, NO_EFFECT, clock.now)
    assert cooldowns.admits(M, CALL)
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)
    cooldowns.failed(M, CALL, NO_EFFECT, clock.now)
    assert cooldowns.admits(M, CALL)  # the probe had no result: another follows


@pytest.mark.parametrize(("effect", "seconds"), [(OPENS, SECONDS), (LONG, LONG_SECONDS)])
def test_some_failures_start_one_at_once(
    cooldowns: Cooldowns, effect: HealthEffect, seconds: float
) -> None:
    cooldowns.failed(M, CALL, effect, cooldowns.now())

    assert cooldowns.seconds_left(M, CALL) == seconds


def test_each_caller_has_its_own_seconds(cooldowns: Cooldowns, clock: Clock) -> None:
    never, short = caller("b", seconds=0), caller("c", seconds=5)
    _open(cooldowns)

    assert cooldowns.admits(M, never)
    assert cooldowns.seconds_left(M, never) == 0
    assert not cooldowns.admits(M, short)
    assert cooldowns.seconds_left(M, short) == 5
    clock.now += 6
    assert cooldowns.admits(M, short)
    assert not cooldowns.admits(M, CALL)


def test_zero_seconds_turn_it_off_for_others_too(cooldowns: Cooldowns) -> None:
    _open(cooldowns, LONG, caller("b", seconds=0))

    assert cooldowns.admits(M, CALL)


def test_an_attempt_from_before_a_cooldown_neither_ends_nor_extends_it(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    before = clock.now
    clock.now += 10
    _open(cooldowns)

    cooldowns.answered(M, CALL, before)
    cooldowns.content_came(M, CALL, before)
    for _ in range(50):
        cooldowns.failed(M, caller(), COUNTS, before)

    assert cooldowns.seconds_left(M, CALL) == SECONDS
    clock.now += 31
    assert cooldowns.admits(M, CALL)
    cooldowns.answered(M, caller(), before)  # while another call probes
    assert not cooldowns.admits(M, caller())


def test_a_last_resort_attempt_ends_a_cooldown_or_leaves_it(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    _open(cooldowns)
    clock.now += 10
    cooldowns.failed(M, CALL, COUNTS, clock.now)
    assert cooldowns.seconds_left(M, CALL) == SECONDS - 10

    cooldowns.answered(M, CALL, clock.now)

    assert cooldowns.admits(M, CALL)


def test_a_last_resort_that_finds_the_days_quota_used_up_makes_it_long(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    _open(cooldowns)

    cooldowns.failed(M, CALL, LONG, clock.now)

    assert cooldowns.seconds_left(M, CALL) == LONG_SECONDS


def test_a_streams_first_content_lets_others_in_and_a_failure_after_it_counts_on(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)

    cooldowns.content_came(M, CALL, clock.now)

    assert cooldowns.admits(M, caller())
    cooldowns.failed(M, CALL, COUNTS, clock.now)
    assert cooldowns.seconds_left(M, CALL) == 2 * SECONDS


def test_a_failure_that_an_agents_requests_may_have_caused_concerns_this_agent_alone(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    other = caller("b")
    _open(cooldowns, HealthEffect("counts", scope="agent"))

    assert not cooldowns.admits(M, CALL)
    assert cooldowns.admits(M, other)
    cooldowns.answered(M, other, clock.now)  # tells nothing of the other agent's requests
    assert not cooldowns.admits(M, CALL)
    cooldowns.answered(M, CALL, clock.now)
    assert cooldowns.admits(M, CALL)


def test_a_prompt_that_fails_again_concerns_calls_with_this_prompt_alone(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    other = caller("b", prompt="y")
    _open(cooldowns, OF_A_PROMPT)

    assert not cooldowns.admits(M, CALL)
    assert not cooldowns.admits(M, caller("b"))
    assert cooldowns.admits(M, other)
    cooldowns.answered(M, other, clock.now)
    assert not cooldowns.admits(M, CALL)
    clock.now += 31
    assert cooldowns.admits(M, CALL)  # as a probe
    cooldowns.answered(M, CALL, clock.now)
    assert cooldowns.admits(M, caller())


def test_different_prompts_that_fail_concern_all_calls(cooldowns: Cooldowns, clock: Clock) -> None:
    for prompt in ("x", "x", "y", "x", "z"):
        assert cooldowns.admits(M, caller("b", prompt="new"))
        cooldowns.failed(M, caller(prompt=prompt), OF_A_PROMPT, clock.now)

    assert not cooldowns.admits(M, caller("b", prompt="new"))
    clock.now += 31
    probe = caller(prompt="z")
    assert cooldowns.admits(M, probe)
    cooldowns.failed(M, probe, OF_A_PROMPT, clock.now)  # its prompt failed before: a probe counts
    assert cooldowns.seconds_left(M, caller("b", prompt="new")) == 2 * SECONDS


def test_a_time_out_concerns_callers_that_would_wait_no_longer(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    patient = caller("b", timeout=60)
    _open(cooldowns, HealthEffect("counts", 10), caller("a", timeout=10))

    assert not cooldowns.admits(M, caller("c", timeout=10))
    assert not cooldowns.admits(M, caller("c", timeout=2))
    assert cooldowns.admits(M, patient)
    for _ in range(2):
        cooldowns.failed(M, patient, HealthEffect("counts", 60), clock.now)
    assert cooldowns.admits(M, patient)
    cooldowns.failed(M, patient, HealthEffect("counts", 60), clock.now)
    assert not cooldowns.admits(M, patient)


def test_time_outs_and_throttles_are_counted_together(cooldowns: Cooldowns) -> None:
    for effect in (COUNTS, HealthEffect("counts", 60), COUNTS):
        cooldowns.failed(M, CALL, effect, cooldowns.now())

    assert not cooldowns.admits(M, CALL)
    assert cooldowns.admits(M, caller("b", timeout=300))


def test_the_failures_of_ever_new_models_take_no_more_room(cooldowns: Cooldowns) -> None:
    for i in range(MODELS_KEPT + 10):
        cooldowns.failed(i, CALL, OPENS, cooldowns.now())

        cooldowns.failed(i, CALL, OF_A_PROMPT, cooldowns.now())

    assert len(cooldowns._models) == len(cooldowns._prompts) == MODELS_KEPT
    assert cooldowns.admits(0, CALL)
    assert not cooldowns.admits(MODELS_KEPT + 9, CALL)


def test_a_forked_child_starts_empty(cooldowns: Cooldowns) -> None:
    _open(cooldowns)

    cooldowns.reset_after_fork()

    assert cooldowns.admits(M, CALL)


_CALLERS = {name: caller("agent") for name in "abcd"}
_STEPS = st.tuples(
    st.sampled_from(["ask", "answer", "content", "fail", "leave", "wait"]), st.sampled_from("abcd")
)


@given(st.lists(_STEPS, max_size=200))
def test_any_history_keeps_one_probe_and_bounded_cooldowns(history: list[tuple[str, str]]) -> None:
    clock = Clock()
    cooldowns = Cooldowns(clock)
    probing: set[str] = set()
    for step, name in history:
        call = _CALLERS[name]
        if step == "wait":
            clock.now += 10
        elif step == "ask":
            health = cooldowns._models.get((M, None))
            was_cooling = health is not None and health.opened is not None
            if cooldowns.admits(M, call) and was_cooling:
                assert name not in probing
                probing.add(name)
        elif step == "answer":
            cooldowns.answered(M, call, clock.now)
            probing.clear()
        elif step == "content":
            cooldowns.content_came(M, call, clock.now)
            probing.clear()
        elif step == "fail":
            cooldowns.failed(M, call, COUNTS, clock.now)
            probing.discard(name)
        else:
            cooldowns.left(M, call)
            probing.discard(name)
        assert len(probing) <= 1
        assert 0 <= cooldowns.seconds_left(M, call) <= SECONDS * LONGEST_FACTOR
