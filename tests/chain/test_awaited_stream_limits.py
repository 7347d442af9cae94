"""Async streams without a thread: their time limits, their slots, and slow readers."""

from __future__ import annotations

import asyncio
import gc
import time
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from urllib3.exceptions import ReadTimeoutError

from langchain_modelmgr.bedrock.exchange import Arriving
from langchain_modelmgr.errors import BedrockTimeoutError, ModelManagerError
from langchain_modelmgr.local import ScriptedReply
from tests.chain.awaited import AGENT, awaiting, until
from tests.chain.test_awaited_calls import ready
from tests.chain.test_awaited_streams import WORDS, first_of, read_all, rest_of
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.chain.awaited import Threads
    from tests.held_replies import HeldReplies, TimeOuts

__all__ = ["ready"]


def open_bodies() -> list[Arriving]:
    """Return the bodies of streams that something still refers to."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Arriving)]


def test_a_paused_stream_ends_at_its_deadline_without_a_reader(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager, sink = ready
    local_aws.reply(SONNET, ScriptedReply(WORDS))
    passed = Event()
    time_outs.deadline_when(SONNET, lambda *_: passed.is_set())

    async def read() -> None:
        stream, said = await first_of(manager.chat_model("a"))
        passed.set()
        assert await asyncio.to_thread(local_aws.wait_closed, 50)
        await until(lambda: len(sink.records) == 1)
        assert manager.pool._slots._free == manager.pool.max_concurrency
        with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
            async for chunk in stream:
                said.append(chunk.text)
        assert caught.value.partial_text == "".join(said)  # all that had arrived

    asyncio.run(read())

    (record,) = sink.records
    assert record.outcome in {"aborted", "failed"}  # by whether the reader or the model was slower
    assert sink.names == ["MainThread"]


def test_a_reply_that_arrived_before_the_deadline_is_read_after_it(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager, sink = ready
    local_aws.reply(SONNET, ScriptedReply("word " * 200))
    passed = Event()
    time_outs.deadline_when(SONNET, lambda *_: passed.is_set())

    async def read() -> list[str]:
        before = open_bodies()
        stream, said = await first_of(manager.chat_model("a"))
        (body,) = (found for found in open_bodies() if found not in before)
        await until(lambda: body.is_whole)
        passed.set()
        await until(lambda: time_outs.budgets[-1].deadline < time.perf_counter())
        async for chunk in stream:
            said.append(chunk.text)
        return said

    assert "".join(asyncio.run(read())) == "word " * 200
    assert [r.outcome for r in sink.records] == ["answered"]
    assert sink.names == ["MainThread"]


def test_a_silent_stream_ends_at_its_time_out(configured: Configure, local_aws: LocalAWS) -> None:
    agent = f"{AGENT[:-1]}, timeout_seconds: 1}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        for order in (local_aws.stall, local_aws.trickle):
            order(SONNET, 60, at="stream")

            with pytest.raises(BedrockTimeoutError, match=r"no content for 1 s|Read time"):
                asyncio.run(read_all(manager.chat_model("b")))

        assert [r.outcome for r in sink.records] == ["failed"] * 2
        assert sink.names == ["MainThread"] * 2


async def test_a_part_that_comes_just_when_the_time_is_up_is_read() -> None:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = StreamReader(protocol, 2**16, loop=loop)
    exchange: Any = SimpleNamespace(is_whole=False, is_left=False, leave_body=lambda: None)
    response: Any = SimpleNamespace(connection=None, content=content, close=lambda: None)
    body = Arriving(exchange, response, "http://127.0.0.1:9", 60)
    parts = body.stream()

    async def wait(during: Callable[[], object]) -> bytes | None:
        """Wait for a part, whose time is up after something has happened; return the part."""
        waiting = asyncio.create_task(body.receive())
        await asyncio.sleep(0)
        during()
        body._awaited_since = loop.time() - 61
        body._look()
        await waiting
        return next(parts)

    assert await wait(lambda: content.feed_data(b"one")) == b"one"
    assert await wait(lambda: content.feed_data(b"two")) == b"two"
    with pytest.raises(ReadTimeoutError):
        await wait(lambda: None)
    body.close()


def test_a_slow_reader_is_not_a_silent_stream(configured: Configure, local_aws: LocalAWS) -> None:
    agent = f"{AGENT[:-1]}, timeout_seconds: 5}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        local_aws.latency(SONNET, 0, chunk_delay=0.3)  # silence while nobody reads is not counted

        async def read() -> None:
            stream, _ = await first_of(manager.chat_model("b"))
            local_aws.latency(SONNET, 0)
            await asyncio.sleep(5.3)
            async for _ in stream:
                pass

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["answered"]
        assert sink.names == ["MainThread"]


def test_the_loop_over_a_stream_may_make_calls(configured: Configure, local_aws: LocalAWS) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        llm = manager.chat_model("a")
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, said = await first_of(llm)
            async with asyncio.timeout(50):
                await llm.ainvoke("y")
                await read_all(llm)
                async for chunk in stream:
                    said.append(chunk.text)
            assert "".join(said) == WORDS

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["answered"] * 3
        assert set(sink.names) == {"MainThread"}


def test_a_resumed_stream_waits_for_a_slot_no_longer_than_its_time_out(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = f"{AGENT[:-1]}, timeout_seconds: 5}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}", max_concurrency=1) as (manager, sink):
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, said = await first_of(manager.chat_model("b"))
            local_aws.stall(SONNET, 60)
            hung = asyncio.create_task(manager.chat_model("a").ainvoke("x"))
            await until(lambda: local_aws.requests() == 4)
            with pytest.raises(BedrockTimeoutError, match="no free slot for 5") as caught:
                async for chunk in stream:
                    said.append(chunk.text)
            assert caught.value.partial_text == "".join(said)
            hung.cancel()
            await asyncio.gather(hung, return_exceptions=True)

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["failed", "aborted"]
        assert manager.pool.running == ()


def test_a_stream_that_waits_for_a_slot_again_ends_at_its_deadline(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        llm = manager.chat_model("a")
        local_aws.reply(SONNET, ScriptedReply(WORDS))
        passed = Event()
        time_outs.deadline_when(SONNET, lambda *_: passed.is_set())

        async def read() -> None:
            stream, _ = await first_of(llm)
            local_aws.stall(SONNET, 60)
            hung = asyncio.create_task(llm.ainvoke("x"))
            await until(lambda: local_aws.requests() == 4)
            rest = asyncio.create_task(rest_of(stream))
            await until(lambda: bool(manager.pool._slots._queues[0]))
            passed.set()
            for task in (rest, hung):
                with pytest.raises(BedrockTimeoutError):
                    await task

        asyncio.run(read())

        assert len(sink.records) == 2
        assert manager.pool.running == ()


def test_a_closed_manager_ends_a_paused_stream_before_it_waits_for_a_slot(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies
) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        llm = manager.chat_model("a")
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, _ = await first_of(llm)
            held.hold(SONNET)
            running = asyncio.create_task(llm.ainvoke("x"))  # it has the only slot
            await until(lambda: local_aws.requests() == 4)
            manager.close()
            with pytest.raises(ModelManagerError, match="its ModelManager was closed"):
                await rest_of(stream)
            assert not running.done()
            held.release()
            await running

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["aborted", "answered"]


def test_a_slow_reader_holds_the_stream_back(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, _ = ready
    local_aws.reply(SONNET, ScriptedReply("word " * 60_000))  # some 4 MB of events

    async def read() -> int:
        before = open_bodies()
        stream, _ = await first_of(manager.chat_model("a"))
        await asyncio.sleep(0.5)
        (body,) = (found for found in open_bodies() if found not in before)
        received: int = body._response.content.total_bytes
        assert not body.is_whole
        await stream.aclose()  # type: ignore[attr-defined]
        return received

    assert asyncio.run(read()) < 1_000_000
