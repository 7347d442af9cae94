"""Who may run: slots, each model's share of them, and what is never waited for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BedrockTimeoutError, ModelManagerError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies, TimeOuts

LONG = "word " * 1_000
"""Some 400 deltas: far more than a stream's buffer holds."""

HUNG = 300.0
"""Seconds that no test waits."""


def _manager(configured: Configure, max_concurrency: int, settings: str = "") -> ModelManager:
    agents = "\n".join(
        f"{name}: {{model: '{model}', fallbacks: [], retries: 0, cooldown_seconds: 0{settings}}}"
        for name, model in (("a", SONNET), ("b", HAIKU), ("c", OPUS))
    )
    config = configured(f"{agents}\nwarm: {{model: '{SONNET}', fallbacks: []}}")
    manager = ModelManager(config, sinks=[MemorySink()], max_concurrency=max_concurrency)
    manager.chat_model("warm").invoke("x")  # builds the client, which takes long
    return manager


def _outcomes(manager: ModelManager) -> list[Any]:
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return [r.outcome for r in sink.records][1:]


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(50):
        while not happened():  # noqa: ASYNC110 - other threads' work is waited for
            await asyncio.sleep(0.01)


async def _soon(call: Any) -> Any:
    """Return what must not wait for anything that hangs."""
    return await asyncio.wait_for(call, 50)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- readers that pause


async def test_paused_readers_do_not_block_other_calls(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, max_concurrency=2)
    llm = manager.chat_model("a")
    local_aws.script(lambda request: ScriptedReply(f"{request.prompt} {LONG}"))
    streams = [llm.astream(f"q{i}") for i in range(6)]

    first = [(await _soon(anext(stream))).text for stream in streams]
    answers = await _soon(asyncio.gather(*(manager.chat_model(n).ainvoke("x") for n in "abcabc")))
    rest = [[chunk.text async for chunk in stream] for stream in streams]

    assert len(answers) == 6
    texts = [one + "".join(more) for one, more in zip(first, rest, strict=True)]
    assert texts == [f"q{i} {LONG}" for i in range(6)]
    assert set(_outcomes(manager)) == {"answered"}


@pytest.mark.parametrize("max_concurrency", [1, 2])
async def test_a_stream_s_loop_may_call(
    configured: Configure, local_aws: LocalAWS, max_concurrency: int
) -> None:
    manager = _manager(configured, max_concurrency)
    llm = manager.chat_model("a")
    local_aws.reply(SONNET, ScriptedReply("word " * 400))
    called = 0

    async def read() -> str:
        nonlocal called
        text = ""
        async for chunk in llm.astream("x"):
            text += chunk.text
            if called < 5:
                await llm.ainvoke("y")
                async for _ in llm.astream("z"):
                    pass
                called += 1
        return text

    assert await _soon(read()) == "word " * 400
    assert called == 5


def _end_paused(time_outs: TimeOuts) -> threading.Event:
    """Let the deadline pass once the reader has paused longer than the model took."""
    paused = threading.Event()

    def is_over(limits: Any, _: Any) -> bool:
        waits = limits._waiting_since is not None
        return paused.is_set() and not waits and bool(limits._reader_was_slower())

    time_outs.deadline_when(SONNET, is_over)
    return paused


async def test_a_paused_stream_ends_at_its_deadline_without_a_reader(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured, 4, ", deadline_seconds: 60")
    local_aws.script(lambda _: ScriptedReply("word " * 20_000))  # more than sockets hold
    paused = _end_paused(time_outs)
    stream = manager.chat_model("a").astream("x")
    said = [(await anext(stream)).text]
    paused.set()

    closed = await asyncio.to_thread(local_aws.wait_closed, 50)
    await _until(lambda: _outcomes(manager) == ["aborted"])
    with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
        async for chunk in stream:
            said.append(chunk.text)

    assert closed
    assert len(caught.value.attempts) == 1
    assert caught.value.partial_text == "".join(said)


def test_a_paused_sync_stream_closes_its_connection_at_its_deadline_and_ends_when_it_is_read_on(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured, 4, ", deadline_seconds: 60")
    local_aws.script(lambda _: ScriptedReply("word " * 20_000))
    local_aws.stall(SONNET, HUNG, at="stream", after=5)  # or the sockets take all of it before that
    paused = _end_paused(time_outs)
    stream = manager.chat_model("a").stream("x")
    said = [next(stream).text]
    paused.set()

    closed = local_aws.wait_closed(50)  # although there is no reader
    with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
        for chunk in stream:
            said.append(chunk.text)

    assert closed
    assert _outcomes(manager) == ["aborted"]
    assert caught.value.partial_text == "".join(said)


async def test_a_resumed_stream_waits_for_a_slot_no_longer_than_its_time_out(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured, 1)
    local_aws.reply(SONNET, ScriptedReply(LONG))
    stream = manager.chat_model("a", timeout=60).astream("x")
    await anext(stream)
    local_aws.stall(HAIKU, HUNG)
    hung = asyncio.create_task(manager.chat_model("b").ainvoke("y"))
    await _until(lambda: local_aws.requests(HAIKU) == 1)
    time_outs.budgets[-2].timeout = 0.3  # of the stream

    with pytest.raises(BedrockTimeoutError, match=r"no free slot for [\d.]+ s: 0 of 1") as caught:
        async for _ in stream:
            pass

    assert caught.value.partial_text
    assert await asyncio.to_thread(local_aws.wait_closed, 50)
    assert _outcomes(manager) == ["failed"]
    await _cancel(hung)


