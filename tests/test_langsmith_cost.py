"""LangSmith's client, against a server on loopback: each run has the model that served, and its cost."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager, UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.messages.ai import add_usage
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client, traceable, tracing_context
from langsmith.utils import get_env_var
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from urllib3 import Retry

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.errors import ModelManagerError
from langchain_modelmgr.langsmith_cost import with_cost_for_tracers
from langchain_modelmgr.local import ScriptedReply
from tests.langsmith_server import LangSmithServer
from tests.models import HAIKU, SONNET
from tests.test_callbacks import CHAIN, MODES, Results, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables import RunnableConfig

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

USAGE = {"inputTokens": 210, "outputTokens": 30, "totalTokens": 240}
CACHED = {
    "inputTokens": 10, "outputTokens": 30, "totalTokens": 1140,
    "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[LangSmithServer]:
    with LangSmithServer() as running:
        yield running


@pytest.fixture
def langsmith(server: LangSmithServer) -> Iterator[LangSmithServer]:
    """Give the server without the runs of other tests."""
    server.forget()
    yield server
    server.multipart = True
    cast("Any", get_env_var).cache_clear()
    assert server.refused == []


@pytest.fixture(scope="module")
def client(server: LangSmithServer) -> Iterator[Client]:
    made = Client(api_url=server.url, api_key="dummy")
    yield made
    made.close(timeout=50)


@pytest.fixture
def tracer(client: Client) -> LangChainTracer:
    return LangChainTracer(client=client)


@pytest.fixture
def llm(configured: Configure, local_aws: LocalAWS) -> ManagedBedrockChat:
    local_aws.script(lambda _: ScriptedReply(text="Thirty.", usage=USAGE))
    return ManagedBedrockChat("a", config=configured(CHAIN))


def sent(tracer: LangChainTracer, langsmith: LangSmithServer) -> list[dict[str, Any]]:
    """Return the runs of chat models that the server holds when the client has sent all."""
    tracer.client.flush(timeout=50)
    return langsmith.runs()


def usage_of(run: dict[str, Any]) -> dict[str, Any]:
    usage: dict[str, Any] = run["extra"]["metadata"]["usage_metadata"]
    return usage


def cost_of_all(llm: ManagedBedrockChat) -> float:
    return float(llm.model_manager.get_usage_summary()["total_cost_usd"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_has_the_model_that_served_and_its_exact_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
    mode: str,
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")

    await ask(llm, mode, {"callbacks": [tracer], "metadata": {"team": "x"}})

    (run,) = sent(tracer, langsmith)
    assert run["extra"]["metadata"]["ls_model_name"] == HAIKU
    assert run["extra"]["metadata"]["team"] == "x"
    assert run["extra"]["runtime"]
    assert run["outputs"]["generations"]
    assert run["end_time"] > run["start_time"]
    usage = usage_of(run)
    assert usage["total_cost"] == cost_of_all(llm) == 0.00036
    assert (usage["input_cost"], usage["output_cost"]) == (0.00021, 0.00015)
    assert (usage["input_tokens"], usage["output_tokens"]) == (210, 30)


@pytest.mark.parametrize("way", ["compressed", "multipart", "batch", "single"])
def test_the_cost_arrives_with_the_runs_only_update_in_each_way_of_sending(
    llm: ManagedBedrockChat, monkeypatch: pytest.MonkeyPatch, langsmith: LangSmithServer, way: str
) -> None:
    langsmith.multipart = way != "batch"
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", str(way != "compressed").lower())
    cast("Any", get_env_var).cache_clear()
    with contextlib.closing(
        Client(api_url=langsmith.url, api_key="dummy", auto_batch_tracing=way != "single")
    ) as client:
        tracer = LangChainTracer(client=client)

        llm.invoke("x", {"callbacks": [tracer]})
        client.flush(timeout=50)  # until then, the client does not know the server's ways
        langsmith.ways.clear()
        llm.invoke("x", {"callbacks": [tracer]})

    assert [usage_of(run)["total_cost"] for run in langsmith.runs()] == [0.00108] * 2
    assert langsmith.ways == {way}


def test_prompt_caching_is_part_of_the_input_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="Thirty.", usage=CACHED))

    reply = llm.invoke("x", {"callbacks": [tracer]})

    usage, report = usage_of(sent(tracer, langsmith)[0]), reply.response_metadata["model_manager"]
    total, output = Decimal(report["cost_usd"]), Decimal(report["output_cost_usd"])
    assert usage["total_cost"] == float(total) == cost_of_all(llm)
    assert (usage["input_cost"], usage["output_cost"]) == (float(total - output), float(output))
    assert total - output > 10 * Decimal("0.000003")  # more than the input that was not cached
    assert usage["input_token_details"]["cache_read"] == 1000


def test_a_run_without_a_price_has_the_model_and_no_cost(
    configured: Configure, langsmith: LangSmithServer, tracer: LangChainTracer
) -> None:
    llm = ManagedBedrockChat("a", config=configured("a: {model: acme.unheard-of, fallbacks: []}"))

    llm.invoke("x", {"callbacks": [tracer]})

    (run,) = sent(tracer, langsmith)
    assert run["extra"]["metadata"]["ls_model_name"] == "acme.unheard-of"
    assert usage_of(run)["total_tokens"]
    assert not [key for key in usage_of(run) if "cost" in key]


@pytest.mark.parametrize("mode", ["invoke", "astream"])
async def test_only_langsmiths_tracers_get_the_cost(
    llm: ManagedBedrockChat, langsmith: LangSmithServer, tracer: LangChainTracer, mode: str
) -> None:
    before, counter, after = Results(), UsageMetadataCallbackHandler(), Results()

    for _ in range(3):  # LangChain's counter adds from the second answer on
        await ask(llm, mode, {"callbacks": [before, counter, tracer, after]})

    assert counter.usage_metadata[SONNET]["total_tokens"] == 3 * 240
    seen = [r.generations[0][0].message for h in (before, after) for r in h.results]  # type: ignore[union-attr]
    assert len(seen) == 6
    assert not [m for m in seen if "total_cost" in (getattr(m, "usage_metadata", None) or {})]
    assert [usage_of(run)["total_cost"] for run in sent(tracer, langsmith)] == [0.00108] * 3


def test_the_caller_gets_an_answer_whose_usage_can_be_added(
    llm: ManagedBedrockChat, tracer: LangChainTracer
) -> None:
    replies = llm.batch(["x", "y"], {"callbacks": [tracer]})

    both = add_usage(replies[0].usage_metadata, replies[1].usage_metadata)
    assert both["total_tokens"] == 480
    assert not [key for key in both if "cost" in key]


def test_generate_gives_each_run_its_own_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")

    llm.generate([[HumanMessage("x")], [HumanMessage("y")]], callbacks=[tracer])

    runs = sent(tracer, langsmith)
    models = {
        run["extra"]["metadata"]["ls_model_name"]: usage_of(run)["total_cost"] for run in runs
    }
    assert models == {HAIKU: 0.00036, SONNET: 0.00108}


def test_the_calls_of_an_agent_have_their_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    def pallets(city: str) -> str:
        """Count the pallets in a city."""
        local_aws.fail(SONNET, "ThrottlingException")
        return f"Thirty in {city}."

    called = ("pallets", {"city": "Hamburg"})
    local_aws.reply(SONNET, ScriptedReply(tool_calls=[called], usage=USAGE))

    create_agent(llm, [pallets]).invoke({"messages": [HumanMessage("x")]}, {"callbacks": [tracer]})

    runs = sent(tracer, langsmith)
    assert [run["extra"]["metadata"]["ls_model_name"] for run in runs] == [SONNET, HAIKU]
    assert sum(usage_of(run)["total_cost"] for run in runs) == cost_of_all(llm) == 0.00144
    assert all(run["parent_run_id"] for run in runs)


def test_a_failed_call_has_an_error_and_no_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=2)

    with pytest.raises(ModelManagerError):
        llm.invoke("x", {"callbacks": [tracer]})

    (run,) = sent(tracer, langsmith)
    assert "AllModelsPermissionDeniedError" in run["error"]
    assert "usage_metadata" not in run["extra"]["metadata"]


async def test_cancelled_and_abandoned_calls_have_no_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    stream = llm.stream("x", {"callbacks": [tracer]})
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    local_aws.latency(SONNET, 300)
    before = local_aws.requests(SONNET)

    task = asyncio.create_task(llm.ainvoke("x", {"callbacks": [tracer]}))
    while local_aws.requests(SONNET) == before:  # noqa: ASYNC110 - the server is in a thread
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    abandoned, cancelled = sent(tracer, langsmith)
    assert abandoned["error"].startswith("GeneratorExit")
    assert cancelled.get("end_time") is None  # LangChain ends no cancelled ainvoke (core 1.7.2)
    assert "total_cost" not in str(abandoned["extra"]) + str(cancelled["extra"])


@pytest.mark.parametrize("by", ["context", "environment"])
@pytest.mark.parametrize("mode", ["ainvoke", "stream"])
async def test_a_tracer_that_langchain_adds_gets_the_cost(
    llm: ManagedBedrockChat,
    monkeypatch: pytest.MonkeyPatch,
    langsmith: LangSmithServer,
    client: Client,
    mode: str,
    by: str,
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", str(by == "environment").lower())
    cast("Any", get_env_var).cache_clear()
    with tracing_context(enabled=by == "context" or None, client=client):
        await ask(llm, mode)

        @traceable(name="outer")
        async def outer() -> None:
            await ask(llm, mode)

        await outer()
    client.flush(timeout=50)

    alone, nested = langsmith.runs()
    (parent,) = langsmith.runs("chain")
    assert usage_of(alone)["total_cost"] == usage_of(nested)["total_cost"] == 0.00108
    assert alone.get("parent_run_id") is None
    assert nested["parent_run_id"] == parent["id"]


def test_a_tracer_among_the_models_own_callbacks_gets_the_cost(
    llm: ManagedBedrockChat, langsmith: LangSmithServer, tracer: LangChainTracer
) -> None:
    own = llm.model_copy(update={"callbacks": [tracer]})

    own.invoke("x")
    list(own.stream("x", {"callbacks": CallbackManager([Results()])}))

    assert [usage_of(run)["total_cost"] for run in sent(tracer, langsmith)] == [0.00108] * 2


def test_an_answer_of_the_response_cache_costs_nothing(
    llm: ManagedBedrockChat, langsmith: LangSmithServer, tracer: LangChainTracer
) -> None:
    cached = llm.model_copy(update={"cache": InMemoryCache()})

    cached.invoke("x", {"callbacks": [tracer]})
    again = cached.invoke("x", {"callbacks": [tracer]})

    assert [usage_of(run)["total_cost"] for run in sent(tracer, langsmith)] == [0.00108, 0]
    assert again.response_metadata["model_manager"]["output_cost_usd"] == "0"


def test_a_langsmith_that_is_down_changes_no_answer(llm: ManagedBedrockChat) -> None:
    with LangSmithServer() as gone:
        url = gone.url
    with contextlib.closing(
        Client(api_url=url, api_key="dummy", auto_batch_tracing=False, retry_config=Retry(0))
    ) as client:
        reply = llm.invoke("x", {"callbacks": [LangChainTracer(client=client)]})

    assert reply.text == "Thirty."


def test_without_a_langsmith_tracer_the_handlers_stay_as_they_are() -> None:
    callbacks: list[BaseCallbackHandler] = [Results(), Results()]

    assert with_cost_for_tracers(callbacks, CallbackManager([Results()])) is callbacks
    assert with_cost_for_tracers(None, None) is None


def test_openinference_beside_langsmith_names_the_model_and_sets_no_cost(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    langsmith: LangSmithServer,
    tracer: LangChainTracer,
) -> None:
    openinference = pytest.importorskip("openinference.instrumentation.langchain")
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = openinference.LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    local_aws.fail(SONNET, "ThrottlingException")

    try:
        llm.invoke("x", {"callbacks": [tracer]})
    finally:
        instrumentor.uninstrument()

    (span,) = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert span["llm.model_name"] == HAIKU
    assert (span["llm.token_count.prompt"], span["llm.token_count.completion"]) == (210, 30)
    assert not [name for name in span if name.startswith("llm.cost")]
    assert usage_of(sent(tracer, langsmith)[0])["total_cost"] == 0.00036


@pytest.mark.filterwarnings("ignore:The method .* is in beta:Warning")
@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_events_of_a_traced_stream_have_no_cost(
    llm: ManagedBedrockChat, langsmith: LangSmithServer, tracer: LangChainTracer, version: Any
) -> None:
    config: RunnableConfig = {"callbacks": [tracer]}
    if version == "v2":
        events = [event async for event in llm.astream_events("x", config, version="v2")]
        answer = events[-1]["data"]["output"]
    else:
        answer = llm.stream_events("x", config, version="v3").output

    assert answer.usage_metadata["total_tokens"] == 240
    assert "total_cost" not in answer.usage_metadata
    (run,) = sent(tracer, langsmith)
    assert usage_of(run)["total_cost"] == 0.00108
