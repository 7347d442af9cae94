"""Async streams without a thread: their chunks and failures, and what ends them."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_aws.chat_models import bedrock_converse

from langchain_modelmgr import ModelManager, ModelManagerError
from langchain_modelmgr.errors import BedrockConnectionError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.local.state import Replay
from tests.chain.awaited import AGENT, CHAIN, awaiting, until
from tests.chain.fault_matrix import AFTER, KINDS, STREAMED, Kind
from tests.chain.test_awaited_calls import async_outcome, compare, ready
from tests.chain.test_awaited_sockets import needs_proc, sockets
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.messages import AIMessageChunk

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.chain.awaited import Threads
    from tests.held_replies import TimeOuts

__all__ = ["ready"]

RECORDINGS = ROOT.parent / "shared" / "recordings" / "converse.jsonl"
_LINES = RECORDINGS.read_text("utf-8").splitlines() if RECORDINGS.is_file() else []
STREAMS = [r for r in map(json.loads, _LINES) if r["operation"] == "ConverseStream"]

WORDS = "word " * 20_000
"""More than sockets and buffers hold."""

_X: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "x"}]}]


async def first_of(llm: Any) -> tuple[AsyncIterator[Any], list[str]]:
    """Begin a stream; return it, and the list of texts that were read."""
    stream = llm.astream("x")
    return stream, [(await anext(stream)).text]


# -- chunks and failures


@pytest.mark.skipif(not STREAMS, reason="the recordings are not at hand")
@pytest.mark.filterwarnings("ignore")
def test_recorded_streams_give_the_same_chunks(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    for record in STREAMS:
        replay = Replay(200, record["headers"], base64.b64decode(record["body_base64"]))
        compare(
            ready,
            mode="stream",
            before=lambda r=replay: local_aws._state.add_replay("ConverseStream", SONNET, r),  # type: ignore[misc]
        )


@pytest.mark.parametrize("place", STREAMED)
@pytest.mark.parametrize(
    "kind", [k for k in KINDS if set(STREAMED) & set(k.places)], ids=lambda k: k.name
)
def test_failures_in_mid_stream_are_the_same(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, kind: Kind, place: str
) -> None:
    in_tool_call = place == "in a tool call"
    calls = [("count_pallets", {"warehouse": "x" * 40}, "t1")] if in_tool_call else []
    reply = ScriptedReply(text="" if calls else "thirty words, or nearly so many", tool_calls=calls)

    def before() -> None:
        local_aws.clear_faults()
        local_aws.reply(SONNET, reply)
        kind.order(local_aws, place, AFTER[place])

    with awaiting(configured, f"a: {AGENT}\nb: {CHAIN}") as made:
        if kind.silent:
            time_outs.after(SONNET, 0.5, of_socket=True)
        for agent in "ab":
            compare(made, mode="stream", agent=agent, before=before, tools=True)


def test_a_stream_of_the_manager_needs_no_thread(ready: tuple[ModelManager, Threads]) -> None:
    manager, sink = ready

    async def read() -> list[Any]:
        return [event async for event in manager.astream_model("a", _X)]

    assert asyncio.run(read())
    assert sink.names == ["MainThread"]


def test_a_stream_that_boto3_must_send_is_sent_once_on_a_thread(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    events: list[str] = []
    manager.clients.runtime().meta.events.register(
        "before-sign.bedrock-runtime", lambda event_name, **_: events.append(event_name)
    )
    before = local_aws.requests()

    asyncio.run(async_outcome(manager.chat_model("a"), "x", "stream"))

    assert (len(events), local_aws.requests() - before) == (1, 1)
    assert [r.outcome for r in sink.records] == ["answered"]
    assert [name.startswith("modelmgr-") for name in sink.names] == [True]


def test_a_value_that_boto3_must_send_is_sent_once_on_a_thread(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    number = type("Number", (int,), {})(7)  # boto3 takes it
    llm = manager.chat_model("a").bind(additional_model_request_fields={"n": number})
    before = local_aws.requests()

    asyncio.run(async_outcome(llm, "x", "stream"))

    assert local_aws.requests() - before == 1
    assert [r.outcome for r in sink.records] == ["answered"]
    assert [name.startswith("modelmgr-") for name in sink.names] == [True]


def test_an_event_without_a_chunk_is_passed_over(
    ready: tuple[ModelManager, Threads], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later langchain-aws may make no chunk of some events."""
    manager, sink = ready
    parse = bedrock_converse._parse_stream_event

    def parsed(event: dict[str, Any], **given: Any) -> Any:
        return None if "contentBlockStop" in event else parse(event, **given)

    whole = asyncio.run(async_outcome(manager.chat_model("a"), "x", "stream"))
    monkeypatch.setattr(bedrock_converse, "_parse_stream_event", parsed)
    fewer = asyncio.run(async_outcome(manager.chat_model("a"), "x", "stream"))

    assert len(whole) == len(fewer) + 1
    assert [r.outcome for r in sink.records] == ["answered"] * 2
    assert set(sink.names) == {"MainThread"}