# -- calls that hang


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
@pytest.mark.parametrize("bound", ["timeout_seconds", "deadline_seconds"])
async def test_a_slot_is_waited_for_no_longer_than_time_out_and_deadline(
    configured: Configure, local_aws: LocalAWS, bound: str, mode: str
) -> None:
    manager = _manager(configured, 1)
    local_aws.stall(SONNET, HUNG)
    hung = asyncio.create_task(manager.chat_model("a").ainvoke("x"))
    await _until(lambda: local_aws.requests(SONNET) == 2)
    config = configured(f"a: {{model: '{SONNET}', fallbacks: [], retries: 0, {bound}: 0.4}}")
    short = ModelManager(config, sinks=[MemorySink()])
    short.pool, short.chains._pool = manager.pool, manager.pool
    llm: Any = short.chat_model("a")

    with pytest.raises(BedrockTimeoutError, match=r"no free slot for [\d.]+ s: 1 of 1") as caught:
        if mode == "ainvoke":
            await _soon(llm.ainvoke("y"))
        else:
            await _soon(anext(llm.astream("y")))

    assert caught.value.attempts == ()
    await _cancel(hung)
    await _soon(manager.chat_model("a").ainvoke("z"))
    assert local_aws.requests(SONNET) == 3  # y was never sent


async def test_a_call_that_waited_too_long_for_a_model_falls_back(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], timeout_seconds: 60}}\n"
        f"slow: {{model: '{SONNET}', fallbacks: []}}"
    )
    manager = ModelManager(config, sinks=[MemorySink()], max_concurrency=4)
    manager.chat_model("a").invoke("x")
    local_aws.stall(SONNET, HUNG, times=3)
    hung = [asyncio.create_task(manager.chat_model("slow").ainvoke("x")) for _ in range(3)]
    await _until(lambda: local_aws.requests(SONNET) == 4)
    time_outs.after(SONNET, 0.3)

    for _ in range(5):
        reply = await _soon(manager.chat_model("a").ainvoke("y"))
        report = reply.response_metadata["model_manager"]
        assert report["model_id"] == HAIKU
        assert [a["model_id"] for a in report["attempts"]] == [HAIKU]

    assert local_aws.requests(SONNET) == 4
    await _cancel(*hung)
    time_outs.after(SONNET, 60)
    reply = await _soon(manager.chat_model("a").ainvoke("z"))
    assert reply.response_metadata["model_manager"]["model_id"] == SONNET  # it is not cooling down


async def test_one_hung_model_delays_no_other(configured: Configure, local_aws: LocalAWS) -> None:
    manager = _manager(configured, 4)
    local_aws.stall(SONNET, HUNG, times=8)
    hung = [asyncio.create_task(manager.chat_model("a").ainvoke("x")) for _ in range(8)]
    await _until(lambda: local_aws.requests(SONNET) == 4)  # three of them, and the first of all

    for name in "bcbc":
        await _soon(manager.chat_model(name).ainvoke("y"))

    assert local_aws.requests(SONNET) == 4
    await _cancel(*hung)


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
async def test_cancelled_calls_free_their_slots_at_once(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    manager = _manager(configured, 4)
    llm: Any = manager.chat_model("a")
    local_aws.stall(SONNET, HUNG, times=12)

    async def read() -> None:
        async for _ in llm.astream("x"):
            pass

    for round_ in range(1, 5):
        call = llm.ainvoke if mode == "ainvoke" else lambda _: read()
        tasks = [asyncio.create_task(call("x")) for _ in range(3)]
        await _until(lambda expected=1 + 3 * round_: local_aws.requests(SONNET) == expected)  # type: ignore[misc]
        await _cancel(*tasks)

    await _soon(asyncio.gather(*(llm.ainvoke("y") for _ in range(4))))
    assert Counter(_outcomes(manager)) == {"aborted": 12, "answered": 4}


async def test_a_closed_manager_ends_its_streams_and_what_waits(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies
) -> None:
    manager = _manager(configured, 1)
    local_aws.reply(SONNET, ScriptedReply("word " * 20_000))
    paused = manager.chat_model("a").astream("x")
    await anext(paused)
    held.hold(HAIKU)
    running = asyncio.create_task(manager.chat_model("b").ainvoke("x"))
    await _until(lambda: local_aws.requests(HAIKU) == 1)
    waiting = asyncio.create_task(manager.chat_model("c").ainvoke("x"))
    await _until(lambda: len(manager.pool._running) == 3)

    manager.close()

    assert await asyncio.to_thread(local_aws.wait_closed, 50)
    assert _outcomes(manager) == ["aborted"]  # before the sinks were closed
    with pytest.raises(ModelManagerError, match="ModelManager was closed"):
        async for _ in paused:
            pass
    with pytest.raises(ModelManagerError, match="ModelManager was closed"):
        await _soon(waiting)
    held.release()
    await _soon(running)
    assert local_aws.requests(OPUS) == 0
    await _soon(manager.chat_model("c").ainvoke("y"))
