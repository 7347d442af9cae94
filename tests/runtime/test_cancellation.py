"""A call that is cancelled: not sent if it was not, recorded if it was, and never both or neither."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_modelmgr import ModelManager
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.runtime.workers import WORKERS
from langchain_modelmgr.usage.meter import Meter, NotSentError
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def _manager(configured: Configure, max_concurrency: int = 64) -> ModelManager:
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: []}}\nb: {{model: '{HAIKU}', fallbacks: []}}"
    )
    return ModelManager(config, sinks=[MemorySink()], max_concurrency=max_concurrency)


def _records(manager: ModelManager) -> Any:
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return sink.records


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(50):
        while not happened():  # noqa: ASYNC110 - other threads' work is waited for
            await asyncio.sleep(0.01)


async def _cancelled(call: Coroutine[Any, Any, Any], after: Callable[[], bool] | float) -> None:
    task = asyncio.create_task(call)
    if isinstance(after, float):
        await asyncio.sleep(after)
    else:
        await _until(after)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class _Stage:
    """A point before the request is sent at which a call's thread waits until it is released."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, **_: Any) -> None:
        self.reached.set()
        self.go_on.wait(50)


def _calls(llm: Any, question: Any = "x") -> list[Callable[[], Coroutine[Any, Any, Any]]]:
    return [lambda: llm.ainvoke(question), lambda: _read(llm.astream(question))]


@pytest.mark.parametrize("mode", [0, 1])
async def test_a_call_that_is_cancelled_at_a_cold_start_is_not_sent(
    configured: Configure, local_aws: LocalAWS, mode: int
) -> None:
    manager = _manager(configured)
    building = _Stage()
    manager.clients.session.events.register("creating-client-class.bedrock-runtime", building)

    await _cancelled(_calls(manager.chat_model("a"))[mode](), building.reached.is_set)
    building.go_on.set()
    await _until(lambda: WORKERS.busy == 0)

    assert local_aws.requests() == 0
    assert _records(manager) == ()
    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["attempts"]) == (1, 0)


@pytest.mark.parametrize("mode", [0, 1])
async def test_a_call_that_is_cancelled_in_the_queue_is_not_sent(
    configured: Configure, local_aws: LocalAWS, mode: int
) -> None:
    manager = _manager(configured, max_concurrency=1)
    llm = manager.chat_model("a")
    answer = threading.Event()
    local_aws.script(lambda _: ScriptedReply(text="first" if answer.wait(50) else "late"))
    first = asyncio.create_task(llm.ainvoke("first"))
    await _until(lambda: local_aws.requests() == 1)

    for _ in range(10):
        await _cancelled(_calls(llm)[mode](), 0.01)
    answer.set()
    await first
    await _until(lambda: WORKERS.busy == 0)

    assert local_aws.requests() == 1
    assert [r.outcome for r in _records(manager)] == ["answered"]


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize(
    "stage", [f"{event}.bedrock-runtime" for event in ("provide-client-params", "before-send")]
)
async def test_a_call_that_is_cancelled_while_its_prompt_is_prepared_is_not_sent(
    configured: Configure, local_aws: LocalAWS, stage: str, mode: int
) -> None:
    manager = _manager(configured)
    llm = manager.chat_model("a")
    await llm.ainvoke("x")
    turns = [HumanMessage("x" * 200), AIMessage("y" * 200)] * 2_000
    prompt = [*turns, HumanMessage("x")]
    preparing = _Stage()
    manager.clients.runtime().meta.events.register(stage, preparing)

    await _cancelled(_calls(llm, prompt)[mode](), preparing.reached.is_set)
    preparing.go_on.set()
    await _until(lambda: WORKERS.busy == 0)

    assert local_aws.requests() == 1
    assert [r.outcome for r in _records(manager)] == ["answered"]


async def test_requests_received_are_attempts_recorded_however_calls_are_cancelled(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, max_concurrency=8)
    a, b = manager.chat_model("a"), manager.chat_model("b")
    await asyncio.gather(a.ainvoke("x"), b.ainvoke("x"))
    local_aws.script(lambda _: ScriptedReply(text="word " * 60))
    local_aws.latency(SONNET, 0.005)
    local_aws.latency(HAIKU, 0.0, chunk_delay=0.001)
    dice = random.Random(4)
    calls = [*_calls(a), *_calls(b)]

    for _ in range(20):
        await asyncio.gather(
            *(_cancelled(dice.choice(calls)(), dice.uniform(0.0, 0.08)) for _ in range(10))
        )
    await _until(lambda: WORKERS.busy == 0)

    outcomes = [r.outcome for r in _records(manager)]
    # A whole request whose connection is cut at once never reaches the local server's handler:
    # it was sent, so it is recorded, and the server doesn't count it.
    cut = len(outcomes) - local_aws.requests()
    assert 0 <= cut <= outcomes.count("aborted")
    assert set(outcomes) <= {"answered", "aborted"}
    assert manager.get_usage_summary()["total_invocations"] == 202
    await asyncio.wait_for(asyncio.gather(*(a.ainvoke("y") for _ in range(8))), 50)


def test_an_attempt_is_either_sent_and_reported_or_neither() -> None:
    sent: list[Meter] = []
    ends: list[Meter] = []

    def send(meter: Meter, start: threading.Barrier) -> None:
        start.wait()
        with contextlib.suppress(NotSentError):
            meter.send()
            sent.append(meter)

    for _ in range(300):
        meter, start = Meter("m", ends.append), threading.Barrier(2)
        meter.form({})
        thread = threading.Thread(target=send, args=(meter, start))
        thread.start()
        start.wait()
        meter.cancel()
        thread.join()

    assert {id(m) for m in ends} == {id(m) for m in sent}
    assert {m.outcome for m in ends} <= {"aborted"}


def test_a_cancelled_reply_that_opens_late_is_shut() -> None:
    class Raw:
        shut = 0

        def shutdown(self) -> None:
            self.shut += 1

    raw, meter = Raw(), Meter("m", lambda _: None)
    meter.send()
    meter.cancel()
    meter.opened(raw)

    assert raw.shut == 1
