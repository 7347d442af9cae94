"""The span of a stream that needs no thread is the current one only while its reply is awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_modelmgr.bedrock import exchange
from tests.chain.awaited import sent_directly
from tests.models import SONNET
from tests.tracing.span_recorder import span_id
from tests.tracing.test_span_parents import current

if TYPE_CHECKING:
    import pytest

    from langchain_modelmgr import ManagedBedrockChat
    from langchain_modelmgr.local import LocalAWS
    from tests.tracing.span_recorder import Spans


@sent_directly
def test_a_stream_that_needs_no_thread_has_its_span_only_while_it_waits(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    receive = exchange.Arriving.receive

    async def observed(body: exchange.Arriving) -> None:
        if not body.is_whole:
            seen.append(current())
        await receive(body)

    monkeypatch.setattr(exchange.Arriving, "receive", observed)

    async def read() -> None:
        async for _ in llm.astream("how many pallets?"):
            assert current() == 0

    async def calls() -> None:
        local_aws.latency(SONNET, 0, chunk_delay=0.02)
        async with asyncio.timeout(30):
            while not seen:  # the first on a thread, which makes the client ready
                await read()

    asyncio.run(calls())

    (attempt,) = spans.of_call(spans.calls[-1])
    assert seen
    assert set(seen) == {span_id(attempt)}
    assert (attempt.attributes or {})["gen_ai.request.stream"] is True
