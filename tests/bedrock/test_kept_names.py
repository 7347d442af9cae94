"""Names in the caller's own data are preserved by every method."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.local import ScriptedReply
from tests.agents import count_pallets
from tests.models import HAIKU, SONNET
from tests.support import (
    BEGIN,
    TOLD,
    USAGE,
    answer_with_events,
    answer_with_json,
    delta,
    end,
    start,
    stop,
)

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

AGENT = f"a: {{model: '{SONNET}', fallbacks: []}}"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {
        "line_item": {"type": "object", "properties": {"unit_price": {"type": "number"}}},
        "ship_to": {"type": "object", "additionalProperties": {"$ref": "#/$defs/line_item"}},
    },
    "properties": {
        "order_lines": {"type": "array", "items": {"$ref": "#/$defs/line_item"}},
        "ship_to": {"$ref": "#/$defs/ship_to"},
        "pay_by": {"type": "object", "patternProperties": {"^card_[a-z]+$": {"type": "string"}}},
    },
    "dependentRequired": {"ship_to": ["pay_by"]},
    "x_owner": {"cost_center": "c_1"},
    "examples": [{"ship_to": {"a_b": {"unit_price": None}}}],
}
TOOL = {"name": "place_order", "description": "Places an order.", "parameters": SCHEMA}
BEDROCK_TOOL = {
    "toolSpec": {
        "name": "place_order",
        "description": "Places an order.",
        "inputSchema": {"json": SCHEMA},
    }
}


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="a", config=configured(AGENT))


def sent(local_aws: LocalAWS) -> dict[str, Any]:
    return local_aws.calls()[-1].body


def schema_sent(local_aws: LocalAWS) -> Any:
    return sent(local_aws)["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]


@pytest.mark.parametrize("tool", [TOOL, {"type": "function", "function": TOOL}, BEDROCK_TOOL])
@pytest.mark.parametrize("streamed", [False, True])
def test_names_inside_a_tools_schema_stay(
    llm: ManagedBedrockChat, local_aws: LocalAWS, tool: dict[str, Any], streamed: bool
) -> None:
    given = copy.deepcopy(tool)
    bound = llm.bind_tools([given])

    list(bound.stream("hi")) if streamed else bound.invoke("hi")

    assert schema_sent(local_aws) == SCHEMA
    assert given == tool


@pytest.mark.parametrize("tool", [TOOL, BEDROCK_TOOL])
def test_names_inside_a_schema_stay_without_langchain(
    configured: Configure, local_aws: LocalAWS, tool: dict[str, Any]
) -> None:
    given = copy.deepcopy(tool)
    with ModelManager(configured(AGENT)) as manager:
        manager.invoke_model("a", [{"role": "user", "content": [{"text": "hi"}]}], tools=[given])

    assert schema_sent(local_aws) == SCHEMA
    assert given == tool


def test_the_caller_s_bedrock_tool_gets_no_description_written_into_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    tool = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
    given = copy.deepcopy(tool)
    with ModelManager(configured(AGENT)) as manager:
        manager.invoke_model("a", [{"role": "user", "content": [{"text": "hi"}]}], tools=[given])

    assert given == tool
    assert sent(local_aws)["toolConfig"]["tools"][0]["toolSpec"]["description"] == "look"


METADATA = {"tenant_id": "t_1", "cost_center": "c_2"}


def test_keys_of_a_calls_request_metadata_stay(
    llm: ManagedBedrockChat, configured: Configure, local_aws: LocalAWS
) -> None:
    llm.invoke("hi", request_metadata=METADATA)
    whole = sent(local_aws)
    list(llm.stream("hi", request_metadata=METADATA))
    streamed = sent(local_aws)
    with ModelManager(configured(AGENT)) as manager:
        question = [{"role": "user", "content": [{"text": "hi"}]}]
        manager.invoke_model("a", question, request_metadata=METADATA)

    assert whole["requestMetadata"] == METADATA
    assert streamed["requestMetadata"] == METADATA
    assert sent(local_aws)["requestMetadata"] == METADATA


ROW = {"unit_price": 2, "sub_total": {"net_value": None, "tax_rows": [{"tax_rate": 0.2}]}}
CALL = {"name": "count_pallets", "args": {"warehouse": "x"}, "id": "t1", "type": "tool_call"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "json", "json": ROW},
        {"json": ROW},
        {"type": "non_standard", "value": {"json": ROW}},
    ],
)
def test_keys_of_json_in_a_tools_result_stay(
    llm: ManagedBedrockChat, local_aws: LocalAWS, block: dict[str, Any]
) -> None:
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage([block], tool_call_id="t1"),
    ]
    before = copy.deepcopy(history)

    llm.bind_tools([count_pallets]).invoke(history)

    result = sent(local_aws)["messages"][2]["content"][0]["toolResult"]
    assert result["content"] == [{"json": ROW}]
    assert history == before


def test_keys_of_json_stay_where_a_users_turn_has_the_result(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    result = {"toolUseId": "t1", "content": [{"json": ROW}]}
    anthropic = {
        "type": "tool_result",
        "tool_use_id": "t2",
        "content": [{"type": "json", "json": ROW}],
    }
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[CALL, {**CALL, "id": "t2"}]),
        HumanMessage([{"toolResult": result}, anthropic]),
    ]

    llm.bind_tools([count_pallets]).invoke(history)

    blocks = sent(local_aws)["messages"][2]["content"]
    assert [b["toolResult"]["content"] for b in blocks] == [[{"json": ROW}]] * 2


@pytest.mark.parametrize(
    "block",
    [
        {"toolUse": {"toolUseId": "t1", "name": "count_pallets", "input": ROW}},
        {"type": "tool_use", "id": "t1", "name": "count_pallets", "input": ROW},
        {"type": "server_tool_use", "id": "t1", "name": "count_pallets", "input": ROW},
        {"type": "tool_call", "id": "t1", "name": "count_pallets", "args": ROW},
    ],
)
def test_keys_of_a_calls_arguments_stay_in_every_form(
    llm: ManagedBedrockChat, local_aws: LocalAWS, block: dict[str, Any]
) -> None:
    history = [HumanMessage("x"), AIMessage([block]), ToolMessage("3", tool_call_id="t1")]

    llm.bind_tools([count_pallets]).invoke(history)

    assert sent(local_aws)["messages"][1]["content"][0]["toolUse"]["input"] == ROW


def test_the_fallback_gets_the_first_models_arguments(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.reply(HAIKU, ScriptedReply(tool_calls=[("place_order", {"ship_to": {"a_b": {}}})]))
    llm = ManagedBedrockChat(agent_name="a", config=config).bind_tools([TOOL])

    reply = llm.invoke(
        [
            HumanMessage("x"),
            AIMessage("", tool_calls=[{**CALL, "args": ROW}]),
            ToolMessage([{"type": "json", "json": ROW}], tool_call_id="t1"),
        ],
        request_metadata=METADATA,
    )

    first, second = (call.body for call in local_aws.calls())
    assert first == second
    assert schema_sent(local_aws) == SCHEMA
    assert reply.tool_calls[0]["args"] == {"ship_to": {"a_b": {}}}


@pytest.mark.filterwarnings("ignore:Tool messages were passed without toolConfig")
def test_keys_stay_where_no_tool_is_bound_and_results_are_sent_as_text(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[{**CALL, "args": {"unit_price": 2}}]),
        ToolMessage([{"type": "json", "json": {"unit_price": 2}}], tool_call_id="t1"),
    ]

    llm.invoke(history)

    texts = [m["content"][0]["text"] for m in sent(local_aws)["messages"][1:]]
    assert texts == [
        '[Called count_pallets with parameters: {"unit_price": 2}]',
        '[Tool output: {"unit_price": 2}]',
    ]


def test_keys_that_are_no_text_are_sent_as_json_has_them(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    row = {1: "a", None: "b", False: "c", "d_e": "f"}
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage([{"type": "json", "json": row}], tool_call_id="t1"),
    ]

    llm.bind_tools([count_pallets]).invoke(history)

    result = sent(local_aws)["messages"][2]["content"][0]["toolResult"]["content"][0]
    assert result["json"] == {"1": "a", "null": "b", "false": "c", "d_e": "f"}


RESULT = {"stdOut": "3", "exit_code": 0, "rows": [{"unitPrice": 2}]}


def replayed(local_aws: LocalAWS, operation: str) -> None:
    """Let the next reply hold a server tool's result, as Nova's code interpreter gives it."""
    head = {"toolUseId": "s1", "status": "success"}
    if operation == "Converse":
        result = {"toolResult": {**head, "content": [{"json": RESULT}]}}
        message = {"role": "assistant", "content": [result, {"text": "3"}]}
        reply = {"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE}
        answer_with_json(local_aws, SONNET, {**reply, "metrics": {"latencyMs": 1}})
        return
    part = delta(0, toolResult=[{"json": RESULT}])
    report = (BEGIN, start(0, toolResult=head), part, stop(0), delta(1, text="3"), end(), TOLD)
    answer_with_events(local_aws, SONNET, *report)


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
def test_json_of_a_server_tools_result_keeps_its_names_both_ways(
    llm: ManagedBedrockChat, local_aws: LocalAWS, operation: str
) -> None:
    replayed(local_aws, operation)

    if operation == "Converse":
        reply: Any = llm.invoke("x")
    else:
        first, *rest = llm.stream("x")
        reply = sum(rest, first)

    found = [b for b in reply.content if "json" in b or b.get("type") == "tool_result"]
    assert RESULT in [found[-1].get("json"), *(p.get("json") for p in found[0].get("content", ()))]
