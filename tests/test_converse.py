"""The common mistakes in what invoke_model is given: one clear error each, nothing sent."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_modelmgr import ConfigurationError, ModelManager
from tests.agents import count_pallets
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

HI: Any = {"role": "user", "content": [{"text": "hi"}]}
PARAMETERS = {"type": "object", "properties": {"warehouse": {"type": "string"}}}
FUNCTION = {"name": "count_pallets", "description": "Count.", "parameters": PARAMETERS}


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: []}}"), sinks=[])


def test_plain_text_is_content(manager: ModelManager, local_aws: LocalAWS) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": [{"text": "how many?"}]},
    ]
    given = deepcopy(messages)

    result = manager.invoke_model("a", messages)

    assert result["response"] == "You said: how many?"
    assert messages == given
    assert [m["content"] for m in local_aws.calls()[0].body["messages"]] == [
        [{"text": "hi"}],
        [{"text": "hello"}],
        [{"text": "how many?"}],
    ]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("secret", "messages must be a list of messages, got str: give [{'role': 'user'"),
        (b"secret", "messages must be a list of messages, got bytes"),
        (HI, "messages must be a list of messages, got dict"),
        (HumanMessage("secret"), "messages must be a list of messages, got HumanMessage"),
        (None, "messages must be a list of messages, got None"),
        (7, "messages must be a list of messages, got int"),
        ([], "messages is empty"),
        (["secret"], "messages[0] must be a message, got str"),
        ([("user", "secret")], "messages[0] must be a message, got tuple"),
        ([{"content": "secret"}], "messages[0] has no 'role': give 'user' or 'assistant'"),
        ([HI, {"role": None, "content": "secret"}], "messages[1] has no 'role'"),
        ([{"role": "user"}], "messages[0] has no 'content': give text or a list of blocks"),
        ([HI, {"role": "assistant", "content": None}], "messages[1] has no 'content'"),
        ([{"role": "user", "content": {"text": "secret"}}], "messages[0] has dict as 'content'"),
        ([{"role": "user", "content": ["secret"]}], "messages[0].content[0] must be a block"),
        (
            [HI, {"role": "user", "content": [{"text": "x"}, {"type": "text", "text": "secret"}]}],
            "messages[1].content[1] has the key 'type', which Converse blocks don't have",
        ),
        ([{"role": "human", "content": "secret"}], "Converse has no role 'human': use 'user'"),
        ([HI, {"role": "tool", "content": "secret"}], "use a 'toolResult' block"),
        ([{"role": "system", "content": "secret"}, HI], "use system_prompt"),
        ([HI, AIMessage("secret")], "messages[1] is a LangChain message among Converse messages"),
    ],
)
async def test_an_invalid_conversation_is_an_error_at_every_entry_point(
    manager: ModelManager, local_aws: LocalAWS, messages: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manager.invoke_model("a", messages)
    assert str(caught.value).startswith("invoke_model: messages")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)

    with pytest.raises(ConfigurationError):
        list(manager.stream_model("a", messages))
    with pytest.raises(ConfigurationError):
        await manager.ainvoke_model("a", messages)
    assert local_aws.requests() == 0


def test_a_system_prompt_is_a_text(manager: ModelManager) -> None:
    blocks: Any = [{"text": "secret"}]

    with pytest.raises(ConfigurationError, match="system_prompt must be text, got list"):
        manager.invoke_model("a", [HI], blocks)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": FUNCTION},
        {"type": "function", **FUNCTION},
        FUNCTION,
        {"name": "count_pallets", "description": "Count.", "input_schema": PARAMETERS},
        {"title": "count_pallets", "description": "Count.", **PARAMETERS},
        count_pallets,
    ],
)
def test_tools_of_every_form_are_taken(
    manager: ModelManager, local_aws: LocalAWS, tool: Any
) -> None:
    choice = {"type": "function", "name": "count_pallets"}

    result = manager.invoke_model("a", [HI], tools=[tool], tool_choice=choice)

    assert result["tool_uses"][0]["name"] == "count_pallets"
    spec = local_aws.calls()[0].body["toolConfig"]["tools"][0]["toolSpec"]
    assert "warehouse" in spec["inputSchema"]["json"]["properties"]


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("count_pallets", "tools must be a list of tools, got str"),
        ({"type": "function", "function": FUNCTION}, "tools must be a list of tools, got dict"),
        ({"tools": []}, "pass the 'tools' of Bedrock's toolConfig"),
        (7, "tools must be a list of tools, got int"),
        ([{"type": "web_search"}], "tools[0]: a tool of type 'web_search' is not supported"),
        ([count_pallets, {"fn": 1}], "tools[1]: a tool with the keys ['fn'] is not supported"),
        ([{"type": "function", "function": {"parameters": {}}}], "tools[0]: the tool has no name"),
        ([{"type": "function", "parameters": {}}], "tools[0]: the tool has no name"),
    ],
)
def test_an_invalid_tool_is_an_error_at_both_entry_points(
    manager: ModelManager, local_aws: LocalAWS, tools: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manager.invoke_model("a", [HI], tools=tools)
    assert said in str(caught.value)

    with pytest.raises(ConfigurationError):
        manager.chat_model("a").bind_tools(tools)
    assert local_aws.requests() == 0
