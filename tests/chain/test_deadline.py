"""One deadline for a whole call; and a stream that says nothing ends in time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.errors import BedrockError, BedrockRateLimitError, BedrockTimeoutError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.runtime.watchdog import Watchdog
from tests.models import HAIKU, SONNET
from tests.support import pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


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


def _pace(configured: Configure) -> float:
    llm = _model(configured, "retries: 0", "[]")
    return pace(lambda: llm.invoke("x"))


def test_the_deadline_ends_retries_and_reports_how_the_time_was_spent(
    configured: Configure, local_aws: LocalAWS
) -> None:
    slower = _pace(configured)
    llm = _model(
        configured, f"deadline_seconds: {3 * slower:.2f}, retries: 9, cooldown_seconds: 0", "[]"
    )
    local_aws.fail(SONNET, "ThrottlingException", times=None, retry_after=1.2 * slower)

    with pytest.raises(
        BedrockRateLimitError,
        match=r"deadline of [\d.]+ s: [\d.]+ s in [123] attempts? on anthropic.* waiting",
    ) as caught:
        llm.invoke("x")

    assert 1 <= len(caught.value.attempts) <= 3  # no sleep is shorter than Retry-After


def test_a_hop_has_what_is_left_and_is_not_begun_without(
    configured: Configure, local_aws: LocalAWS
) -> None:
    seconds = 3 * _pace(configured)
    llm = _model(configured, f"deadline_seconds: {seconds:.2f}, timeout_seconds: 60")
    local_aws.stall(SONNET, 100 * seconds)
    local_aws.stall(HAIKU, 100 * seconds)

    with pytest.raises(
        BedrockTimeoutError, match=r"deadline of [\d.]+ s: [\d.]+ s in 1 attempt on"
    ) as caught:
        llm.invoke("x")

    assert [a.model_id for a in caught.value.attempts] == [SONNET]
    assert local_aws.requests(HAIKU) == 0


async def test_async_calls_have_it_too(configured: Configure, local_aws: LocalAWS) -> None:
    llm = _model(configured, "deadline_seconds: 0.4", "[]")
    local_aws.stall(SONNET, 600, times=2)

    with pytest.raises(BedrockTimeoutError, match="deadline"):
        await llm.ainvoke("x")
    with pytest.raises(BedrockTimeoutError, match="deadline"):
        async for _ in llm.astream("x"):
            pass


def test_a_stream_ends_at_the_deadline_with_what_it_had_said(
    configured: Configure, local_aws: LocalAWS
) -> None:
    slower = _pace(configured)
    llm = _model(configured, f"deadline_seconds: {4 * slower:.2f}")
    text = LONG * 60  # takes 25 times as long as it may
    local_aws.script(lambda _: ScriptedReply(text=text))
    local_aws.latency(SONNET, 0, chunk_delay=0.1 * slower)
    said = []

    with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
        for chunk in llm.stream("x"):
            said.append(chunk.text)

    assert len(said) > 2
    assert caught.value.partial_text == "".join(said)
    assert text.startswith(caught.value.partial_text)
    assert len(caught.value.partial_text) < len(text)
    assert "word" not in str(caught.value)
    assert local_aws.requests(HAIKU) == 0


def test_a_slow_reader_is_not_a_silent_stream(configured: Configure, local_aws: LocalAWS) -> None:
    slower = _pace(configured)
    llm = _model(configured, f"timeout_seconds: {slower:.2f}")
    local_aws.script(lambda _: ScriptedReply(text="word " * 6))
    said = []

    for chunk in llm.stream("x"):
        said.append(chunk.text)
        if len(said) < 3:
            time.sleep(1.5 * slower)

    assert "".join(said) == "word " * 6


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_a_stream_of_events_without_content_falls_back_in_time(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    """Bytes keep coming, so that no socket's time-out ever ends it."""
    llm = _model(configured, f"timeout_seconds: {_pace(configured):.2f}")
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

    begun = time.perf_counter()
    dog.watch(lambda _: None, begun + 60)
    never = dog.watch(lambda _: looked.append(-1.0), begun + 0.01)
    never.cancel()
    dog.watch(look, begun + 0.05)

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


def test_only_waiting_counts() -> None:
    dog = Watchdog()
    time_budget = TimeBudget(1, time.perf_counter() + 600, dog)

    def events() -> Iterator[int]:
        for i in range(3):
            time.sleep(0.05)
            yield i

    seen = []
    time_budget.begin(lambda: None)
    time_budget.replied()
    for i in time_budget.each(events()):
        seen.append(i)
        time_budget.content_came()
        time.sleep(1.2)
    time_budget.end()

    assert seen == [0, 1, 2]
    assert not time_budget.ended


def test_no_event_is_waited_for_past_the_deadline() -> None:
    time_budget = TimeBudget(60, time.perf_counter() - 1, Watchdog())
    shut = []

    time_budget.begin(lambda: shut.append(1))
    with pytest.raises(TimeoutError):
        next(time_budget.each([1]))

    assert time_budget.ended == "the call's deadline passed"
    assert shut
