"""Structured output with nested lists and objects that arrive as JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from langchain_modelmgr import ModelManager
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


class Line(BaseModel):
    sku: str
    qty: int


class Address(BaseModel):
    city: str


class Order(BaseModel):
    """An order."""

    customer: str
    lines: list[Line]
    address: Address | None = None
    note: str | list[str] = ""


class Batch(BaseModel):
    """Orders."""

    first: Order
    others: dict[str, Order] = {}


class LineDict(TypedDict):
    sku: str
    qty: int


class OrderDict(TypedDict):
    """An order."""

    customer: str
    lines: list[LineDict]


LINES = [{"sku": "A1", "qty": 2}]
ORDER = {"customer": "X", "lines": LINES}
TEXTUAL = {"customer": "X", "lines": json.dumps(LINES)}


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"), sinks=[])


def called(name: str, given: Any) -> ScriptedReply:
    return ScriptedReply(tool_calls=[(name, given)])


def last(llm: Any, prompt: str = "x") -> Any:
    return list(llm.stream(prompt))[-1]


# -- nested input that arrives as JSON text


@pytest.mark.parametrize("ask", [lambda llm: llm.invoke("x"), last], ids=["invoke", "stream"])
@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
def test_a_list_that_arrives_as_text_is_a_list(
    manager: ModelManager, local_aws: LocalAWS, ask: Any, method: Any
) -> None:
    local_aws.reply(SONNET, called("Order", TEXTUAL), times=2)
    local_aws.reply(SONNET, called("OrderDict", TEXTUAL))
    json_schema = {"description": "An order.", **Order.model_json_schema()}
    llm = manager.chat_model("a")

    assert ask(llm.with_structured_output(Order, method=method)) == Order(**ORDER)
    assert ask(llm.with_structured_output(json_schema, method=method)) == ORDER
    assert ask(llm.with_structured_output(OrderDict, method=method)) == ORDER


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**ORDER, "address": '{"city": "Hamburg"}'}, {**ORDER, "address": {"city": "Hamburg"}}),
        ({"customer": "X", "lines": [json.dumps(LINES[0])]}, ORDER),
        ({"customer": "X", "lines": json.dumps({"lines": LINES})}, ORDER),
        ({**ORDER, "address": "null"}, None),
        ({**ORDER, "note": '["a text that looks like a list"]'}, "as it is"),
        ({**ORDER, "customer": '{"name": "X"}'}, "as it is"),
        ({"customer": "X", "lines": "A1, twice"}, None),
        ({"customer": "X", "lines": '{"sku": "A1"}'}, None),
    ],
)
def test_a_text_stays_where_the_schema_allows_it(
    manager: ModelManager, local_aws: LocalAWS, given: Any, expected: Any
) -> None:
    local_aws.reply(SONNET, called("Order", given))
    llm = manager.chat_model("a").with_structured_output(Order)

    if expected is None:
        with pytest.raises(ValidationError):
            llm.invoke("x")
    else:
        assert llm.invoke("x") == Order(**(given if expected == "as it is" else expected))


def test_texts_inside_texts_are_read_at_any_depth(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    given = {"first": json.dumps(TEXTUAL), "others": {"b": json.dumps(ORDER)}}
    local_aws.reply(SONNET, called("Batch", given), times=2)
    expected = {"first": ORDER, "others": {"b": ORDER}}
    llm = manager.chat_model("a")

    assert llm.with_structured_output(Batch).invoke("x") == Batch(**expected)
    json_schema = {"description": "Orders.", **Batch.model_json_schema()}  # with $defs and $ref
    assert llm.with_structured_output(json_schema).invoke("x") == expected


def test_a_schema_that_refers_to_itself_is_followed(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    tree = {
        "title": "Node",
        "description": "A node.",
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "x": {"$ref": "#/y"}},
        "y": {"anyOf": [{"$ref": "#/y"}]},
    }
    local_aws.reply(SONNET, called("Node", {"children": '[{"children": "[]"}]', "x": "[]"}))

    found = manager.chat_model("a").with_structured_output(tree).invoke("x")

    assert found == {"children": [{"children": []}], "x": "[]"}


def test_no_chunk_of_a_stream_has_a_text_for_a_list(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.reply(SONNET, called("OrderDict", TEXTUAL))
    llm: Any = manager.chat_model("a").with_structured_output(OrderDict)

    chunks = list(llm.stream("x"))

    assert all(isinstance(chunk.get("lines", []), list) for chunk in chunks)
    assert chunks[-1] == ORDER


def test_the_raw_message_keeps_what_the_model_wrote(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.reply(SONNET, called("Order", TEXTUAL))

    reply = manager.chat_model("a").with_structured_output(Order, include_raw=True).invoke("x")

    assert reply["parsed"] == Order(**ORDER)
    assert reply["raw"].tool_calls[0]["args"] == TEXTUAL


def test_a_stream_that_never_becomes_valid_is_an_error_as_in_invoke(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.reply(SONNET, called("Order", {"customer": "X"}))
    llm = manager.chat_model("a").with_structured_output(Order)

    with pytest.raises(ValidationError, match="lines"):
        list(llm.stream("x"))


@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_with_the_raw_message_an_invalid_answer_is_not_an_error(
    manager: ModelManager, local_aws: LocalAWS, ask: str
) -> None:
    local_aws.reply(SONNET, called("Order", {"customer": "X"}))
    llm: Any = manager.chat_model("a").with_structured_output(Order, include_raw=True)

    reply: dict[str, Any] = {}
    for part in [llm.invoke("x")] if ask == "invoke" else llm.stream("x"):
        reply |= part

    assert reply["raw"].tool_calls[0]["name"] == "Order"
    assert reply["parsed"] is None
    assert isinstance(reply["parsing_error"], ValidationError)
