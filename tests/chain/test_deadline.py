"""One deadline for a whole call; and a stream that says nothing ends in time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.chain import policy
from langchain_modelmgr.errors import BedrockError, BedrockRateLimitError, BedrockTimeoutError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.runtime.watchdog import Watchdog
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts


LONG = "word " * 40
"""Some 17 deltas of 12 characters."""


def _model(configured: Configure, settings: str, fallbacks: str = f"['{HAIKU}']") -> Any:
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: {fallbacks}, {settings}}}\n"
        f"first: {{model: '{SONNET}', fallbacks: []}}"
    )
    manager = ModelManager(config, sinks=[MemorySink()])
    manager.chat_model("first").invoke("x")  # builds the clients, which takes long
    return manager.chat_model("a")


def test_the_deadline_ends_retries_and_reports_how_the_time_was_spent(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)
    monkeypatch.setattr(policy, "BACKOFF_CAP_SECONDS", 1_000.0)
    llm = _model(configured, "deadline_seconds: 60, retries: 9, cooldown_seconds: 0", "[]")
    local_aws.fail(SONNET, "ThrottlingException", times=2, retry_after=0.1)
    local_aws.fail(SONNET, "ThrottlingException", times=None, retry_after=100)  # is not waited for

    with pytest.raises(
        BedrockRateLimitError,
        match=r"deadline of [\d.]+ s: [\d.]+ s in 3 attempts on anthropic.* waiting",
    ) as caught:
        llm.invoke("x")

    assert len(caught.value.attempts) == 3


def test_a_hop_has_what_is_left_and_is_not_begun_without(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    llm = _model(configured, "deadline_seconds: 60, timeout_seconds: 60")
    local_aws.stall(SONNET, 600)
    time_outs.when_received(local_aws, SONNET, deadline=True)

    with pytest.raises(
        BedrockTimeoutError, match=r"deadline of [\d.]+ s: [\d.]+ s in 1 attempt on"
    ) as caught:
        llm.invoke("x")

    assert [a.model_id for a in caught.value.attempts] == [SONNET]
    assert local_aws.requests(HAIKU) == 0


async def test_async_calls_have_it_too(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    llm = _model(configured, "deadline_seconds: 60", "[]")
    local_aws.stall(SONNET, 600, times=2)
    time_outs.when_received(local_aws, SONNET, deadline=True)

    with pytest.raises(BedrockTimeoutError, match="deadline"):
        await llm.ainvoke("x")
    with pytest.raises(BedrockTimeoutError, match="deadline"):
        async for _ in llm.astream("x"):
            pass


def test_a_stream_ends_at_the_deadline_with_what_it_had_said(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    llm = _model(configured, "deadline_seconds: 60")
    text = LONG * 60
    local_aws.script(lambda _: ScriptedReply(text=text))
    local_aws.stall(SONNET, 600, at="stream", after=5)
    time_outs.when_received(local_aws, SONNET, contents=5, deadline=True)
    said: list[str] = []

    with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
        for chunk in llm.stream("x"):
            said.append(chunk.text)

    assert len(said) > 2
    assert caught.value.partial_text == "".join(said)
    assert text.startswith(caught.value.partial_text)
    assert len(caught.value.partial_text) < len(text)
    assert "word" not in str(caught.value)
    assert local_aws.requests(HAIKU) == 0


def test_a_slow_reader_is_not_a_silent_stream(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    llm = _model(configured, "timeout_seconds: 60")
    local_aws.script(lambda _: ScriptedReply(text="word " * 6))
    time_outs.when(SONNET, lambda *_: False)  # looks often whether the time-out has passed
    said = []

    for chunk in llm.stream("x"):
        said.append(chunk.text)
        if len(said) < 3:
            assert local_aws.wait_closed(50)  # the rest of the reply has arrived
            time_outs.budgets[-1].timeout = 0.1
            time.sleep(0.2)
            time_outs.budgets[-1].timeout = 60

    assert "".join(said) == "word " * 6


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_a_stream_of_events_without_content_falls_back_in_time(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, mode: str
) -> None:
    """Bytes keep coming, so that no socket's time-out ever ends it."""
    llm = _model(configured, "timeout_seconds: 60")
    time_outs.after(SONNET, 0.5)
    local_aws.trickle(SONNET, 600, every=0.05)  # longer than a test may take

    async def streamed() -> list[Any]:
        return [chunk async for chunk in llm.astream("x")]

    chunks = list(llm.stream("x")) if mode == "stream" else asyncio.run(streamed())

    text = chunks[-1].response_metadata["model_manager"]
    assert [a["error"] for a in text["attempts"]] == ["BedrockTimeoutError", None]
    assert local_aws.wait_closed(60)


