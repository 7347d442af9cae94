"""What LangChain's callbacks hear of a call: one run, and the model that served it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_modelmgr import ManagedBedrockChat, ModelManager, UsageCallbackHandler
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CHAIN = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], cooldown_seconds: 0}}"
MODES = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"]


async def ask(llm: Any, mode: str, config: Any = None) -> None:
    """Make one call in one of LangChain's ways."""
    if mode == "invoke":
        llm.invoke("x", config)
    elif mode == "ainvoke":
        await llm.ainvoke("x", config)
    elif mode == "stream":
        list(llm.stream("x", config))
    elif mode == "astream":
        [chunk async for chunk in llm.astream("x", config)]
    elif mode == "batch":
        llm.batch(["x"], config)
    else:
        await llm.abatch(["x"], config)


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="a", config=configured(CHAIN))


class Results(BaseCallbackHandler):
    """Keeps what a tracer is given at a run's end."""

    def __init__(self) -> None:
        self.results: list[LLMResult] = []

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        self.results.append(response)

    @property
    def names(self) -> list[Any]:
        return [(result.llm_output or {}).get("model_name") for result in self.results]


class AsyncResults(AsyncCallbackHandler):
    """The same, as an async handler."""

    def __init__(self) -> None:
        self.results: list[LLMResult] = []

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        self.results.append(response)


