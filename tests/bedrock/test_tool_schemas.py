"""Schemas that Bedrock or a model refuses: put into another form, or refused by the tool's name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel, RootModel

from langchain_modelmgr import ConfigurationError, ManagedBedrockChat, ModelManager
from langchain_modelmgr.local import ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
QWEN = "qwen.qwen3-32b-v1:0"
NUMBER, TEXT = {"type": "integer"}, {"type": "string"}


def model_of(configured: Configure, model_id: str) -> ManagedBedrockChat:
    config = configured(f"a: {{model: '{model_id}', fallbacks: []}}")
    return ManagedBedrockChat(agent_name="a", config=config)


def tool_with(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "pick", "parameters": schema}}


def spec_sent(local_aws: LocalAWS) -> Any:
    return local_aws.calls()[-1].body["toolConfig"]["tools"][0]["toolSpec"]


EITHER = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"pid": NUMBER, "kind": {"const": "p"}},
            "required": ["pid", "kind"],
        },
        {"$ref": "#/$defs/by_name"},
    ],
    "$defs": {
        "by_name": {
            "type": "object",
            "properties": {"name": TEXT, "kind": {"const": "n"}},
            "required": ["name", "kind"],
        }
    },
}


@pytest.mark.parametrize("model_id", [CLAUDE, NOVA, QWEN])
@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"pid": NUMBER}},
        {"type": ["object", "null"], "properties": {"pid": NUMBER}},
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"pid": NUMBER}}}},
        EITHER,
        {**EITHER, "type": "object", "properties": {"dry_run": {"type": "boolean"}}},
        {"oneOf": EITHER["anyOf"], "$defs": EITHER["$defs"]},
        {"allOf": [{"properties": {"pid": NUMBER}}, {"required": ["pid"]}]},
        {"type": "object", "anyOf": [{"required": ["pid"]}, {"required": ["name"]}], "properties": {"pid": NUMBER, "name": TEXT}},
        {"type": "object", "title": "T", "$schema": "x", "additionalProperties": False, "properties": {}},
    ],
)  # fmt: skip
def test_each_model_takes_each_schema(
    configured: Configure, local_aws: LocalAWS, model_id: str, schema: dict[str, Any]
) -> None:
    tool = tool_with(schema)
    before = copy.deepcopy(tool)
    local_aws.reply(model_id, ScriptedReply(tool_calls=[("pick", {"pid": 3, "kind": "p"})]))

    reply = model_of(configured, model_id).bind_tools([tool]).invoke("x")

    assert spec_sent(local_aws)["inputSchema"]["json"]["type"] == "object"
    assert reply.tool_calls[0]["args"] == {"pid": 3, "kind": "p"}
    assert tool == before


def test_a_union_at_the_top_is_merged_for_claude_and_described(
    configured: Configure, local_aws: LocalAWS
) -> None:
    reply = model_of(configured, CLAUDE).bind_tools([tool_with(EITHER)]).invoke("x")

    spec = spec_sent(local_aws)
    assert spec["inputSchema"]["json"] == {
        "type": "object",
        "$defs": EITHER["$defs"],
        "properties": {
            "pid": NUMBER,
            "kind": {"anyOf": [{"const": "p"}, {"const": "n"}]},
            "name": TEXT,
        },
        "required": ["kind"],
    }
    assert '"anyOf": [{"type": "object"' in spec["description"]
    report = reply.response_metadata["model_manager"]["attempts"][0]["adapted"]
    assert report == ["tool schemas converted to a form that the model accepts"]


def test_a_union_at_the_top_stays_where_the_model_takes_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    model_of(configured, QWEN).bind_tools([tool_with(EITHER)]).invoke("x")

    assert spec_sent(local_aws)["inputSchema"]["json"] == {**EITHER, "type": "object"}


class ById(BaseModel):
    pid: int


class ByName(BaseModel):
    name: str


class Target(RootModel[ById | ByName]):
    """What to stop."""


def test_a_pydantic_root_model_of_two_is_answered(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.reply(CLAUDE, ScriptedReply(tool_calls=[("Target", {"name": "x"})]))

    reply = model_of(configured, CLAUDE).bind_tools([Target], tool_choice="any").invoke("x")

    assert reply.tool_calls[0]["args"] == {"name": "x"}


def test_nova_gets_references_by_what_they_refer_to(
    configured: Configure, local_aws: LocalAWS
) -> None:
    node = {"type": "object", "properties": {"value": NUMBER, "next": {"$ref": "#/$defs/node"}}}
    schema = {
        "type": "object",
        "$defs": {"node": node},
        "properties": {"head": {"$ref": "#/$defs/node"}},
    }

    model_of(configured, NOVA).bind_tools([tool_with(schema)]).invoke("x")

    inlined = {"type": "object", "properties": {"value": NUMBER, "next": {}}}
    assert spec_sent(local_aws)["inputSchema"]["json"] == {
        "type": "object",
        "properties": {"head": inlined},
    }


def test_a_schema_that_is_only_itself_ends(configured: Configure, local_aws: LocalAWS) -> None:
    schema = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"pid": NUMBER}}

    model_of(configured, CLAUDE).bind_tools([tool_with(schema)]).invoke("x")

    assert spec_sent(local_aws)["inputSchema"]["json"]["properties"] == {"pid": NUMBER}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "array", "items": TEXT}, "array"),
        ({"type": "string"}, "string"),
        ({"anyOf": [TEXT, {"type": "array"}]}, "string"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "number"}}}, "number"),
    ],
)
def test_arguments_that_are_no_object_are_refused_with_the_tools_name(
    configured: Configure, local_aws: LocalAWS, schema: dict[str, Any], kind: str
) -> None:
    llm = model_of(configured, CLAUDE)
    own = {"toolSpec": {"name": "pick", "inputSchema": {"json": schema}}}
    titled = {"title": "pick", "description": "x", **schema}
    question = [{"role": "user", "content": [{"text": "x"}]}]

    for tool in (tool_with(schema), own, titled):
        with pytest.raises(ConfigurationError, match=f"tool 'pick': the schema has type '{kind}'"):
            llm.bind_tools([tool])
        with pytest.raises(ConfigurationError, match="tool 'pick'"):
            llm.bind(tools=[tool]).invoke("x")
        with (
            ModelManager(configured(f"a: {{model: '{CLAUDE}'}}")) as manager,
            pytest.raises(ConfigurationError, match="tool 'pick'"),
        ):
            manager.invoke_model("a", question, tools=[tool])

    assert local_aws.requests() == 0


def test_a_tool_without_a_schema_has_no_parameters(
    configured: Configure, local_aws: LocalAWS
) -> None:
    bare = {"type": "function", "function": {"name": "pick"}}

    model_of(configured, CLAUDE).bind_tools([bare]).invoke("x")

    assert spec_sent(local_aws)["inputSchema"]["json"] == {"type": "object", "properties": {}}


PRICED = {
    "type": "object",
    "properties": {"filter[sku]": TEXT, "Unit Price": NUMBER, "plain": TEXT, "Ünit_Price": NUMBER},
    "required": ["Unit Price", "plain"],
    "dependentRequired": {"Unit Price": ["filter[sku]"]},
}
GIVEN = {"filter[sku]": "A1", "Unit Price": 3, "plain": "ä"}


@pytest.mark.parametrize("streamed", [False, True])
def test_parameter_names_that_claude_refuses_are_mapped_out_and_back(
    configured: Configure, local_aws: LocalAWS, streamed: bool
) -> None:
    llm = model_of(configured, CLAUDE).bind_tools([tool_with(PRICED)])
    call = {"name": "pick", "args": GIVEN, "id": "t1", "type": "tool_call"}
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="t1"),
    ]
    llm.invoke("x")
    schema = spec_sent(local_aws)["inputSchema"]["json"]
    sku, price, plain, other = schema["properties"]
    local_aws.reply(CLAUDE, ScriptedReply(tool_calls=[("pick", {sku: "A1", price: 3, plain: "ä"})]))

    if streamed:
        first, *rest = llm.stream(history)
        reply: Any = sum(rest, first)
    else:
        reply = llm.invoke(history)

    assert (sku, price, plain) == ("filter_sku", "Unit_Price", "plain")
    assert other not in {sku, price, plain}
    assert schema["required"] == ["Unit_Price", "plain"]
    assert schema["dependentRequired"] == {"Unit_Price": ["filter_sku"]}
    use = local_aws.calls()[-1].body["messages"][1]["content"][0]["toolUse"]
    assert use["input"] == {"filter_sku": "A1", "Unit_Price": 3, "plain": "ä"}
    assert reply.tool_calls[0]["args"] == GIVEN


def test_parameter_names_stay_where_the_model_takes_them(
    configured: Configure, local_aws: LocalAWS
) -> None:
    model_of(configured, QWEN).bind_tools([tool_with(PRICED)]).invoke("x")

    assert spec_sent(local_aws)["inputSchema"]["json"] == PRICED


def test_input_that_max_tokens_cut_is_handed_on_as_it_is() -> None:
    from langchain_modelmgr.bedrock.argument_names import ArgumentNames

    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "pick"}}}
    events: list[dict[str, Any]] = [
        {"contentBlockStart": start},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"Unit'}}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "x"}}},
        {"messageStop": {"stopReason": "max_tokens"}},
    ]

    restored = list(ArgumentNames({"pick": {"Unit Price": "Unit_Price"}}).restored(events))

    assert [next(iter(event)) for event in restored] == [
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "messageStop",
    ]
    assert restored[2]["contentBlockDelta"]["delta"] == {"toolUse": {"input": '{"Unit'}}