# -- what ends a stream


async def read_all(llm: Any) -> None:
    async for _ in llm.astream("x"):
        pass


@needs_proc
@pytest.mark.parametrize("ending", ["closed", "left", "cancelled", "the manager is closed"])
def test_a_stream_that_ends_early_frees_its_slot_and_its_socket(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, ending: str
) -> None:
    manager, sink = ready
    manager.clients.runtime().close()  # connections of the synchronous path
    local_aws.stall(SONNET, 60, at="stream", after=1, times=8)

    async def begun() -> None:
        streams = [(await first_of(manager.chat_model("a")))[0] for _ in range(8)]
        assert sockets(local_aws.url) >= 8
        if ending == "closed":
            for stream in streams:
                await stream.aclose()  # type: ignore[attr-defined]
        elif ending == "left":
            stream = None
            streams.clear()
            gc.collect()
        elif ending == "cancelled":
            tasks = [asyncio.ensure_future(rest_of(stream)) for stream in streams]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        else:
            await asyncio.to_thread(manager.close)
            for stream in streams:
                with pytest.raises(ModelManagerError, match="its ModelManager was closed"):
                    await rest_of(stream)
        await until(lambda: sockets(local_aws.url) == 0)
        await until(lambda: manager.pool.running == ())

    asyncio.run(begun())

    assert [r.outcome for r in sink.records] == ["aborted"] * 8
    assert set(sink.names) <= {"MainThread", "asyncio_0"}
    assert manager.pool._slots._free == manager.pool.max_concurrency


async def rest_of(stream: AsyncIterator[AIMessageChunk]) -> None:
    async for _ in stream:
        pass


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
@pytest.mark.parametrize("is_read", [True, False])
def test_a_stream_of_a_closed_loop_frees_its_slot_and_is_recorded(
    configured: Configure, local_aws: LocalAWS, *, is_read: bool
) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        llm = manager.chat_model("a")
        local_aws.reply(SONNET, ScriptedReply(WORDS))
        kept: list[Any] = []

        async def left() -> None:
            stream, _ = await first_of(llm)
            kept.append(asyncio.ensure_future(rest_of(stream)) if is_read else stream)
            if is_read:
                local_aws.latency(SONNET, 0, chunk_delay=60)
            await asyncio.sleep(0.01)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(left())
        loop.close()
        local_aws.latency(SONNET, 0)
        asyncio.run(llm.ainvoke("x"))

        assert [r.outcome for r in sink.records] == ["aborted", "answered"]
        assert manager.pool.running == ()
        kept.clear()
        gc.collect()


def test_a_fallback_streams_before_the_first_content_only(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    llm = manager.chat_model("b")
    local_aws.reset(SONNET, at="stream", after=0)
    stream = asyncio.run(async_outcome(llm, "x", "stream"))

    assert HAIKU in stream[-1]
    assert [r.outcome for r in sink.records] == ["failed", "answered"]

    local_aws.reset(SONNET, at="stream", after=1)
    with pytest.raises(BedrockConnectionError) as caught:
        asyncio.run(read_all(llm))

    assert caught.value.partial_text
    assert sink.names == ["MainThread"] * 3
