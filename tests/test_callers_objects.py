"""Whatever is called, whatever fails: what the caller gave is what the caller still has."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

from langchain_modelmgr import ModelManager, ModelManagerError
from tests.agents import Pallets

if TYPE_CHECKING:
    from langchain_modelmgr.chat_model import ManagedBedrockChat
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
CHAIN = f"""
a:
  model: {NOVA}
  fallbacks: ['{CLAUDE}', '{LLAMA}']
  cooldown_seconds: 0
  retries: 0
  parameters:
    additional_model_request_fields: {{thinking: {{type: enabled, budget_tokens: 1024}}}}
"""
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
PIXEL = "iVBORw0KGgo="
OF_CLAUDE = {"model_provider": "bedrock_converse", "model_name": CLAUDE}
OF_V1 = {**OF_CLAUDE, "output_version": "v1"}
OF_OPENAI = {"model_provider": "openai", "model_name": "gpt-5"}

texts = st.sampled_from(["Hi", "Hi \n", " ", "", "Observation: 7\n\n"])


def _reasoned() -> st.SearchStrategy[AIMessage]:
    """Answers of models: Claude's in both of LangChain's forms, another provider's, plain ones."""
    reasoning = {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "s"}}
    v1: dict[str, Any] = {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "s"}}
    cited = {
        "type": "text",
        "text": "It is.",
        "annotations": [{"type": "citation", "title": "t", "cited_text": "It is."}],
    }
    call = {"name": "count_pallets", "args": {"warehouse": "H", "deep": {"a": [1]}}, "id": "t1"}
    use = {"type": "tool_use", "name": "count_pallets", "input": {"warehouse": "H"}, "id": "t1"}
    return st.builds(
        lambda make, text: make(text),
        st.sampled_from(
            [
                AIMessage,
                lambda text: AIMessageChunk(content=text, response_metadata=dict(OF_CLAUDE)),
                lambda text: AIMessage([reasoning, {"type": "text", "text": text or "x"}]),
                lambda text: AIMessage(
                    [{**reasoning}, {"type": "text", "text": text or "x"}],
                    response_metadata=dict(OF_CLAUDE),
                ),
                lambda _: AIMessage([{**v1}, cited], response_metadata=dict(OF_V1)),
                lambda text: AIMessage(
                    [
                        v1,
                        {"type": "text", "text": text or "x"},
                        {"type": "web_search_call", "id": "w"},
                    ],
                    response_metadata=dict(OF_OPENAI),
                ),
                lambda _: AIMessage([use], tool_calls=[call], response_metadata=dict(OF_CLAUDE)),
                lambda _: AIMessage("", tool_calls=[call]),
            ]
        ),
        texts,
    )


_ASKED: list[Any] = [
    "Count.",
    "Count. ",
    [{"type": "text", "text": "Look."}, POINT],
    [{"type": "image", "base64": PIXEL, "mime_type": "image/png"}],
    [{"type": "file", "base64": PIXEL, "mime_type": "application/pdf", "name": "d"}],
]
questions = st.sampled_from(_ASKED).map(lambda content: HumanMessage(deepcopy(content)))
systems = st.sampled_from(
    [[], [SystemMessage("Be brief.")], [SystemMessage([{"type": "text", "text": "x"}, POINT])]]
)


@st.composite
def histories(draw: st.DrawFn) -> list[BaseMessage]:
    history: list[BaseMessage] = list(draw(systems))
    for _ in range(draw(st.integers(0, 2))):
        history.append(draw(questions))
        answer = draw(_reasoned())
        history.append(answer)
        history += [
            ToolMessage([{"type": "text", "text": "7"}, dict(POINT)], tool_call_id=str(c["id"]))
            for c in answer.tool_calls
        ]
    history.append(draw(st.one_of(questions, _reasoned())))
    return history


class Lookup(BaseModel):
    """Looks something up."""

    place: str


SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}]}}}
_TOOLS: list[Any] = [
    {"toolSpec": {"name": "spec", "inputSchema": {"json": SCHEMA}}},
    {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
    {"name": "g", "description": "g", "input_schema": SCHEMA},
    {"title": "h", "description": "h", **SCHEMA},
    Lookup,
    POINT,
]
tools = st.lists(st.sampled_from(_TOOLS).map(deepcopy), max_size=3)
keywords = st.fixed_dictionaries(
    {},
    optional={
        "cache_control": st.sampled_from([{"type": "ephemeral"}, {"ttl": "1h"}]),
        "stop": st.sampled_from([["\nObservation"], ["\n"]]),
        "additional_model_request_fields": st.just({"thinking": {"type": "disabled"}, "top_k": 3}),
        "request_metadata": st.just({"order_id": "7"}),
        "additional_model_response_field_paths": st.just(["/stop_sequence"]),
        "performance_config": st.just({"latency": "standard"}),
    },
)
faults = st.lists(st.sampled_from(["", "throttle", "reset"]), min_size=2, max_size=2)
settings_of_a_call = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ModelManager(configured(CHAIN), sinks=[]).chat_model("a")


def _break(aws: LocalAWS, plan: list[str]) -> None:
    aws.clear_faults()
    for model_id, fault in zip((NOVA, CLAUDE), plan, strict=True):
        if fault == "throttle":
            aws.fail(model_id, "ThrottlingException")
        elif fault == "reset":
            aws.reset(model_id, times=2)


def _call(mode: str, bound: Any, history: list[BaseMessage], given: dict[str, Any]) -> None:
    async def streamed() -> None:
        async for _ in bound.astream(history, **given):
            pass

    if mode == "invoke":
        bound.invoke(history, **given)
    elif mode == "stream":
        list(bound.stream(history, **given))
    else:
        asyncio.run(streamed())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["invoke", "stream", "astream"])
@settings_of_a_call
@given(histories(), tools, keywords, faults, st.sampled_from([None, True, False]))
def test_messages_tools_and_keywords_are_left_byte_for_byte(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    mode: str,
    history: list[BaseMessage],
    bound: list[Any],
    given_keywords: dict[str, Any],
    plan: list[str],
    strict: bool | None,
) -> None:
    _break(local_aws, plan)
    handed = (history, bound, given_keywords)
    before = pickle.dumps(handed)
    objects = [id(message) for message in history]

    with suppress(ModelManagerError, ValueError):
        model = llm.bind_tools(bound, strict=strict) if bound else llm
        _call(mode, model, history, given_keywords)

    assert pickle.dumps(handed) == before
    assert [id(message) for message in history] == objects


blocks = st.sampled_from(
    [
        {"text": "x"},
        {"text": "x "},
        POINT,
        {"image": {"format": "png", "source": {"bytes": b"x"}}},
        {"document": {"format": "txt", "name": "d", "source": {"text": "x"}}},
    ]
)
answers = st.sampled_from(
    [
        [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, {"text": "x"}],
        [{"citationsContent": {"content": [{"text": "x"}], "citations": []}}],
        [{"text": "x "}, POINT],
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 3))):
        content = [{"text": "x"}, *draw(st.lists(blocks, max_size=2))]
        turns.append({"role": "user", "content": content})
        turns.append({"role": "assistant", "content": draw(answers)})
    turns.append({"role": "user", "content": [{"text": "x"}, *draw(st.lists(blocks, max_size=2))]})
    return turns


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["invoke_model", "stream_model"])
@settings_of_a_call
@given(conversations(), tools, keywords, faults)
def test_conversations_in_bedrocks_shapes_are_left_byte_for_byte(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    mode: str,
    messages: list[dict[str, Any]],
    bound: list[Any],
    given_keywords: dict[str, Any],
    plan: list[str],
) -> None:
    _break(local_aws, plan)
    given_keywords.pop("stop", None)
    handed = (messages, bound, given_keywords)
    before = pickle.dumps(handed)
    manager = llm.model_manager

    with suppress(ModelManagerError, ValueError):
        call = getattr(manager, mode)
        outcome = call("a", messages, system_prompt="x", tools=bound or None, **given_keywords)
        if mode == "stream_model":
            list(outcome)

    assert pickle.dumps(handed) == before


@pytest.mark.parametrize("schema", [Pallets, Pallets.model_json_schema()])
def test_a_schema_is_left_as_it_is(
    configured: Configure, local_aws: LocalAWS, schema: dict[str, Any] | type
) -> None:
    config = configured(f"a: {{model: '{CLAUDE}', fallbacks: []}}")
    llm = ModelManager(config, sinks=[]).chat_model("a")
    before = pickle.dumps(schema)

    for method in ("function_calling", "json_schema"):
        llm.with_structured_output(schema, method=method, strict=True).invoke("12 pallets")

    assert pickle.dumps(schema) == before
