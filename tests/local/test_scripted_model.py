"""The scripted model and the instances it makes of JSON schemas."""

from __future__ import annotations

import json
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from langchain_modelmgr.local.model import ScriptedModel
from langchain_modelmgr.local.schema import InstanceMaker
from langchain_modelmgr.local.scripted import ScriptedReply, ScriptedRequest


def request(text: str = "hi", **body: Any) -> ScriptedRequest:
    messages = [{"role": "user", "content": [{"text": text}]}]
    return ScriptedRequest("Converse", "m", {"messages": messages, **body})


def tool(name: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"name": name, "inputSchema": {"json": schema or {"type": "object"}}}
    return {"toolSpec": spec}


def called(answer: Any) -> list[str]:
    return [b["toolUse"]["name"] for b in answer.content if "toolUse" in b]


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Everything(BaseModel):
    kind: Literal["a", "b"]
    count: int = Field(ge=5, le=9)
    share: float = Field(gt=0, lt=1)
    even: int = Field(multiple_of=2, le=7)
    tags: list[str] = Field(min_length=2)
    node: Node
    maybe: str | None
    either: int | str
    flag: bool
    code: str = Field(min_length=5, max_length=6)
    nothing: None = None


@pytest.mark.parametrize(
    "schema",
    [
        Everything.model_json_schema(),
        Node.model_json_schema(),
        {
            "type": "object",
            "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}],
        },
        {"properties": {"d": {"type": "string", "format": "date"}}, "required": ["d"]},
        {"type": ["null", "integer"]},
        {"const": 5},
        {"type": "null"},
        {"type": "array", "items": {"enum": ["x", "y"]}},
        {},
    ],
)
@given(prompt=st.text(max_size=30))
def test_an_instance_is_valid_for_its_schema(schema: dict[str, Any], prompt: str) -> None:
    instance = InstanceMaker(schema, prompt).make()

    jsonschema.validate(instance, schema)


def test_an_instance_takes_what_the_prompt_offers() -> None:
    schema = {
        "properties": {
            "name": {"type": "string"},
            "n": {"type": "integer"},
            "size": {"enum": ["small", "large"]},
        }
    }

    made = InstanceMaker(schema, "a large one for '你好啊集团', 12 times").make()

    assert made == {"name": "你好啊集团", "n": 12, "size": "large"}


def test_an_unsatisfiable_schema_does_not_crash() -> None:
    assert InstanceMaker({"properties": {"a": True}}, "").make() == {"a": {}}


@pytest.mark.parametrize(
    ("choice", "names"),
    [({"any": {}}, ["alpha"]), ({"tool": {"name": "beta"}}, ["beta"]), ({"auto": {}}, [])],
)
def test_a_tool_choice_is_obeyed(choice: dict[str, Any], names: list[str]) -> None:
    config = {"tools": [tool("alpha"), tool("beta")], "toolChoice": choice}

    assert called(ScriptedModel().answer(request(toolConfig=config))) == names


def test_a_tool_is_called_when_the_prompt_mentions_it() -> None:
    config = {"tools": [tool("count_pallets"), tool("find_lanes")]}

    answer = ScriptedModel().answer(request("please count the lanes of Hamburg", toolConfig=config))

    assert len(called(answer)) == 1
    assert answer.stop_reason == "tool_use"


def test_results_of_tools_are_repeated() -> None:
    result = {"content": [{"text": "30"}, {"json": {"n": 1}}, {"image": {}}]}
    request = ScriptedRequest(
        "Converse",
        "m",
        {
            "messages": [
                {"role": "user", "content": [{"text": "how many?"}]},
                {"role": "assistant", "content": [{"text": "wait"}]},
                {"role": "user", "content": [{"toolResult": result}]},
            ]
        },
    )

    answer = ScriptedModel().answer(request)

    assert answer.content[0]["text"] == 'The tools say: 30\n{"n": 1}\n[image]'
    assert request.prompt == "how many?"
    assert ScriptedRequest("Converse", "m", {}).prompt == ""


def test_a_schema_of_the_output_is_answered_in_json() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"textFormat": {"structure": {"jsonSchema": {"schema": json.dumps(schema)}}}}

    answer = ScriptedModel().answer(request("12 pallets", outputConfig=form))

    assert json.loads(answer.content[0]["text"]) == {"n": 12}


def test_stop_sequences_and_limits_end_the_text() -> None:
    model = ScriptedModel()
    reply = ScriptedReply(text="one two three four")

    stopped = model.answer(request(inferenceConfig={"stopSequences": [" three"]}), reply)
    limited = model.answer(request(inferenceConfig={"maxTokens": 2}), reply)

    assert (stopped.content[0]["text"], stopped.stop_reason) == ("one two", "stop_sequence")
    assert (limited.content[0]["text"], limited.stop_reason) == ("one two ", "max_tokens")
    assert limited.usage["outputTokens"] == 2


def test_a_described_image_is_repeated() -> None:
    content = [{"text": "look"}, {"image": {}}, {"document": {}}]
    request = ScriptedRequest("Converse", "m", {"messages": [{"role": "user", "content": content}]})

    assert "I see document and image too" in ScriptedModel().answer(request).content[0]["text"]


def test_a_tool_call_has_the_id_and_the_input_that_its_script_gives() -> None:
    calls: list[Any] = [
        ("count", {"n": 1}),
        ("count", {"n": 2}, "mine"),
        ("count", '{"n": ', "cut"),
    ]

    answer = ScriptedModel().answer(request(), ScriptedReply(tool_calls=calls))

    uses = [block["toolUse"] for block in answer.content]
    assert [use["toolUseId"] for use in uses] == ["tooluse_000001", "mine", "cut"]
    assert [use["input"] for use in uses] == [{"n": 1}, {"n": 2}, '{"n": ']
