"""Async streams without a thread: their time limits, their slots, and slow readers."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.bedrock.exchange import Arriving
from langchain_modelmgr.errors import BedrockTimeoutError
from langchain_modelmgr.local import ScriptedReply
from tests.chain.awaited import AGENT, awaiting, until
from tests.chain.test_awaited_calls import ready
from tests.chain.test_awaited_streams import WORDS, first_of, read_all
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.chain.awaited import Threads

__all__ = ["ready"]


def test_a_paused_stream_ends_at_its_deadline_without_a_reader(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = f"{AGENT[:-1]}, deadline_seconds: 2}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, said = await first_of(manager.chat_model("b"))
            assert await asyncio.to_thread(local_aws.wait_closed, 30)
            await until(lambda: [r.outcome for r in sink.records] == ["aborted"])
            assert manager.pool._slots._free == manager.pool.max_concurrency
            with pytest.raises(BedrockTimeoutError, match="the call's deadline passed") as caught:
                async for chunk in stream:
                    said.append(chunk.text)
            assert len(said) > 100  # all that had arrived
            assert caught.value.partial_text == "".join(said)

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["aborted"]
        assert sink.names == ["MainThread"]


def test_a_reply_that_arrived_before_the_deadline_is_read_after_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = f"{AGENT[:-1]}, deadline_seconds: 1}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        local_aws.reply(SONNET, ScriptedReply("word " * 200))

        async def read() -> list[str]:
            stream, said = await first_of(manager.chat_model("b"))
            await asyncio.sleep(1.5)
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

            with pytest.raises(BedrockTimeoutError, match=r"no content for 1 s|Read timed out"):
                asyncio.run(read_all(manager.chat_model("b")))

        assert [r.outcome for r in sink.records] == ["failed"] * 2
        assert sink.names == ["MainThread"] * 2


def test_a_slow_reader_is_not_a_silent_stream(configured: Configure, local_aws: LocalAWS) -> None:
    agent = f"{AGENT[:-1]}, timeout_seconds: 1}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        local_aws.latency(SONNET, 0, chunk_delay=0.3)  # silence while nobody reads is not counted

        async def read() -> None:
            stream, _ = await first_of(manager.chat_model("b"))
            local_aws.latency(SONNET, 0)
            await asyncio.sleep(1.3)
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
    agent = f"{AGENT[:-1]}, timeout_seconds: 1}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}", max_concurrency=1) as (manager, sink):
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, said = await first_of(manager.chat_model("b"))
            local_aws.stall(SONNET, 60)
            hung = asyncio.create_task(manager.chat_model("a").ainvoke("x"))
            await until(lambda: local_aws.requests() == 4)
            with pytest.raises(BedrockTimeoutError, match="no free slot for 1") as caught:
                async for chunk in stream:
                    said.append(chunk.text)
            assert caught.value.partial_text == "".join(said)
            hung.cancel()
            await asyncio.gather(hung, return_exceptions=True)

        asyncio.run(read())

        assert [r.outcome for r in sink.records] == ["failed", "aborted"]
        assert manager.pool.running == ()


def test_a_stream_that_waits_for_a_slot_again_ends_at_its_deadline(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = f"{AGENT[:-1]}, deadline_seconds: 3}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}", max_concurrency=1) as (manager, sink):
        local_aws.reply(SONNET, ScriptedReply(WORDS))

        async def read() -> None:
            stream, _ = await first_of(manager.chat_model("b"))
            local_aws.stall(SONNET, 60)
            hung = asyncio.create_task(manager.chat_model("a").ainvoke("x"))
            await until(lambda: local_aws.requests() == 4)
            with pytest.raises(BedrockTimeoutError):
                async for _ in stream:
                    pass
            hung.cancel()
            await asyncio.gather(hung, return_exceptions=True)

        asyncio.run(read())

        assert len(sink.records) == 2
        assert manager.pool.running == ()


def test_a_slow_reader_holds_the_stream_back(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, _ = ready
    local_aws.reply(SONNET, ScriptedReply("word " * 60_000))  # some 4 MB of events

    async def read() -> int:
        stream, _ = await first_of(manager.chat_model("a"))
        await asyncio.sleep(0.5)
        gc.collect()
        (body,) = (found for found in gc.get_objects() if isinstance(found, Arriving))
        received: int = body._response.content.total_bytes
        assert not body.is_whole
        await stream.aclose()  # type: ignore[attr-defined]
        return received

    assert asyncio.run(read()) < 1_000_000