@pytest.mark.parametrize("mode", MODES)
async def test_the_result_of_a_run_names_the_model_that_served(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    handler = Results()

    await ask(llm, mode, {"callbacks": [handler]})
    local_aws.fail(SONNET, "ThrottlingException")
    await ask(llm, mode, {"callbacks": [handler]})

    assert handler.names == [SONNET, HAIKU]


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
async def test_async_handlers_get_the_model_that_served(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    handler = AsyncResults()
    local_aws.fail(SONNET, "ThrottlingException")

    await ask(llm, mode, {"callbacks": [handler]})

    assert (handler.results[0].llm_output or {})["model_name"] == HAIKU


@pytest.mark.parametrize("mode", MODES)
async def test_a_trace_names_the_model_that_served(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    tracer = RunCollectorCallbackHandler()

    await ask(llm, mode, {"callbacks": [tracer]})
    local_aws.fail(SONNET, "ThrottlingException")
    await ask(llm, mode, {"callbacks": [tracer]})

    first, second = (run.extra["metadata"] for run in tracer.traced_runs)
    assert (first["ls_model_name"], second["ls_model_name"]) == (SONNET, HAIKU)
    assert [run.extra["invocation_params"]["model"] for run in tracer.traced_runs] == [SONNET] * 2


class LangSmith:
    """Keeps what LangSmith's client would send."""

    def __init__(self) -> None:
        self.updated: list[dict[str, Any]] = []
        self.tracing_queue = None

    def create_run(self, **_: Any) -> None:
        """Take a run as it starts."""

    def update_run(self, run_id: UUID | None = None, **fields: Any) -> None:
        self.updated.append(fields)


@pytest.mark.parametrize("mode", MODES)
async def test_langsmith_prices_the_model_that_served(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    client: Any = LangSmith()
    chain = ChatPromptTemplate.from_messages([("user", "{input}")]) | llm
    local_aws.fail(SONNET, "ThrottlingException")

    await ask(chain, mode, {"callbacks": [LangChainTracer(client=client)]})

    metadata = [run["extra"].get("metadata", {}) for run in client.updated]
    assert [m["ls_model_name"] for m in metadata if "ls_model_name" in m] == [HAIKU]


@pytest.mark.parametrize("mode", MODES)
async def test_openinference_counts_tokens_under_the_model_that_served(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    openinference = pytest.importorskip("openinference.instrumentation.langchain")
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = openinference.LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    local_aws.fail(SONNET, "ThrottlingException")

    try:
        await ask(ChatPromptTemplate.from_messages([("user", "{input}")]) | llm, mode)
    finally:
        instrumentor.uninstrument()

    shown = [dict(s.attributes or {}) for s in spans.get_finished_spans()]
    (called,) = [span for span in shown if "llm.model_name" in span]
    assert called["llm.model_name"] == HAIKU
    assert called["llm.token_count.total"]


def test_a_trace_names_the_model_that_a_call_chose(llm: ManagedBedrockChat) -> None:
    tracer = RunCollectorCallbackHandler()

    llm.invoke("x", {"callbacks": [tracer]}, model=HAIKU)

    (run,) = tracer.traced_runs
    assert run.extra["invocation_params"]["model"] == HAIKU
    assert run.extra["metadata"]["ls_model_name"] == HAIKU
    assert run.outputs is not None
    assert run.outputs["llm_output"]["model_name"] == HAIKU


def test_generate_names_the_model_that_served_all_or_none(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    handler = Results()

    same = llm.generate([[HumanMessage("x")], [HumanMessage("y")]])
    local_aws.fail(SONNET, "ThrottlingException")
    mixed = llm.generate([[HumanMessage("x")], [HumanMessage("y")]], callbacks=[handler])

    assert same.llm_output == {"model_name": SONNET}
    assert mixed.llm_output == {}
    assert handler.names == [HAIKU, SONNET]


def test_tracing_data_reaches_neither_message_nor_cache(
    configured: Configure, local_aws: LocalAWS
) -> None:
    cache = InMemoryCache()
    llm = ManagedBedrockChat(agent_name="a", config=configured(CHAIN), cache=cache)
    local_aws.fail(SONNET, "ThrottlingException")
    handler = Results()

    first = llm.invoke("x", {"callbacks": [handler]})
    again = llm.invoke("x", {"callbacks": [handler]})

    assert handler.names == [HAIKU, HAIKU]
    assert set(first.response_metadata) == set(again.response_metadata)
    assert not [key for key in first.response_metadata if "gateway" in key]


def test_an_account_id_is_masked_in_traces(configured: Configure) -> None:
    arn = f"arn:aws:bedrock:us-east-1:123456789012:provisioned-model/{'a' * 12}"
    config = configured(f"a: {{model: '{arn}', fallbacks: []}}")
    tracer, handler = RunCollectorCallbackHandler(), Results()

    ManagedBedrockChat(agent_name="a", config=config).invoke("x", {"callbacks": [tracer, handler]})

    assert "123456789012" not in str(handler.names)
    assert "123456789012" not in str(tracer.traced_runs[0].extra)


class Renamed(ManagedBedrockChat):
    """A subclass that does what LangChain tells every subclass to do."""

    @property
    def _llm_type(self) -> str:
        return "my-own-chat"


class Reshaped(ManagedBedrockChat):
    """A subclass that tells nothing of what it is made of."""

    @property
    def _llm_type(self) -> str:
        return "reshaped"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {}

    def _get_invocation_params(self, stop: Any = None, **kwargs: Any) -> dict[str, Any]:
        return {"model": "something else"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Renamed, Reshaped])
async def test_a_subclass_is_billed_once_whatever_it_calls_itself(
    configured: Configure, local_aws: LocalAWS, mode: str, kind: type[ManagedBedrockChat]
) -> None:
    sink = MemorySink()
    manager = ModelManager(configured(CHAIN), sinks=[sink])
    llm = kind(agent_name="a", manager=manager)

    await ask(llm, mode)
    await ask(llm, mode, {"callbacks": [UsageCallbackHandler(manager, "a")]})
    await ask(llm, mode, {"callbacks": CallbackManager([UsageCallbackHandler(manager, "b")])})

    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["attempts"]) == (3, 3)
    assert len(sink.records) == local_aws.requests() == 3
    assert all(record.run_id for record in sink.records)


@pytest.mark.parametrize("times", [1, 9])
def test_a_subclasses_failures_are_counted_once(
    configured: Configure, local_aws: LocalAWS, times: int
) -> None:
    manager = ModelManager(configured(CHAIN))
    local_aws.fail(None, "AccessDeniedException", times=times)

    try:
        Renamed(agent_name="a", manager=manager).invoke("x")
    except Exception:  # noqa: BLE001 - what is raised is not what is tested
        assert times == 9

    assert manager.get_usage_summary()["total_invocations"] == 1
    assert manager.get_usage_summary()["attempts"] == local_aws.requests() == 2
