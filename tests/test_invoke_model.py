"""The design guide's methods of ModelManager, for code without LangChain."""

from __future__ import annotations

import asyncio
import base64
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

from langchain_modelmgr import (
    ConfigurationError,
    ConfigurationManager,
    ModelCompatibilityError,
    ModelManager,
    ModelManagerError,
)
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import default_sinks
from tests.models import HAIKU, LLAMA, OPUS, SONNET, TITAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS

    Configure = Callable[..., ConfigurationManager]

HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
TOOLS = [
    {
        "toolSpec": {
            "name": "count_pallets",
            "description": "Counts pallets.",
            "inputSchema": {"json": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        }
    }
]


@tool
def count_pallets(n: int) -> int:
    """Count pallets."""
    return n


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(
        configured(f"""
        sql_agent: {{model: '{SONNET}'}}
        writer: {{model: '{TITAN}'}}
        """)
    )


async def ask(manager: ModelManager, mode: str, **request: Any) -> Any:
    if mode == "invoke":
        return manager.invoke_model("sql_agent", HELLO, **request)
    if mode == "ainvoke":
        return await manager.ainvoke_model("sql_agent", HELLO, **request)
    if mode == "stream":
        events = list(manager.stream_model("sql_agent", HELLO, **request))
    else:
        events = [e async for e in manager.astream_model("sql_agent", HELLO, **request)]
    result = events[-1]["result"]
    assert "".join(e.get("text", "") for e in events) == result["response"]
    return result


MODES = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_result_has_the_fields_of_the_guide(
    manager: ModelManager, local_aws: LocalAWS, mode: str
) -> None:
    result = await ask(manager, mode, system_prompt="You are a SQL expert")

    assert result["success"] is True
    assert (result["model_id"], result["fallback_used"]) == (SONNET, False)
    assert result["latency_ms"] > 0
    assert f"${result['cost']:.4f}" == "$0.0001"
    assert result["usage"]["total_tokens"] == (
        result["usage"]["input_tokens"] + result["usage"]["output_tokens"]
    )
    assert result["response"] == "You said: Hello"
    assert result["content"] == [{"text": "You said: Hello"}]
    assert (result["tool_uses"], result["stop_reason"]) == ([], "end_turn")
    assert [a["error"] for a in result["attempts"]] == [None]
    assert result["skipped"] == []
    body = local_aws.calls()[0].body
    assert body["messages"] == HELLO
    assert body["system"] == [{"text": "You are a SQL expert"}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_throttled_model_is_answered_by_its_fallback(
    manager: ModelManager, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    result = await ask(manager, mode)

    assert (result["model_id"], result["fallback_used"]) == (HAIKU, True)
    assert [a["error"] for a in result["attempts"]] == ["BedrockRateLimitError", None]


@pytest.mark.parametrize("mode", MODES)
async def test_when_all_fail_the_error_carries_the_attempts(
    manager: ModelManager, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=9)

    with pytest.raises(ModelManagerError) as caught:
        await ask(manager, mode)

    assert len(caught.value.attempts) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_tools_reasoning_and_content_come_in_bedrocks_shapes(
    manager: ModelManager, local_aws: LocalAWS, mode: str
) -> None:
    reply = ScriptedReply(
        text="Let me count.", tool_calls=[("count_pallets", {"n": 3})], reasoning="They want it."
    )
    local_aws.reply(SONNET, reply)

    result = await ask(
        manager, mode, tools=TOOLS, tool_choice="any", max_tokens=99, temperature=0.5
    )

    body = local_aws.calls()[0].body
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == "count_pallets"
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert body["inferenceConfig"] == {"maxTokens": 99, "temperature": 0.5}
    assert [next(iter(b)) for b in result["content"]] == ["reasoningContent", "text", "toolUse"]
    assert result["content"][0]["reasoningContent"]["reasoningText"]["text"] == "They want it."
    assert [(u["name"], u["input"]) for u in result["tool_uses"]] == [("count_pallets", {"n": 3})]
    assert result["stop_reason"] == "tool_use"


def _examples() -> list[tuple[str, Any]]:
    """Return one block of each kind that Converse's service model has."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape: Any = model.operation_model("Converse").input_shape
    block = shape.members["messages"].member.members["content"].member
    return [(name, _example(member, 0)) for name, member in block.members.items()]


def _example(shape: Any, depth: int) -> Any:
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return {"any": ["thing", 1]}
    if kind == "structure":
        names = list(shape.metadata.get("required", ())) or list(shape.members)[:1]
        return {name: _example(shape.members[name], depth + 1) for name in names}
    if kind == "list":
        return [_example(shape.member, depth + 1)]
    if kind == "string":
        enum = shape.metadata.get("enum")
        return enum[0] if enum else "x" * max(1, shape.metadata.get("min", 1))
    return {"blob": b"bytes", "boolean": True}.get(kind, 1)


def _on_the_wire(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {k: _on_the_wire(v) for k, v in value.items()}
    return [_on_the_wire(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "block"), _examples(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_content_block_of_the_service_model_reaches_the_wire_unchanged(
    manager: ModelManager, local_aws: LocalAWS, name: str, block: Any
) -> None:
    messages = [{"role": "user", "content": [{"text": "look"}, {name: block}]}]

    try:  # an unknown model gets everything
        manager.invoke_model(
            "sql_agent", messages, tools=TOOLS, use_fallback=False, model="acme.unheard-of"
        )
    except ModelManagerError as error:  # Bedrock's own rules may refuse it: what was sent counts
        assert "ValidationException" in str(error)  # noqa: PT017

    sent = local_aws.calls()[0].body["messages"][0]["content"][1]
    assert sent == {name: _on_the_wire(block)}


def test_langchain_messages_and_tools_are_taken_too(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    result = manager.invoke_model(
        "sql_agent", [HumanMessage("count 3 pallets")], "Be brief", tools=[count_pallets]
    )

    assert result["tool_uses"][0]["input"] == {"n": 3}
    assert local_aws.calls()[0].body["system"] == [{"text": "Be brief"}]


def test_an_unknown_keyword_is_an_error_with_the_nearest_word(manager: ModelManager) -> None:
    with pytest.raises(
        ConfigurationError, match="unknown request field 'guardrail_confg'; did you"
    ):
        manager.invoke_model("sql_agent", HELLO, guardrail_confg={})
    with pytest.raises(ConfigurationError, match="unknown agent 'nobody'"):
        manager.invoke_model("nobody", HELLO)


def test_a_request_that_a_model_can_not_serve_never_reaches_it(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"x"}}}

    with pytest.raises(ModelCompatibilityError, match="Model does not support tools"):
        manager.invoke_model("writer", HELLO, tools=TOOLS)
    result = manager.invoke_model("sql_agent", [{"role": "user", "content": [image]}], model=HAIKU)

    assert result["model_id"] == SONNET
    assert result["skipped"] == [{"model_id": HAIKU, "reason": "Model does not support images"}]
    assert local_aws.requests(TITAN) == 0


def test_an_unpriced_answer_costs_none(configured: Configure) -> None:
    manager = ModelManager(configured("a: {model: acme.unheard-of-v1:0, fallbacks: []}"))

    assert manager.invoke_model("a", HELLO)["cost"] is None


@pytest.mark.parametrize(
    ("model_id", "needs", "expected"),
    [
        (TITAN, {"requires_tools": True}, (False, "Model does not support tools")),
        (TITAN, {"requires_streaming": True}, (True, None)),
        (SONNET, {"requires_tools": True, "requires_streaming": True}, (True, None)),
        ("acme.unheard-of", {}, (False, "Unknown model 'acme.unheard-of'")),
    ],
)
def test_compatibility_is_answered_to_the_letter(
    manager: ModelManager, model_id: str, needs: Any, expected: Any
) -> None:
    assert manager.validate_model_compatibility(model_id, **needs) == expected


def test_models_are_reported_as_in_the_guide(manager: ModelManager) -> None:
    rows = manager.list_available_models()

    assert manager.get_model_for_agent("writer") == TITAN
    assert manager.get_fallback_model(OPUS) == SONNET
    assert manager.get_model_config("acme.unheard-of") is None
    model = manager.get_model_config(LLAMA)
    assert model is not None
    assert model.max_tokens == 2048
    assert [row["model_id"] for row in rows][:5] == [SONNET, HAIKU, OPUS, TITAN, LLAMA]
    assert len(rows) > 100
    assert rows[0]["cost_per_1k_input_tokens"] == 0.003


async def test_a_track_sums_what_was_begun_inside_over_threads_and_tasks(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    manager.invoke_model("sql_agent", HELLO)
    llm = manager.chat_model("sql_agent")

    with manager.track() as usage:
        local_aws.fail(SONNET, "ThrottlingException", times=1)
        manager.invoke_model("sql_agent", HELLO)
        await asyncio.gather(*(llm.ainvoke("x") for _ in range(5)))
        llm.batch(["x", "y"])
        with manager.track() as inner, ThreadPoolExecutor() as pool:
            pool.submit(copy_context().run, llm.invoke, "x").result()
    manager.invoke_model("sql_agent", HELLO)

    assert (usage.calls, usage.attempts, inner.calls) == (9, 10, 1)
    assert usage.total_cost_usd > inner.total_cost_usd > 0
    assert usage.total_tokens > inner.total_tokens > 0
    assert usage.average_latency_ms > 0
    assert usage.as_dict()["fallbacks"] == 1
    assert manager.get_usage_summary()["total_invocations"] == 11


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_and_forks_on_one_manager_lose_and_double_nothing(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    local_aws.fail(SONNET, "ThrottlingException", rate=0.2, seed=3)
    config = configured(f"a: {{model: '{SONNET}'}}")
    sinks = default_sinks("auto", "N/Models", client=lambda: local_aws.client("cloudwatch"))
    manager = ModelManager(config, sinks=sinks)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: manager.invoke_model("a", HELLO), range(96)))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(5):
                    manager.invoke_model("a", HELLO)
                manager.flush_metrics()
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    manager.flush_metrics()

    metrics = local_aws.metrics
    assert manager.get_usage_summary()["total_invocations"] == 96
    assert metrics.sum("N/Models", "ModelInvocations") == local_aws.requests()
    assert metrics.sum("N/Models", "ModelInvocations", Success="true") == 96 + 20
