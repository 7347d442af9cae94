"""The accounts: every attempt once, whatever LangChain makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import HumanMessage

from langchain_modelmgr import (
    ModelManager,
    ModelUsageMetrics,
    UsageCallbackHandler,
)
from langchain_modelmgr.chain import policy
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink, default_sinks
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


USAGE = {
    "inputTokens": 3,
    "outputTokens": 5,
    "cacheReadInputTokens": 7,
    "cacheWriteInputTokens": 9,
    "totalTokens": 24,
}
COST = (3 * Decimal(3) + 5 * Decimal(15) + 7 * Decimal("0.3") + 9 * Decimal("3.75")) / 10**6


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def manager(configured: Configure, local_aws: LocalAWS, sink: MemorySink) -> ModelManager:
    local_aws.script(lambda _: ScriptedReply(text="thirty", usage=USAGE))
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    return ModelManager(config, sinks=[sink])


def records(sink: MemorySink) -> list[ModelUsageMetrics]:
    return list(sink.records)


async def ask(llm: Any, mode: str, config: RunnableConfig | None = None) -> None:
    if mode == "invoke":
        llm.invoke("x", config)
    elif mode == "ainvoke":
        await llm.ainvoke("x", config)
    elif mode == "stream":
        list(llm.stream("x", config))
    else:
        [chunk async for chunk in llm.astream("x", config)]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_record_has_the_raw_replys_counts_and_the_runs_names(
    manager: ModelManager, sink: MemorySink, mode: str
) -> None:
    await ask(manager.chat_model("a"), mode, {"tags": ["t"], "metadata": {"session": "s-1"}})

    (record,) = records(sink)
    assert (record.agent_name, record.model_id, record.outcome) == ("a", SONNET, "answered")
    assert (record.input_tokens, record.output_tokens) == (3, 5)
    assert (record.cache_read_tokens, record.cache_write_5m_tokens) == (7, 9)
    assert record.cost_usd == COST
    assert record.request_id
    assert record.run_id
    assert "t" in record.tags
    assert record.metadata["session"] == "s-1"
    assert record.latency_ms is not None
    assert record.latency_ms > 0


async def test_two_hours_of_caching_cost_more_than_five_minutes(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink
) -> None:
    detail = {"cacheDetails": [{"ttl": "1h", "inputTokens": 9}]}
    local_aws.script(lambda _: ScriptedReply(text="x", usage={**USAGE, **detail}))

    manager.chat_model("a").invoke("x")

    (record,) = records(sink)
    assert (record.cache_write_5m_tokens, record.cache_write_1h_tokens) == (0, 9)
    assert record.cost_usd is None  # the price of a 1-hour write is unknown
    assert manager.get_usage_summary()["unpriced_invocations"] == 1


def test_failed_and_answered_attempts_are_distinguished(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    manager.chat_model("a").invoke("x")

    failed, answered = records(sink)
    assert (failed.outcome, failed.success, failed.error_message) == (
        "failed",
        False,
        "BedrockRateLimitError",
    )
    assert not failed.has_usage
    assert failed.cost_usd is None
    assert (answered.model_id, answered.success) == (HAIKU, True)
    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["attempts"]) == (1, 2)
    assert (summary["fallbacks"], summary["success_rate"]) == (1, 1.0)
    assert summary["by_model"][SONNET]["attempts"] == 1
    assert summary["by_agent"]["a"]["total_invocations"] == 1


def test_an_exhausted_chain_is_one_failed_call(manager: ModelManager, local_aws: LocalAWS) -> None:
    local_aws.fail(None, "AccessDeniedException", times=9)

    with pytest.raises(Exception, match="AccessDenied"):
        manager.chat_model("a").invoke("x")

    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["success_rate"]) == (1, 0.0)
    assert f"{summary['average_latency_ms']:.2f} {summary['total_cost_usd']:.4f}" == "0.00 0.0000"


@pytest.mark.parametrize("callbacks", [None, [], CallbackManager([])])
def test_the_handler_joins_whatever_callbacks_are(
    manager: ModelManager, sink: MemorySink, callbacks: Any
) -> None:
    llm = manager.chat_model("a").model_copy(update={"callbacks": callbacks})

    llm.invoke("x", {"callbacks": callbacks})
    list(llm.stream("x", {"callbacks": callbacks}))
    llm.generate([[HumanMessage("x")]], callbacks=callbacks)

    assert all(record.run_id for record in records(sink))
    assert len(records(sink)) == 3


def test_a_reply_that_langchain_can_not_read_is_still_accounted(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="x", usage=USAGE, additional_fields="a string"))

    reply = manager.chat_model("a").invoke("x")

    assert reply.text == "x"
    assert records(sink)[0].input_tokens == 3


def test_a_handler_given_by_the_user_too_counts_nothing_twice(
    manager: ModelManager, sink: MemorySink
) -> None:
    handler = UsageCallbackHandler(manager, "a")

    manager.chat_model("a").invoke("x", {"callbacks": [handler]})

    assert len(records(sink)) == 1
    assert manager.get_usage_summary()["total_invocations"] == 1


def _plain(manager: ModelManager, **fields: Any) -> Any:
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(
        model_id=SONNET,
        client=manager.clients.runtime(),
        bedrock_client=manager.clients.control(),
        callbacks=[UsageCallbackHandler(manager, agent_name="plain")],
        **fields,
    )


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
async def test_the_handler_works_alone_on_a_plain_model(
    manager: ModelManager, sink: MemorySink, mode: str
) -> None:
    await ask(_plain(manager), mode)

    (record,) = records(sink)
    assert (record.agent_name, record.model_id, record.outcome) == ("plain", SONNET, "answered")
    assert (record.input_tokens, record.cache_read_tokens, record.cache_write_5m_tokens) == (
        3,
        7,
        9,
    )
    assert record.cost_usd == COST
    assert manager.get_usage_summary()["by_agent"]["plain"]["total_invocations"] == 1


def test_a_plain_models_failures_aborts_and_cache_hits_are_distinguished(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink
) -> None:
    plain = _plain(manager, cache=InMemoryCache())
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    with pytest.raises(Exception, match="Throttling"):
        plain.invoke("x")
    stream = plain.stream("x")
    next(stream)
    stream.close()
    plain.invoke("y")
    plain.invoke("y")

    assert [r.outcome for r in records(sink)] == ["failed", "aborted", "answered", "cached"]
    assert records(sink)[0].error_message == "BedrockRateLimitError"
    assert manager.get_usage_summary()["total_invocations"] == 3


def test_records_are_plain_and_priced_as_in_the_guide(
    manager: ModelManager, sink: MemorySink
) -> None:
    manager.chat_model("a").invoke("x")

    (record,) = records(sink)
    model = manager.catalog.get(SONNET)
    assert model is not None
    assert record.get_cost(model) == pytest.approx(float(COST))
    assert record.to_dict()["cost_usd"] == str(COST)
    with_object = replace(record, metadata={"session": uuid.UUID(int=7)})
    assert json.loads(json.dumps(with_object.to_dict()))["metadata"]["session"].endswith("07")
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    unpriced = manager.catalog.resolve("acme.unheard-of-v1:0")
    with pytest.raises(ValueError, match=r"price of acme\.unheard-of-v1:0 is unknown"):
        record.get_cost(unpriced)


async def test_threads_and_tasks_lose_and_double_nothing(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", rate=0.3, seed=7)
    llm = manager.chat_model("a")

    with ThreadPoolExecutor(16) as pool:
        threads = [pool.submit(llm.invoke, "x") for _ in range(100)]
        tasks = await asyncio.gather(*(llm.ainvoke("x") for _ in range(100)))
        replies = [t.result() for t in threads] + tasks

    summary = manager.get_usage_summary()
    assert len(replies) == summary["total_invocations"] == 200
    assert summary["attempts"] == local_aws.requests() == len(records(sink))
    assert summary["input_tokens"] == 3 * 200
    assert summary["total_cost_usd"] == pytest.approx(
        sum(float(r.response_metadata["model_manager"]["cost_usd"]) for r in replies)
    )


async def test_threads_and_cancellations_add_up_in_cloudwatch(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    local_aws.script(lambda _: ScriptedReply(text="thirty", usage=USAGE))
    local_aws.fail(SONNET, "ThrottlingException", rate=0.2, seed=5)
    local_aws.latency(HAIKU, 0.01)
    chain = f"{{model: '{SONNET}', fallbacks: ['{HAIKU}'], cooldown_seconds: 0}}"
    config = configured(f"a: {chain}")
    manager = ModelManager(
        config,
        sinks=default_sinks("auto", "N/Models", client=lambda: local_aws.client("cloudwatch")),
    )
    llm = manager.chat_model("a")

    def converse(_: int) -> None:
        for _turn in range(5):
            llm.invoke("x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(converse, range(16)))
    cancelled = [asyncio.create_task(llm.ainvoke("x", model=OPUS)) for _ in range(8)]
    local_aws.latency(OPUS, 300)
    while local_aws.requests(OPUS) < 8:  # noqa: ASYNC110 - the server counts in its own thread
        await asyncio.sleep(0.01)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    manager.flush_metrics()

    summary = manager.get_usage_summary()
    metrics = local_aws.metrics
    assert (summary["total_invocations"], summary["aborted"]) == (88, 8)
    assert summary["attempts"] == local_aws.requests()
    assert metrics.sum("N/Models", "ModelInvocations") == summary["attempts"]
    assert metrics.sum("N/Models", "ModelInvocations", Success="false") == summary["fallbacks"] > 0
    assert metrics.sum("N/Models", "InputTokens") == summary["input_tokens"] == 3 * 80
    assert metrics.sum("N/Models", "ModelCost") == pytest.approx(
        summary["total_cost_usd"], rel=1e-9
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_accounts_and_connections(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    llm = manager.chat_model("a")
    llm.invoke("x")
    read, write = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            llm.invoke("x")
            asyncio.run(llm.ainvoke("x"))
            total = manager.get_usage_summary()["total_invocations"]
            os.write(write, str(total).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read, 9) == b"2"
    assert manager.get_usage_summary()["total_invocations"] == 1
    assert local_aws.requests() == 3
    assert threading.active_count() >= 1
