"""What starts and ends the cooldown of a model, over the wire."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.chain import policy
from langchain_modelmgr.chain.cooldown import FAILURES_IN_A_ROW, LONG_SECONDS, Caller
from langchain_modelmgr.errors import BedrockConnectionError, BedrockError, BedrockTimeoutError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies, TimeOuts


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def managed(configured: Configure, more: str = "") -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']{more}}}")
    return ModelManager(config, sinks=[MemorySink()])


def test_a_dead_model_is_called_three_times_and_then_skipped(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = managed(configured).chat_model("a")
    local_aws.fail(SONNET, "InternalServerException", times=None)

    replies = [llm.invoke("x") for _ in range(10)]

    assert local_aws.requests(SONNET) == FAILURES_IN_A_ROW
    assert local_aws.requests(HAIKU) == 10
    report = replies[-1].response_metadata["model_manager"]
    (skipped,) = report["skipped"]
    assert skipped["model_id"] == SONNET
    assert skipped["reason"].startswith("Model is cooling down after failures, for ")
    assert len(report["attempts"]) == 1


def test_a_model_that_is_well_again_is_found_by_one_call(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies
) -> None:
    manager = managed(configured)
    clock = Clock()
    manager.chains._cooldowns._clock = clock
    llm = manager.chat_model("a")
    local_aws.fail(SONNET, "InternalServerException", times=FAILURES_IN_A_ROW)
    for _ in range(5):
        llm.invoke("x")
    clock.now += 31
    held.hold(SONNET)
    before = local_aws.requests(HAIKU)
    barrier = threading.Barrier(30)

    def call(_: int) -> str:
        barrier.wait()
        served: str = llm.invoke("x").response_metadata["model_name"]
        return served

    with ThreadPoolExecutor(30) as pool:
        calls = pool.map(call, range(30))
        while local_aws.requests(HAIKU) - before < 29:
            time.sleep(0.01)
        held.release()
        served = Counter(calls)

    assert served == {SONNET: 1, HAIKU: 29}
    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_the_last_model_is_called_whatever_its_health(
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
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    llm = managed(configured).chat_model("a")
    local_aws.fail(SONNET, "ValidationException", times=4)
    for _ in range(4):
        with pytest.raises(BedrockError):
            llm.invoke("x")
    local_aws.stall(SONNET, 300, times=4)
    time_outs.when_received(local_aws, SONNET)
    for _ in range(4):
        llm.invoke("x")
    time_outs.when(SONNET, lambda *_: False)

    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_a_days_quota_puts_a_model_out_for_long(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    manager = managed(configured)
    text = "Too many tokens per day, please wait before trying again."
    local_aws.fail(SONNET, "ThrottlingException", message=text)

    with caplog.at_level(logging.WARNING):
        manager.chat_model("a").invoke("x")

    left = manager.chains._cooldowns.seconds_left(
        (None, SONNET, None, None), Caller("a", 30, 60, lambda: "x")
    )
    assert LONG_SECONDS - 5 < left <= LONG_SECONDS


# -- what is not the model's fault


def two_agents(configured: Configure, a: str = "", b: str = "") -> tuple[ModelManager, Any, Any]:
    """Give two agents of one chain."""
    chain = f"model: '{SONNET}', fallbacks: ['{HAIKU}']"
    manager = ModelManager(configured(f"a: {{{chain}{a}}}\nb: {{{chain}{b}}}"), sinks=[])
    return manager, manager.chat_model("a"), manager.chat_model("b")


def served_by(llm: Any) -> str:
    served: str = llm.invoke("x").response_metadata["model_name"]
    return served


def test_a_probe_that_streams_lets_others_in_at_its_first_content(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager, a, b = two_agents(configured)
    clock = Clock()
    manager.chains._cooldowns._clock = clock
    local_aws.fail(SONNET, "ThrottlingException", times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        a.invoke("x")
    clock.now += 31
    local_aws.reply(SONNET, ScriptedReply(text="many words " * 20))

    reading = a.stream("x")
    next(reading)  # ... and then its reader takes its time

    assert served_by(b) == SONNET
    reading.close()


def test_a_stream_that_breaks_after_its_first_content_counts_on(
    configured: Configure, local_aws: LocalAWS
) -> None:
    _, a, b = two_agents(configured)
    for _ in range(FAILURES_IN_A_ROW):
        local_aws.reset(SONNET, at="stream", after=1)
        with pytest.raises(BedrockError):
            list(a.stream("x"))

    assert served_by(b) == HAIKU


def test_an_answer_that_began_before_a_cooldown_does_not_end_it(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies
) -> None:
    _, a, b = two_agents(configured)
    held.hold(SONNET)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(a.invoke, "x")
        while not local_aws.requests(SONNET):
            time.sleep(0.01)
        local_aws.fail(SONNET, "ServiceUnavailableException", times=FAILURES_IN_A_ROW)
        for _ in range(FAILURES_IN_A_ROW):
            b.invoke("x")
        held.release()
        assert slow.result().response_metadata["model_name"] == SONNET

    assert served_by(b) == HAIKU


def test_slow_readers_start_no_cooldown_and_are_no_failures_of_the_model(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager, a, b = two_agents(configured, ", deadline_seconds: 60")
    paused = threading.Event()
    a.invoke("x")  # makes the client
    local_aws.script(lambda _: ScriptedReply(text="many words " * 20_000))

    def read_slowly() -> None:
        for _ in a.stream("x"):
            paused.set()
            while not time_outs.budgets[-1].ended:
                time.sleep(0.01)

    time_outs.deadline_when(
        SONNET, lambda limits, _: paused.is_set() and limits._reader_was_slower()
    )
    for _ in range(FAILURES_IN_A_ROW):
        paused.clear()
        with pytest.raises(BedrockTimeoutError):
            read_slowly()
    paused.clear()

    assert served_by(b) == SONNET
    summary = manager.get_usage_summary()
    assert (summary["aborted"], summary["success_rate"]) == (FAILURES_IN_A_ROW, 1.0)
    assert summary["by_model"][SONNET]["success_rate"] == 1.0


def test_a_stream_that_is_slow_itself_is_a_failure_at_the_deadline(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager, a, _ = two_agents(configured, ", deadline_seconds: 60")
    a.invoke("x")
    local_aws.script(lambda _: ScriptedReply(text="many words " * 400))
    local_aws.stall(SONNET, 300, at="stream", after=3)
    time_outs.deadline_when(
        SONNET, lambda limits, _: limits.contents == 3 and not limits._reader_was_slower()
    )

    with pytest.raises(BedrockTimeoutError):
        list(a.stream("x"))

    summary = manager.get_usage_summary()
    assert (summary["aborted"], summary["success_rate"]) == (0, 0.5)


def test_connections_that_break_after_a_long_pause_of_their_readers_start_no_cooldown(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "LONG_PAUSE_SECONDS", 0.3)
    _, a, b = two_agents(configured)

    def read_slowly() -> None:
        for _ in a.stream("x"):
            time.sleep(0.5)

    for _ in range(FAILURES_IN_A_ROW):
        local_aws.reset(SONNET, at="stream", after=1)
        with pytest.raises(BedrockConnectionError):
            read_slowly()

    assert served_by(b) == SONNET
