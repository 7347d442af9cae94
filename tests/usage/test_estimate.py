"""What broken attempts probably cost: an estimate, beside the cost of answers, never in it."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BedrockError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.usage.estimate import estimated_usage
from langchain_modelmgr.usage.pricing import TokenCounts
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts


USAGE = {"inputTokens": 9, "outputTokens": 9, "totalTokens": 18}
PROMPT = "x" * 4_000
"""About 1,000 tokens: 0.003 USD of Sonnet's input."""


def _manager(configured: Configure, *, fallbacks: str = f"['{HAIKU}']") -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', timeout_seconds: 60, fallbacks: {fallbacks}}}")
    return ModelManager(config, sinks=[MemorySink()])


def _records(manager: ModelManager) -> tuple[Any, ...]:
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return sink.records


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_refusal_wastes_nothing(configured: Configure, local_aws: LocalAWS, code: str) -> None:
    manager = _manager(configured)
    local_aws.fail(SONNET, code)

    reply = manager.chat_model("a").invoke(PROMPT)

    report = reply.response_metadata["model_manager"]
    assert report["estimated_wasted_cost_usd"] == "0"
    assert [r.estimated_wasted_cost_usd for r in _records(manager)] == [None, None]


def test_a_time_out_wastes_its_input_beside_the_answers_cost(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured)
    local_aws.stall(SONNET, 300)
    time_outs.when_received(local_aws, SONNET)

    with manager.track() as usage:
        reply = manager.chat_model("a").invoke(PROMPT)

    report = reply.response_metadata["model_manager"]
    wasted, answered = _records(manager)
    assert Decimal(report["estimated_wasted_cost_usd"]) == Decimal("0.003")
    assert wasted.estimated_wasted_cost_usd == Decimal("0.003")
    assert wasted.cost_usd is None
    assert Decimal(report["cost_usd"]) == answered.cost_usd
    assert answered.estimated_wasted_cost_usd is None
    assert usage.estimated_wasted_cost_usd == 0.003
    summary = manager.get_usage_summary()
    assert summary["estimated_wasted_cost_usd"] == 0.003
    assert summary["by_model"][SONNET]["estimated_wasted_cost_usd"] == 0.003
    assert summary["total_cost_usd"] == float(answered.cost_usd)


def test_a_cut_stream_wastes_what_was_received(configured: Configure, local_aws: LocalAWS) -> None:
    manager = _manager(configured, fallbacks="[]")
    local_aws.cut(SONNET, after=2)

    with pytest.raises(BedrockError):
        list(manager.chat_model("a").stream(PROMPT))

    (record,) = _records(manager)
    received = Decimal(24 // 4) * Decimal("0.000015")  # two deltas of 12 characters
    assert record.estimated_wasted_cost_usd == Decimal("0.003") + received


@pytest.mark.parametrize("mode", ["stream", "astream"])
async def test_half_an_emoji_breaks_no_stream_and_no_record(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    manager = _manager(configured, fallbacks="[]")
    llm = manager.chat_model("a")
    halves = "eleven char" + "\ud83d" + "\ude00 and more"  # the local AWS sends 12 in each delta
    local_aws.script(lambda _: ScriptedReply(text=halves, usage=USAGE))

    if mode == "stream":
        whole = [chunk.text for chunk in llm.stream(PROMPT)]
    else:
        whole = [chunk.text async for chunk in llm.astream(PROMPT)]
    local_aws.cut(SONNET, after=1)
    with pytest.raises(BedrockError):
        list(llm.stream(PROMPT))

    assert "".join(whole) == halves
    answered, cut = _records(manager)
    assert answered.outcome == "answered"
    received = Decimal(4) * Decimal("0.000015")  # 14 bytes: a half counts as three
    assert cut.estimated_wasted_cost_usd == Decimal("0.003") + received


def test_an_abandoned_stream_and_a_cancelled_call_are_billed_all_the_same(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured)
    llm = manager.chat_model("a")
    stream = llm.stream(PROMPT)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    local_aws.latency(SONNET, 300)

    async def cancelled() -> None:
        call = asyncio.create_task(llm.ainvoke(PROMPT))
        async with asyncio.timeout(50):
            while local_aws.requests() < 2:  # noqa: ASYNC110 - the server runs in a thread
                await asyncio.sleep(0.01)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    asyncio.run(cancelled())

    assert [r.outcome for r in _records(manager)] == ["aborted", "aborted"]
    assert all(r.estimated_wasted_cost_usd >= Decimal("0.003") for r in _records(manager))


def test_an_estimate_without_a_price_is_none(configured: Configure, local_aws: LocalAWS) -> None:
    config = configured("a: {model: acme.unheard-of, timeout_seconds: 0.2, fallbacks: []}")
    manager = ModelManager(config, sinks=[MemorySink()])
    local_aws.stall("acme.unheard-of", 300, times=3)

    with pytest.raises(BedrockError):
        manager.chat_model("a", max_retries=0).invoke(PROMPT)

    (record,) = _records(manager)
    assert record.estimated_wasted_cost_usd is None
    assert manager.get_usage_summary()["estimated_wasted_cost_usd"] == 0.0


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        ({"text": "x" * 8}, 2),
        ({"text": "é" * 4}, 2),
        ({"image": {"format": "png", "source": {"bytes": b"x"}}}, 1_600),
        ({"document": {"format": "md", "source": {"bytes": b"x" * 40}}}, 10),
        ({"document": {"format": "pdf", "source": {"bytes": b"x" * 120_000}}}, 6_000),
        ({"document": {"format": "pdf", "source": {"s3Location": {"uri": "s3://b/k"}}}}, 2_000),
        ({"cachePoint": {"type": "default"}}, 0),
        ({"toolResult": {"toolUseId": "t", "content": [{"text": "x" * 8}]}}, 2),
        ({"toolUse": {"toolUseId": "t", "name": "n", "input": {}}}, 15),
    ],
)
def test_every_kind_of_block_is_estimated(block: dict[str, Any], tokens: int) -> None:
    params = {"system": [{"text": "x" * 4}], "messages": [{"role": "user", "content": [block]}]}

    assert estimated_usage(params, 9) == TokenCounts(input_tokens=tokens + 1, output_tokens=3)
