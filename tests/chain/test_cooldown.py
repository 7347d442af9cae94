"""A model that keeps failing is passed over; one call finds out whether it is well again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr import ModelManager
from langchain_modelmgr.chain.cooldown import (
    FAILURES_IN_A_ROW,
    LONG_SECONDS,
    LONGEST_FACTOR,
    Cooldowns,
)
from langchain_modelmgr.errors import BedrockError
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


M = "model"
CALL = object()


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


def _open(cooldowns: Cooldowns) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        cooldowns.failed(M, CALL, "counts", 30)


def test_repeated_failures_start_a_cooldown_and_an_answer_between_them_does_not(
    cooldowns: Cooldowns,
) -> None:
    cooldowns.failed(M, CALL, "counts", 30)
    cooldowns.failed(M, CALL, "counts", 30)
    cooldowns.answered(M)
    cooldowns.failed(M, CALL, "counts", 30)
    cooldowns.failed(M, CALL, "counts", 30)
    assert cooldowns.admits(M, CALL)

    cooldowns.failed(M, CALL, "counts", 30)

    assert not cooldowns.admits(M, CALL)
    assert cooldowns.seconds_left(M) == 30


def test_one_probe_ends_it_or_starts_a_longer_one(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    lengths = []
    for _ in range(6):
        clock.now += cooldowns.seconds_left(M)
        assert cooldowns.admits(M, CALL)
        assert not cooldowns.admits(M, CALL)
        cooldowns.failed(M, CALL, "counts", 30)
        lengths.append(cooldowns.seconds_left(M) / 30)
    assert lengths == [2, 4, 8, LONGEST_FACTOR, LONGEST_FACTOR, LONGEST_FACTOR]

    clock.now += cooldowns.seconds_left(M)
    assert cooldowns.admits(M, CALL)
    cooldowns.answered(M)

    assert cooldowns.admits(M, CALL)
    assert cooldowns.admits(M, CALL)


def test_a_probe_that_was_left_lets_another_probe(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)

    cooldowns.left(M, CALL)

    assert cooldowns.admits(M, CALL)
    assert not cooldowns.admits(M, CALL)


def test_another_calls_end_does_not_end_a_probe(cooldowns: Cooldowns, clock: Clock) -> None:
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)

    cooldowns.left(M, "one that began before, or had nobody else to ask")
    cooldowns.failed(M, "another", "none", 30)

    assert not cooldowns.admits(M, "a third")


def test_a_clients_mistake_neither_starts_nor_ends_a_cooldown(
    cooldowns: Cooldowns, clock: Clock
) -> None:
    for _ in range(10):
        cooldowns.failed(M, CALL, "none", 30)
    assert cooldowns.admits(M, CALL)
    _open(cooldowns)
    clock.now += 31
    assert cooldowns.admits(M, CALL)
    cooldowns.failed(M, CALL, "none", 30)
    assert cooldowns.admits(M, CALL)  # the probe told nothing: another one


@pytest.mark.parametrize(("strain", "seconds"), [("opens", 30), ("opens_long", LONG_SECONDS)])
def test_some_failures_start_one_at_once(cooldowns: Cooldowns, strain: str, seconds: float) -> None:
    cooldowns.failed(M, CALL, strain, 30)  # type: ignore[arg-type]

    assert cooldowns.seconds_left(M) == seconds


def test_zero_seconds_turn_it_off(cooldowns: Cooldowns) -> None:
    for _ in range(10):
        cooldowns.failed(M, CALL, "opens_long", 0)

    assert cooldowns.admits(M, CALL)


def test_what_was_under_way_when_it_started_does_not_make_it_longer(cooldowns: Cooldowns) -> None:
    _open(cooldowns)

    for _ in range(50):
        cooldowns.failed(M, CALL, "counts", 30)

    assert cooldowns.seconds_left(M) == 30


def test_a_fork_forgets(cooldowns: Cooldowns) -> None:
    _open(cooldowns)

    cooldowns.reset()

    assert cooldowns.admits(M, CALL)


_STEPS = st.tuples(
    st.sampled_from(["ask", "answer", "fail", "leave", "wait"]), st.sampled_from("abcd")
)


@given(st.lists(_STEPS, max_size=200))
def test_any_history_keeps_one_probe_and_bounded_cooldowns(history: list[tuple[str, str]]) -> None:
    clock = Clock()
    cooldowns = Cooldowns(clock)
    probing: set[str] = set()
    for step, call in history:
        if step == "wait":
            clock.now += 10
        elif step == "ask":
            was_cooling = cooldowns._models.get(M) is not None and cooldowns._models[M].until > 0
            if cooldowns.admits(M, call) and was_cooling:
                assert call not in probing
                probing.add(call)
        elif step == "answer":
            cooldowns.answered(M)
            probing.clear()
        elif step == "fail":
            cooldowns.failed(M, call, "counts", 30)
            probing.discard(call)
        else:
            cooldowns.left(M, call)
            probing.discard(call)
        assert len(probing) <= 1
        assert 0 <= cooldowns.seconds_left(M) <= 30 * LONGEST_FACTOR


# -- over the wire


def _manager(configured: Configure, more: str = "") -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']{more}}}")
    return ModelManager(config, sinks=[MemorySink()])


def test_a_dead_model_is_asked_three_times_and_then_no_more(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _manager(configured).chat_model("a")
    local_aws.fail(SONNET, "InternalServerException", times=None)

    replies = [llm.invoke("x") for _ in range(10)]

    assert local_aws.requests(SONNET) == FAILURES_IN_A_ROW
    assert local_aws.requests(HAIKU) == 10
    told = replies[-1].response_metadata["model_manager"]
    (skipped,) = told["skipped"]
    assert skipped["model_id"] == SONNET
    assert skipped["reason"].startswith("Model is cooling down after failures, for ")
    assert len(told["attempts"]) == 1


def test_a_model_that_is_well_again_is_found_by_one_call(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = _manager(configured)
    clock = Clock()
    manager.chains._cooldowns._clock = clock
    llm = manager.chat_model("a")
    local_aws.fail(SONNET, "InternalServerException", times=FAILURES_IN_A_ROW)
    for _ in range(5):
        llm.invoke("x")
    clock.now += 31
    local_aws.latency(SONNET, 0.3)
    barrier = threading.Barrier(30)

    def call(_: int) -> str:
        barrier.wait()
        served: str = llm.invoke("x").response_metadata["model_name"]
        return served

    with ThreadPoolExecutor(30) as pool:
        served = Counter(pool.map(call, range(30)))

    assert served == {SONNET: 1, HAIKU: 29}
    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_the_last_model_is_asked_whatever_its_health(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: []}}")
    llm = ModelManager(config, sinks=[]).chat_model("a", max_retries=0)
    local_aws.fail(SONNET, "InternalServerException", times=5)
    for _ in range(5):
        with pytest.raises(BedrockError):
            llm.invoke("x")

    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_agents_of_a_manager_learn_from_each_other_and_managers_do_not(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}\n"
        f"b: {{model: '{SONNET}', fallbacks: ['{OPUS}']}}"
    )
    manager, other = ModelManager(config, sinks=[]), ModelManager(config, sinks=[])
    local_aws.fail(SONNET, "InternalServerException", times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        manager.chat_model("a").invoke("x")

    assert manager.chat_model("b").invoke("x").response_metadata["model_name"] == OPUS
    assert other.chat_model("b").invoke("x").response_metadata["model_name"] == SONNET


def test_mistakes_and_tiny_time_outs_never_start_one(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _manager(configured).chat_model("a")
    local_aws.fail(SONNET, "ValidationException", times=4)
    for _ in range(4):
        with pytest.raises(BedrockError):
            llm.invoke("x")
    local_aws.stall(SONNET, 1, times=4)
    impatient = llm.model_copy(update={"timeout": 0.05})
    for _ in range(4):
        impatient.invoke("x")

    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_a_days_quota_puts_a_model_out_for_long(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    manager = _manager(configured)
    text = "Too many tokens per day, please wait before trying again."
    local_aws.fail(SONNET, "ThrottlingException", message=text)

    with caplog.at_level(logging.WARNING):
        manager.chat_model("a").invoke("x")

    left = manager.chains._cooldowns.seconds_left((None, SONNET))
    assert LONG_SECONDS - 5 < left <= LONG_SECONDS


# -- under load


def _half(local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ThrottlingException", rate=0.5, seed=7)


def _settled(manager: ModelManager, local_aws: LocalAWS, calls: int) -> None:
    summary = manager.get_usage_summary()
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    assert summary["total_invocations"] == calls
    assert summary["success_rate"] == 1.0
    assert summary["attempts"] == local_aws.requests() == len(sink.records)
    assert sum(r.outcome == "answered" for r in sink.records) == calls


def test_200_threads_over_a_model_that_fails_half_the_time(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, ", cooldown_seconds: 0.05")
    llm = manager.chat_model("a")
    _half(local_aws)

    with ThreadPoolExecutor(200) as pool:
        list(pool.map(lambda _: llm.invoke("x"), range(600)))

    _settled(manager, local_aws, 600)


async def test_1000_tasks_over_a_model_that_fails_half_the_time(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, ", cooldown_seconds: 0.05")
    llm = manager.chat_model("a")
    _half(local_aws)

    await asyncio.gather(*(llm.ainvoke("x") for _ in range(1_000)))

    _settled(manager, local_aws, 1_000)
