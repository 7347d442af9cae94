"""Tools, schemas and capabilities on a managed model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_modelmgr import (
    ConfigurationError,
    ManagedBedrockChat,
    ModelCompatibilityError,
    ModelManager,
)
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.tools import PARALLEL_CALLS
from tests.agents import Pallets, count_pallets
from tests.models import HAIKU, LLAMA, OPUS, SONNET, TITAN

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


AGENTS = f"""
sql_agent: {{model: "{SONNET}", fallbacks: ["{HAIKU}"]}}
planner: {{model: "{OPUS}"}}
"""


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="sql_agent", config=configured(AGENTS))


def test_a_calls_own_model_is_checked(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    with pytest.raises(ModelCompatibilityError, match="Model does not support tools"):
        llm.bind_tools([count_pallets], model=TITAN)
    with pytest.raises(ModelCompatibilityError, match="Model does not support tools"):
        llm.bind_tools([count_pallets]).invoke("x", model=TITAN)

    assert local_aws.requests() == 0


def test_tools_on_a_model_that_has_none_never_reach_the_network(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f'{AGENTS}\nwriter: {{model: "{TITAN}"}}')
    llm = ManagedBedrockChat(agent_name="writer", config=config)

    with pytest.raises(ModelCompatibilityError) as caught:
        llm.bind_tools([count_pallets])

    assert "Model does not support tools" in str(caught.value)
    assert "writer" in str(caught.value)
    assert SONNET in str(caught.value)
    assert local_aws.requests() == 0


def test_an_agents_requirements_are_checked_when_it_is_made(configured: Configure) -> None:
    config = configured(f"a: {{model: '{TITAN}', requires: [tools, streaming]}}")

    with pytest.raises(ModelCompatibilityError, match="Model does not support tools"):
        ManagedBedrockChat(agent_name="a", config=config)


def test_a_fallback_without_tools_drops_out_with_its_reason(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{TITAN}', '{HAIKU}']}}")
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    llm = ManagedBedrockChat(agent_name="a", config=config).bind_tools([count_pallets])

    reply = llm.invoke("x")

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == HAIKU
    assert report["skipped"] == [{"model_id": TITAN, "reason": "Model does not support tools"}]
    assert local_aws.requests(TITAN) == 0


def test_an_image_is_sent_to_the_first_model_with_vision(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{HAIKU}', fallbacks: ['{SONNET}']}}")
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    llm = ManagedBedrockChat(agent_name="a", config=config)

    reply = llm.invoke([HumanMessage([{"type": "text", "text": "what is it?"}, image])])

    assert reply.response_metadata["model_name"] == SONNET
    assert local_aws.requests(HAIKU) == 0


def test_no_model_left_is_an_error_that_names_each_reason(configured: Configure) -> None:
    config = configured(f"a: {{model: '{HAIKU}', fallbacks: ['{LLAMA}']}}\nb: {{model: '{OPUS}'}}")
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    llm = ManagedBedrockChat(agent_name="a", config=config)

    with pytest.raises(ModelCompatibilityError) as caught:
        llm.invoke([HumanMessage([image])])

    assert f"{HAIKU}: Model does not support images" in str(caught.value)
    assert f"{LLAMA}: Model does not support images" in str(caught.value)
    assert f"configured models that can: {OPUS}" in str(caught.value)


def test_a_forced_tool_reaches_each_model_in_its_own_form(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    llm.bind_tools([count_pallets], tool_choice="count_pallets").invoke("Hamburg")

    forms = [call.body["toolConfig"]["toolChoice"] for call in local_aws.calls()]
    assert forms == [{"tool": {"name": "count_pallets"}}] * 2


def test_a_forced_choice_drops_a_model_that_thinks(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"""
    a:
      model: {SONNET}
      fallbacks:
        - model: {OPUS}
          parameters:
            additional_model_request_fields: {{thinking: {{type: enabled, budget_tokens: 1024}}}}
        - {HAIKU}
    """)
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    llm = ManagedBedrockChat(agent_name="a", config=config)

    reply = llm.with_structured_output(Pallets, include_raw=True).invoke("12")

    report = reply["raw"].response_metadata["model_manager"]
    assert report["model_id"] in (OPUS, HAIKU)
    for call in local_aws.calls():
        assert "auto" not in call.body["toolConfig"].get("toolChoice", {})


@pytest.mark.parametrize("schema", [Pallets, Pallets.model_json_schema()])
def test_structured_output_is_parsed(llm: ManagedBedrockChat, schema: Any) -> None:
    reply = llm.with_structured_output(schema).invoke("12 pallets")

    assert (reply if isinstance(reply, dict) else reply.model_dump()).keys() == {"count"}


def test_native_structured_output_needs_a_model_that_has_it(
    llm: ManagedBedrockChat, configured: Configure
) -> None:
    with pytest.raises(ModelCompatibilityError, match="Model does not support structured output"):
        llm.with_structured_output(Pallets, method="json_schema")

    able = configured(AGENTS, f"models: {{'{SONNET}': {{supports_structured_output: true}}}}")
    reply = (
        ManagedBedrockChat(agent_name="sql_agent", config=able)
        .with_structured_output(Pallets, method="json_schema")
        .invoke("12 pallets")
    )
    assert isinstance(reply, Pallets)


def test_json_mode_is_served_by_a_forced_call_and_an_unknown_method_refused(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    reply = llm.with_structured_output(Pallets, method="json_mode").invoke("12 pallets")

    assert isinstance(reply, Pallets)
    assert "any" in local_aws.calls()[0].body["toolConfig"]["toolChoice"]
    with pytest.raises(ValueError, match="unknown method 'guess'"):
        llm.with_structured_output(Pallets, method="guess")  # type: ignore[arg-type]


def test_an_agents_requirements_apply_to_its_fallbacks(
    configured: Configure, local_aws: LocalAWS
) -> None:
    with pytest.raises(ConfigurationError, match=r"fallbacks\[0\]: .* does not support images"):
        configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], requires: [images]}}")
    config = configured(f"a: {{model: '{SONNET}', requires: [images]}}")  # the family rule: Haiku
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    reply = ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == SONNET
    assert report["skipped"] == [{"model_id": HAIKU, "reason": "Model does not support images"}]


@pytest.mark.parametrize("mode", ["invoke", "stream"])
@pytest.mark.parametrize("reason", ["guardrail_intervened", "content_filtered", "max_tokens"])
def test_an_answer_that_ended_early_is_an_answer(
    llm: ManagedBedrockChat, local_aws: LocalAWS, reason: str, mode: str
) -> None:
    local_aws.reply(SONNET, ScriptedReply(text="I can't", stop_reason=reason))

    if mode == "invoke":
        metadata = llm.invoke("x").response_metadata
    else:
        message: Any = None
        for chunk in llm.stream("x"):
            message = chunk if message is None else message + chunk
        metadata = message.response_metadata

    assert metadata["stopReason"] == reason
    assert metadata["model_name"] == SONNET
    assert local_aws.requests() == 1


def test_prompt_caching_reaches_the_wire(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    system = ("system", "You know the stock. " * 300)

    llm.invoke([system, ("user", "x")], cache_control={"type": "ephemeral"})

    assert "cachePoint" in json.dumps(local_aws.calls()[0].body)
    assert llm.model_manager.get_usage_summary()["cache_write_tokens"] > 0


def test_an_agents_middleware_turns_prompt_caching_on(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    @wrap_model_call
    def cached(request: Any, handler: Any) -> Any:
        settings = {**request.model_settings, "cache_control": {"type": "ephemeral"}}
        return handler(request.override(model_settings=settings))

    agent: Any = create_agent(llm, [count_pallets], system_prompt="Stock", middleware=[cached])
    agent.invoke({"messages": [("user", "x")]})

    body = local_aws.calls()[0].body
    assert "cachePoint" in body["system"][-1]
    assert "cachePoint" in body["messages"][-1]["content"][-1]


def test_an_agent_uses_tools_and_answers_by_a_schema(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    agent: Any = create_agent(llm, tools=[count_pallets], response_format=ToolStrategy(Pallets))

    state = agent.invoke({"messages": [("user", "count the pallets in 'Hamburg'")]})

    assert isinstance(state["structured_response"], Pallets)
    assert local_aws.requests(HAIKU) == 1


def test_a_conversation_with_tools_continues_on_a_fallback(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    def throttled_from_now_on(request: Any) -> ScriptedReply:
        local_aws.fail(SONNET, "ThrottlingException", times=None)
        return ScriptedReply(tool_calls=[("count_pallets", {"warehouse": "Hamburg"})])

    local_aws.script(throttled_from_now_on, SONNET)
    agent: Any = create_agent(llm, tools=[count_pallets])

    state = agent.invoke({"messages": [("user", "count the pallets in 'Hamburg'")]})

    assert state["messages"][-1].text == "The tools say: 7"
    assert state["messages"][-1].response_metadata["model_name"] == HAIKU


def test_a_tool_that_is_not_bound_can_not_be_forced_at_any_door(configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}'}}"), sinks=[])
    said = "no tool 'nosuch' is bound; bound: 'count_pallets'"

    with pytest.raises(ValueError, match=said):
        manager.chat_model("a").bind_tools([count_pallets], tool_choice="nosuch")
    with pytest.raises(ValueError, match=said):
        manager.invoke_model(
            "a",
            [{"role": "user", "content": [{"text": "x"}]}],
            tools=[count_pallets],
            tool_choice="nosuch",
        )


@pytest.mark.parametrize("none", ["none", {"type": "none"}])
def test_no_tool_is_sent_where_the_choice_is_none(
    llm: ManagedBedrockChat, local_aws: LocalAWS, none: Any
) -> None:
    bound = llm.bind_tools([count_pallets], tool_choice=none)

    reply = bound.invoke("count the pallets in 'Hamburg'")

    assert reply.tool_calls == []
    assert "toolConfig" not in local_aws.calls()[0].body
    llm.bind_tools([count_pallets]).invoke("count the pallets in 'Hamburg'", tool_choice=none)
    assert "toolConfig" not in local_aws.calls()[1].body


def test_a_model_without_tools_serves_the_choice_none(configured: Configure) -> None:
    llm = ManagedBedrockChat(agent_name="a", config=configured(f"a: {{model: '{TITAN}'}}"))

    assert llm.bind_tools([count_pallets], tool_choice="none").invoke("hi").text == "You said: hi"


@pytest.mark.filterwarnings("ignore:Tool messages were passed without toolConfig")
def test_the_choice_none_applies_in_a_conversation_with_tool_calls(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    call = {"name": "count_pallets", "args": {"warehouse": "Hamburg"}, "id": "t1"}
    turns = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("7", tool_call_id="t1"),
    ]

    reply = llm.bind_tools([count_pallets], tool_choice="none").invoke(turns)

    assert reply.tool_calls == []
    assert local_aws.requests() == 1


@pytest.mark.parametrize("parallel", [True, False])
def test_parallel_tool_calls_are_taken_as_langchain_users_write_them(
    llm: ManagedBedrockChat, parallel: bool
) -> None:
    bound = llm.bind_tools([count_pallets], parallel_tool_calls=parallel)

    reply = bound.invoke("count the pallets in 'Hamburg'")

    (attempt,) = reply.response_metadata["model_manager"]["attempts"]
    assert reply.tool_calls
    assert attempt["adapted"] == ([] if parallel else [PARALLEL_CALLS])


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]},
        {"properties": {"count": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}},
        {"title": "Count", "type": "object", "properties": {"count": {"type": "integer"}}},
    ],
)
def test_a_json_schema_needs_no_title(configured: Configure, method: Any, schema: Any) -> None:
    able = configured(AGENTS, f"models: {{'{SONNET}': {{supports_structured_output: true}}}}")
    llm = ManagedBedrockChat(agent_name="sql_agent", config=able)

    reply = llm.with_structured_output(schema, method=method).invoke("12 pallets")

    assert reply == {"count": 12}
