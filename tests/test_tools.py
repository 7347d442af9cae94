"""Tools, choices and schemas in neutral forms."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_modelmgr.chain.structured_output import parsed, schema_from_call, schema_from_text
from langchain_modelmgr.tools import (
    check_choice,
    json_schema_format,
    neutral_choice,
    neutral_tools,
)


class Pallets(BaseModel):
    """Pallets in stock."""

    count: int


class Lane(TypedDict):
    """A lane between warehouses."""

    hours: int


@tool
def count_pallets(warehouse: str) -> int:
    """Count the pallets of a warehouse."""
    return len(warehouse)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (False, None),
        (True, "any"),
        ("any", "any"),
        ("required", "any"),
        ("auto", "auto"),
        ("count_pallets", "count_pallets"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
        ({"type": "tool", "name": "f"}, "f"),
        ({"tool": {"name": "f"}}, "f"),
        ({"type": "any"}, "any"),
        ({"any": {}}, "any"),
        ({"auto": {}}, "auto"),
        ("none", "none"),
        ({"type": "none"}, "none"),
        ({"none": {}}, "none"),
        ({"type": "function", "name": "f"}, "f"),
        ({"type": "required"}, "any"),
    ],
)
def test_a_tool_choice_is_taken_in_every_form_of_the_field(given: Any, expected: str) -> None:
    assert neutral_choice(given) == expected


def test_an_unknown_form_of_choice_is_an_error_that_says_what_is_right() -> None:
    with pytest.raises(ValueError, match="give 'auto', 'any', 'none', or a tool's name"):
        neutral_choice({"pick": "one"})


@pytest.mark.parametrize(
    "tools",
    [
        [count_pallets],
        [{"cachePoint": {"type": "default"}}, {"toolSpec": {"name": "count_pallets"}}],
    ],
)
def test_a_tool_that_is_not_bound_can_not_be_forced(tools: list[Any]) -> None:
    bound = neutral_tools(tools)

    check_choice("count_pallets", bound)
    check_choice("any", bound)
    with pytest.raises(ValueError, match="no tool 'nosuch' is bound; bound: 'count_pallets'"):
        check_choice("nosuch", bound)


def test_a_tool_in_a_form_of_its_own_may_have_any_name() -> None:
    check_choice("grounding", ["nova_grounding"])


def test_tools_become_plain_data() -> None:
    formed = neutral_tools([count_pallets, Pallets], strict=True)

    assert [t["function"]["name"] for t in formed] == ["count_pallets", "Pallets"]
    assert all(t["function"]["strict"] for t in formed)


def test_bedrocks_own_tools_stay_as_they_are() -> None:
    own = [{"toolSpec": {"name": "x"}}, {"cachePoint": {"type": "default"}}, "nova_grounding"]

    assert neutral_tools(own) == own  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        (Pallets, "Pallets"),
        (Lane, "Lane"),
        ({"title": "Count", "description": "d", "type": "object", "properties": {}}, "Count"),
    ],
)
def test_a_schema_is_requested_by_its_name(schema: Any, name: str) -> None:
    form = json_schema_format(schema)

    assert form["json_schema"]["name"] == name
    assert form["json_schema"]["schema"]["type"] == "object"


def test_answers_are_parsed_by_class_or_to_a_dict() -> None:
    text = AIMessage('{"count": 3}')
    call = AIMessage("", tool_calls=[{"name": "Pallets", "args": {"count": 3}, "id": "1"}])

    assert schema_from_text(Pallets).invoke(text) == Pallets(count=3)
    assert schema_from_text(Lane).invoke(text) == {"count": 3}
    assert schema_from_call(Pallets).invoke(call) == Pallets(count=3)


def test_a_broken_answer_is_returned_raw_with_its_error() -> None:
    model: Any = RunnableLambda(lambda _: AIMessage("not json"))

    reply = parsed(model, schema_from_text(Pallets), include_raw=True).invoke("x")

    assert reply["raw"].content == "not json"
    assert reply["parsed"] is None
    assert reply["parsing_error"] is not None
