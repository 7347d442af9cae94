"""A value that can't be sent is named by its place and type, and never shown."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import BedrockInvalidRequestError
from tests.agents import Pallets, count_pallets
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


class Color(Enum):
    RED = "secret"


class Text(str, Enum):  # noqa: UP042 - the form that is found in applications
    RED = "red"


@dataclass
class Row:
    sku: str = "secret"


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    return ManagedBedrockChat(agent_name="a", config=config)


def history(args: dict[str, Any], result: Any = "3") -> list[Any]:
    call = {"name": "count_pallets", "args": args, "id": "t1", "type": "tool_call"}
    return [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage(result, tool_call_id="t1"),
    ]


SECRET = dt.datetime(1999, 12, 31, tzinfo=dt.UTC)
VALUES = [
    (Decimal("1999.5"), "decimal.Decimal", "a float or str() of it"),
    (SECRET, "datetime.datetime", "its isoformat()"),
    (SECRET.date(), "datetime.date", "its isoformat()"),
    (dt.timedelta(seconds=1999), "datetime.timedelta", "its total_seconds()"),
    (uuid.UUID(int=1999), "uuid.UUID", "str() of it"),
    (Color.RED, "test_unsendable.Color", "its value"),
    (np.int64(1999), "numpy.int64", "its tolist() or item()"),
    (np.array([1999]), "numpy.ndarray", "its tolist() or item()"),
    ({1999}, "set", "list() of it"),
    ((1999,), "tuple", "list() of it"),
    (b"1999", "bytes", "text, base64 for example"),
    (Pallets(count=1999), "tests.agents.Pallets", "its model_dump(mode='json')"),
    (Row(), "test_unsendable.Row", "dataclasses.asdict() of it"),
    (1999j, "complex", "text, a number, a list or a map"),
    (float("nan"), "float", "JSON has neither NaN nor infinity"),
]
SHOWN = ("1999", "secret", "31")


@pytest.mark.parametrize(("value", "kind", "instead"), VALUES)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_value_in_a_calls_arguments_is_named_by_place_and_type(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    value: Any,
    kind: str,
    instead: str,
    streamed: bool,
) -> None:
    bound = llm.bind_tools([count_pallets])
    given = history({"lines": [{"unit_price": value}]})

    with pytest.raises(BedrockInvalidRequestError) as caught:
        list(bound.stream(given)) if streamed else bound.invoke(given)

    text = str(caught.value)
    assert "messages[1]: the arguments of a call of 'count_pallets'" in text
    assert f"lines[0].unit_price is of type {kind}, which can't be sent" in text
    assert instead in text
    assert not any(word in text.partition("type")[2] for word in SHOWN)
    assert caught.value.__cause__ is not None
    assert local_aws.requests() <= 1  # only NaN is found by AWS


@pytest.mark.filterwarnings("ignore:Tool messages were passed without toolConfig")
def test_it_is_named_where_no_tool_is_bound_too(llm: ManagedBedrockChat) -> None:
    with pytest.raises(BedrockInvalidRequestError, match=r"price is of type decimal\.Decimal"):
        llm.invoke(history({"price": Decimal(1)}))


def test_it_is_named_in_a_tools_result_and_in_a_schema(llm: ManagedBedrockChat) -> None:
    properties = {"price": {"type": "number", "default": Decimal(1)}}
    schema = {"type": "object", "properties": properties}
    tool = {"name": "buy", "description": "x", "parameters": schema}
    result = [{"type": "json", "json": {"rows": [{"price": Decimal(1)}]}}]

    with pytest.raises(
        BedrockInvalidRequestError,
        match=r"messages\[2\]: the JSON of a tool's result: rows\[0\].price is of type decimal",
    ):
        llm.bind_tools([count_pallets]).invoke(history({}, result))
    with pytest.raises(
        BedrockInvalidRequestError,
        match=r"the schema of the tool 'buy': properties.price.default is of type decimal",
    ):
        llm.bind_tools([tool]).invoke("x")


def test_it_is_named_without_langchain(configured: Configure) -> None:
    use = {"toolUse": {"toolUseId": "t1", "name": "count_pallets", "input": {"on": SECRET}}}
    messages = [
        {"role": "user", "content": [{"text": "x"}]},
        {"role": "assistant", "content": [use]},
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "3"}]}}],
        },
    ]
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    with (
        ModelManager(config) as manager,
        pytest.raises(BedrockInvalidRequestError, match=r"on is of type datetime\.datetime"),
    ):
        manager.invoke_model("a", messages, tools=[count_pallets])


def test_a_request_field_is_named_with_what_it_should_be(llm: ManagedBedrockChat) -> None:
    with pytest.raises(
        BedrockInvalidRequestError,
        match=r"\(a value of type int; give str\): Invalid type for parameter requestMetadata\.tenant$",
    ) as caught:
        llm.invoke("x", request_metadata={"tenant": 1999})
    with pytest.raises(
        BedrockInvalidRequestError,
        match=r"additional_model_request_fields: top_k is of type decimal",
    ):
        llm.invoke("x", additional_model_request_fields={"top_k": Decimal(1)})

    assert "1999" not in str(caught.value)


def test_a_structure_without_an_end_is_named(llm: ManagedBedrockChat) -> None:
    row: dict[str, Any] = {}
    row["self"] = row

    with pytest.raises(BedrockInvalidRequestError, match="it contains itself"):
        llm.bind_tools([count_pallets]).invoke(history({"row": row}))


def test_keys_that_may_be_data_are_not_shown(llm: ManagedBedrockChat) -> None:
    with pytest.raises(BedrockInvalidRequestError) as caught:
        llm.bind_tools([count_pallets]).invoke(history({"by": {"jo@example.com": {1, 2}}}))

    assert "by.… is of type set" in str(caught.value)


def test_an_enum_of_texts_is_sent_as_its_text(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    llm.bind_tools([count_pallets]).invoke(history({"color": Text.RED}))

    use = local_aws.calls()[0].body["messages"][1]["content"][0]["toolUse"]
    assert use["input"] == {"color": "red"}
