"""Langfuse's callback handler: each generation has the model that served, and its tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.errors import ModelManagerError
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET
from tests.test_callbacks import CHAIN, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

USAGE = {
    "inputTokens": 10, "outputTokens": 30, "totalTokens": 1140,
    "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 100,
}  # fmt: skip
MODEL = "langfuse.observation.model.name"
TOKENS = "langfuse.observation.usage_details"
COST = "langfuse.observation.cost_details"


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    langfuse = Langfuse(
        public_key="pk-lf-test",
        secret_key="sk-lf-test",
        base_url="http://127.0.0.1:1",
        span_exporter=kept,
        tracer_provider=TracerProvider(),
    )
    yield kept
    langfuse.shutdown()


@pytest.fixture
def handler(exporter: InMemorySpanExporter) -> CallbackHandler:
    exporter.clear()
    return CallbackHandler(public_key="pk-lf-test")


@pytest.fixture
def llm(configured: Configure, local_aws: LocalAWS) -> ManagedBedrockChat:
    local_aws.script(lambda _: ScriptedReply(text="Thirty.", usage=USAGE))
    return ManagedBedrockChat("a", config=configured(CHAIN))


def generations(handler: CallbackHandler, exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    """Return the attributes of the spans that Langfuse shows as generations."""
    handler._langfuse_client.flush()
    spans = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    return [span for span in spans if span["langfuse.observation.type"] == "generation"]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_generation_has_the_model_that_served_and_its_tokens(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    handler: CallbackHandler,
    exporter: InMemorySpanExporter,
    mode: str,
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")

    await ask(llm, mode, {"callbacks": [handler]})

    (generation,) = generations(handler, exporter)
    assert generation[MODEL] == HAIKU
    tokens = json.loads(generation[TOKENS])
    assert (tokens["input"], tokens["output"], tokens["total"]) == (10, 30, 1140)
    assert (tokens["input_cache_read"], tokens["input_cache_creation"]) == (1000, 100)
    assert COST not in generation  # the handler has no way to take a cost (langfuse 5.0.4)


def test_each_generation_of_an_agent_names_its_own_model(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    handler: CallbackHandler,
    exporter: InMemorySpanExporter,
) -> None:
    def pallets(city: str) -> str:
        """Count the pallets in a city."""
        local_aws.fail(SONNET, "ThrottlingException")
        return f"Thirty in {city}."

    called = ("pallets", {"city": "Hamburg"})
    local_aws.reply(SONNET, ScriptedReply(tool_calls=[called]))

    create_agent(llm, [pallets]).invoke({"messages": [HumanMessage("x")]}, {"callbacks": [handler]})

    assert [shown[MODEL] for shown in generations(handler, exporter)] == [SONNET, HAIKU]


def test_a_failed_generation_names_the_agents_own_model(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    handler: CallbackHandler,
    exporter: InMemorySpanExporter,
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=2)
    chain = ChatPromptTemplate.from_messages([("user", "{input}")]) | llm

    with pytest.raises(ModelManagerError):
        chain.invoke({"input": "x"}, {"callbacks": [handler]})

    (generation,) = generations(handler, exporter)
    assert generation[MODEL] == SONNET
    assert generation["langfuse.observation.level"] == "ERROR"
