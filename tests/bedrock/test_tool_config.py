"""Tools in Bedrock's form, made from the neutral ones."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_aws.tools.nova_tools import NovaSystemTool
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_modelmgr.bedrock.tool_config import tool_config, without_null
from langchain_modelmgr.tools import neutral_tools
from tests.agents import count_pallets

CACHE = {"cachePoint": {"type": "default"}}


def _schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_each_form_of_a_tool_becomes_bedrocks() -> None:
    own = {"toolSpec": {"name": "own", "inputSchema": {"json": _schema({})}}}
    bare = {"type": "function", "function": {"name": "bare"}}

    made = tool_config(
        [count_pallets, own, bare, CACHE, NovaSystemTool(name="nova_grounding", description="d")],
        None,
    )

    first, second, third, cache, system = made["tools"]
    assert first["toolSpec"]["name"] == "count_pallets"
    assert first["toolSpec"]["inputSchema"]["json"]["properties"].keys() == {"warehouse"}
    assert second == {"toolSpec": {**own["toolSpec"], "description": "own"}}
    assert third["toolSpec"]["inputSchema"]["json"] == _schema({})
    assert cache == CACHE
    assert system == {"systemTool": {"name": "nova_grounding"}}
    assert "toolChoice" not in made
    assert own["toolSpec"].keys() == {"name", "inputSchema"}


@pytest.mark.parametrize(
    ("choice", "formed"),
    [("auto", {"auto": {}}), ("any", {"any": {}}), ("x", {"tool": {"name": "x"}})],
)
def test_a_choice_becomes_bedrocks(choice: str, formed: dict[str, Any]) -> None:
    assert tool_config(["nova_grounding"], choice)["toolChoice"] == formed


def test_strict_tools_say_so() -> None:
    made = tool_config(neutral_tools([count_pallets], strict=True), None, strict=True)

    spec = made["tools"][0]["toolSpec"]
    assert spec["strict"] is True
    assert spec["inputSchema"]["json"]["additionalProperties"] is False


class Address(BaseModel):
    street: str
    lines: list[str | None] | None = None


@tool
def ship(to: Address | None, by: Literal["sea", "air"] | None = None, kg: float | None = 1) -> str:
    """Ship something."""
    return f"{to}{by}{kg}"


def test_optional_parameters_are_sent_as_langchain_aws_sends_them() -> None:
    from langchain_aws.chat_models.bedrock_converse import _format_tools

    neutral = neutral_tools([ship])

    assert tool_config(neutral, None)["tools"] == _format_tools(neutral)


NULL, TEXT = {"type": "null"}, {"type": "string"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            _schema({"a": {"anyOf": [TEXT, NULL], "default": None}}),
            _schema({"a": {**TEXT, "default": None}}),
        ),
        (_schema({"a": {"type": ["string", "null"]}}), _schema({"a": TEXT})),
        (
            _schema({"a": {"type": ["string", "integer", "null"]}}),
            _schema({"a": {"type": ["string", "integer"]}}),
        ),
        (_schema({"a": {"anyOf": [NULL]}}), _schema({"a": {"anyOf": [NULL]}})),
        ({"items": {"anyOf": [TEXT, NULL]}}, {"items": TEXT}),
        ({"additionalProperties": {"type": ["string", "null"]}}, {"additionalProperties": TEXT}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"$defs": {"anyOf": {"anyOf": [TEXT, NULL]}}}, {"$defs": {"anyOf": TEXT}}),
        ({"allOf": [{"anyOf": [TEXT, NULL]}]}, {"allOf": [TEXT]}),
        ({"const": {"type": ["a", "null"]}}, {"const": {"type": ["a", "null"]}}),
        ({"default": {"anyOf": [NULL, 1]}}, {"default": {"anyOf": [NULL, 1]}}),
        ({"examples": [{"type": [None]}]}, {"examples": [{"type": [None]}]}),
    ],
)
def test_null_is_removed_from_schemas_but_not_from_data(given: dict[str, Any], sent: Any) -> None:
    before = repr(given)

    assert without_null(given) == sent
    assert repr(given) == before