def test_a_timeout_too_short_for_its_answer_is_logged_once(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    llm = _model(configured, "timeout_seconds: 10, max_tokens: 8000")

    with caplog.at_level(logging.WARNING):
        llm.invoke("x")
        llm.invoke("x")
        list(llm.stream("x"))

    (text,) = [r.message for r in caplog.records if "takes longer than" in r.message]
    assert "generating 8000 tokens without streaming takes longer than timeout_seconds 10" in text


def test_a_broken_attempt_has_its_usage_where_it_was_known(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _model(configured, "retries: 0", "[]")
    local_aws.cut(SONNET, after=1)

    with pytest.raises(BedrockError) as caught:
        list(llm.stream("x"))

    assert caught.value.usage is None
    assert caught.value.partial_text
    assert len(caught.value.attempts) == 1


# -- the parts


def test_the_watchdog_checks_when_due_and_at_the_interval_requested() -> None:
    dog, looked, done = Watchdog(), [], threading.Event()

    def look(now: float) -> float | None:
        looked.append(now)
        if len(looked) < 3:
            return now + 0.02
        done.set()
        return None

    begun, cancelled = time.perf_counter(), threading.Event()
    dog.watch(lambda _: None, begun + 60)
    dog.watch(lambda _: cancelled.wait(120) and None, begun)
    never = dog.watch(lambda _: looked.append(-1.0), begun + 0.01)
    never.cancel()
    dog.watch(look, begun + 0.05)
    cancelled.set()

    assert done.wait(120)
    assert looked[0] >= begun + 0.05
    assert -1.0 not in looked


def test_a_look_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    dog, looked = Watchdog(), threading.Event()

    def fails(_: float) -> float | None:
        raise AttributeError

    dog.watch(fails, time.perf_counter())
    dog.watch(lambda _: looked.set(), time.perf_counter() + 0.01)

    assert looked.wait(120)
    assert caplog.messages == ["checking an attempt's time limits failed: AttributeError"]


def test_only_waiting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    clock = SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr("langchain_modelmgr.bedrock.time_budget.time", clock)
    time_budget = TimeBudget(1, now + 600, Watchdog())

    def events() -> Iterator[int]:
        nonlocal now
        for i in range(3):
            now += 0.9
            assert time_budget._look(now) is not None
            yield i

    seen = []
    time_budget.replied()
    for i in time_budget.each(events()):
        seen.append(i)
        time_budget.content_came()
        now += 50
        assert time_budget._look(now) is not None

    assert seen == [0, 1, 2]
    assert not time_budget.ended


def test_the_time_out_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(perf_counter=lambda: 1_000.0)
    monkeypatch.setattr("langchain_modelmgr.bedrock.time_budget.time", clock)
    time_budget = TimeBudget(1, 1_600.0, Watchdog())

    time_budget.replied()
    time_budget.start_waiting()

    assert time_budget._look(1_000.9) is not None
    assert time_budget._look(1_001.1) is None
    assert time_budget.ended == "no content for 1 s"


def test_no_event_is_waited_for_past_the_deadline() -> None:
    time_budget = TimeBudget(60, time.perf_counter() - 1, Watchdog())
    shut = []

    time_budget.begin(lambda: shut.append(1))
    with pytest.raises(TimeoutError):
        next(time_budget.each([1]))

    assert time_budget.ended == "the call's deadline passed"
    assert shut
