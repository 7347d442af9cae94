"""What counts as content in a stream: it renews the time-out and commits the stream."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BedrockError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.usage.estimate import output_bytes
from langchain_modelmgr.usage.stream_content import has_content
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies, TimeOuts

PIECES = 12
BYTES = base64.b64encode(b"x" * 9 * PIECES).decode()
"""So many deltas of the local server."""

CITATION = {"title": "stock.pdf", "location": {"documentPage": {"documentIndex": 0, "start": 1}}}
KINDS: dict[str, list[dict[str, Any]]] = {
    "redacted reasoning": [{"reasoningContent": {"redactedContent": BYTES}}],
    "reasoning": [{"reasoningContent": {"reasoningText": {"text": "word " * 28}}}],
    "signatures": [{"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}}]
    * PIECES,
    "citations": [{"citationsContent": {"citations": [CITATION] * PIECES}}],
    "server tool results": [
        {"toolResult": {"toolUseId": "t", "type": "x", "content": [{"text": "row"}] * PIECES}}
    ],
    "images": [{"image": {"format": "png", "source": {"bytes": BYTES}}}] * PIECES,
}


def _manager(configured: Configure) -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', timeout_seconds: 60, fallbacks: ['{HAIKU}']}}")
    return ModelManager(config, sinks=[MemorySink()])


def _records(manager: ModelManager) -> Any:
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return sink.records


@pytest.mark.parametrize("mode", ["stream", "astream"])
async def test_content_that_is_not_text_renews_the_time_out(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, mode: str
) -> None:
    manager = _manager(configured)
    llm = manager.chat_model("a")
    local_aws.script(lambda request: ScriptedReply("done", blocks=KINDS[request.prompt]))
    time_outs.slow_events(SONNET, 6)  # PIECES of them take longer than the time-out
    local_aws.latency(SONNET, 0, chunk_delay=0.02)

    async def text_of(kind: str) -> str:
        if mode == "stream":
            chunks = await asyncio.to_thread(lambda: list(llm.stream(kind)))
        else:
            chunks = [chunk async for chunk in llm.astream(kind)]
        return "".join(chunk.text for chunk in chunks)

    texts = await asyncio.gather(*(text_of(kind) for kind in KINDS))

    assert [text for text in texts if not text.endswith("done")] == []
    found = [(r.model_id, r.outcome) for r in _records(manager)]
    assert found == [(SONNET, "answered")] * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_content_that_is_not_text_is_the_first_content(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies, time_outs: TimeOuts, kind: str
) -> None:
    manager = _manager(configured)
    local_aws.reply(SONNET, ScriptedReply("done", blocks=KINDS[kind]))
    held.hold(SONNET, after=1)
    received = threading.Event()

    def look(limits: Any, _: Any) -> bool:
        if limits.contents == 1:
            received.set()
        return False

    time_outs.when(SONNET, look)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(manager.chat_model("a").stream("x")))
        came = received.wait(50)
        time.sleep(0.1)
        held.release()
        reading.result()

    assert came
    (record,) = _records(manager)
    assert record.latency_ms - record.time_to_first_token_ms >= 100


@pytest.mark.parametrize("kind", ["redacted reasoning", "citations", "server tool results"])
def test_content_that_is_not_text_is_billed_when_its_stream_breaks(
    configured: Configure, local_aws: LocalAWS, kind: str
) -> None:
    manager = _manager(configured)
    local_aws.reply(SONNET, ScriptedReply("done", blocks=KINDS[kind]))
    local_aws.reset(SONNET, at="stream", after=4)

    with pytest.raises(BedrockError):
        list(manager.chat_model("a").stream("x" * 4_000))

    (record,) = _records(manager)
    assert record.estimated_wasted_cost_usd >= Decimal("0.003")  # the prompt's 1,000 tokens


@pytest.mark.parametrize(
    ("part", "is_content", "size"),
    [
        ({"text": ""}, False, 0),
        ({"text": "é"}, True, 2),
        ({}, False, 0),
        ({"toolUse": {"input": ""}}, False, 0),
        ({"toolUse": {"toolUseId": "t1", "name": "read"}}, True, 4),
        ({"reasoningContent": {"text": ""}}, False, 0),
        ({"reasoningContent": {"redactedContent": b"xyz"}}, True, 3),
        ({"reasoningContent": {"signature": "abc"}}, True, 0),
        ({"toolResult": {"toolUseId": "t1", "status": "success"}}, True, 0),
        ({"toolResult": [{"text": "four"}, {"json": {"a": 1, "b": "two"}}]}, True, 7),
        ({"toolResult": []}, False, 0),
        ({"toolResult": [{"json": {"a": 0}}]}, True, 0),
        ({"citation": {"title": "a", "sourceContent": [{"text": "cited"}]}}, True, 0),
        ({"image": {"format": "png"}}, True, 6_400),
        ({"image": {"source": {"bytes": b"png"}}}, True, 0),
        ({"SDK_UNKNOWN_MEMBER": {"name": "audio"}}, True, 5),
    ],
)
def test_every_kind_of_start_and_delta_is_weighed(
    part: dict[str, Any], is_content: bool, size: int
) -> None:
    assert has_content(part) is is_content
    assert output_bytes(part) == size
