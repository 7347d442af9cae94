"""Structured output from models that can't be forced to call a tool, or not while they think."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.exceptions import OutputParserException

from langchain_modelmgr import ModelCompatibilityError, ModelManager
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.tools import UNFORCED
from tests.agents import Pallets, count_pallets
from tests.models import HAIKU, SONNET, TITAN

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

THINKER = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
THINKERS = [
    THINKER,
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-opus-4-6-v1",
]
EITHER_WAY = THINKERS[-1]
"""It takes both types of thinking."""
UNFORCEABLE = [
    "us.meta.llama3-3-70b-instruct-v1:0",
    "us.meta.llama4-maverick-17b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "us.anthropic.claude-opus-5-5",
]
ENABLED = {"type": "enabled", "budget_tokens": 2000}
THINKING: dict[str, Any] = {"additional_model_request_fields": {"thinking": ENABLED}}
WAYS_TO_THINK: dict[str, dict[str, Any]] = {
    "enabled": THINKING,
    "adaptive": {"additional_model_request_fields": {"thinking": {"type": "adaptive"}}},
    "by AWS's name": {"additional_model_request_fields": {"reasoning_config": ENABLED}},
}
FOUND = ScriptedReply(tool_calls=[("Pallets", {"count": 12})])
PROSE = ScriptedReply("There are twelve.")


def manager_of(
    configured: Configure, model: str, parameters: dict[str, Any] | None = None, more: str = ""
) -> ModelManager:
    settings = json.dumps(parameters or {})
    agent = f"a: {{model: '{model}', fallbacks: [], max_tokens: 4000, parameters: {settings}}}"
    return ModelManager(configured(f"{agent}\n{more}"), sinks=[])


def choice_of(aws: LocalAWS) -> Any:
    return aws.calls()[-1].body["toolConfig"].get("toolChoice", {"auto": {}})


def adapted(message: Any) -> list[str]:
    report = message.response_metadata["model_manager"]["attempts"][-1]["adapted"]
    return list(report)


# -- a model that thinks


@pytest.mark.parametrize("model", THINKERS)
def test_a_model_that_thinks_gets_no_forced_choice(
    configured: Configure, local_aws: LocalAWS, model: str
) -> None:
    local_aws.reply(model, FOUND)
    llm = manager_of(configured, model, THINKING).chat_model("a")

    reply: Any = llm.with_structured_output(Pallets, include_raw=True).invoke("how many?")

    assert reply["parsed"] == Pallets(count=12)
    assert UNFORCED in adapted(reply["raw"])
    assert choice_of(local_aws) == {"auto": {}}
    fields = local_aws.calls()[-1].body["additionalModelRequestFields"]
    assert fields["thinking"]["type"] == "enabled"


@pytest.mark.parametrize("way", WAYS_TO_THINK)
def test_thinking_that_a_call_asks_for_counts(
    configured: Configure, local_aws: LocalAWS, way: str
) -> None:
    local_aws.reply(EITHER_WAY, FOUND, times=2)
    llm = manager_of(configured, EITHER_WAY).chat_model("a").with_structured_output(Pallets)

    assert llm.invoke("how many?", **WAYS_TO_THINK[way]) == Pallets(count=12)
    assert choice_of(local_aws) == {"auto": {}}
    assert llm.invoke("how many?") == Pallets(count=12)
    assert choice_of(local_aws) == {"any": {}}


@pytest.mark.parametrize("way", WAYS_TO_THINK)
def test_every_way_to_think_in_the_yaml_counts(
    configured: Configure, local_aws: LocalAWS, way: str
) -> None:
    local_aws.reply(EITHER_WAY, FOUND)
    llm = manager_of(configured, EITHER_WAY, WAYS_TO_THINK[way]).chat_model("a")

    assert llm.with_structured_output(Pallets).invoke("how many?") == Pallets(count=12)
    assert choice_of(local_aws) == {"auto": {}}


def test_a_call_that_turns_thinking_off_is_forced(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = manager_of(configured, THINKER, THINKING).chat_model("a")
    off = {"thinking": {"type": "disabled"}}

    reply = llm.with_structured_output(Pallets).invoke("12", additional_model_request_fields=off)

    assert isinstance(reply, Pallets)
    assert choice_of(local_aws) == {"any": {}}


def test_a_reasoning_effort_of_a_call_counts(configured: Configure, local_aws: LocalAWS) -> None:
    model = "us.anthropic.claude-opus-4-6-v1"
    local_aws.reply(model, FOUND)
    llm = manager_of(configured, model).chat_model("a").with_structured_output(Pallets)

    assert llm.invoke("how many?", reasoning_effort="low") == Pallets(count=12)
    assert choice_of(local_aws) == {"auto": {}}


# -- a model that can't be forced at all


@pytest.mark.parametrize("model", UNFORCEABLE)
@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_a_model_without_forced_choice_gets_none(
    configured: Configure, local_aws: LocalAWS, model: str, ask: str
) -> None:
    local_aws.reply(model, FOUND)
    llm: Any = manager_of(configured, model).chat_model("a").with_structured_output(Pallets)

    reply = llm.invoke("how many?") if ask == "invoke" else list(llm.stream("how many?"))[-1]

    assert reply == Pallets(count=12)
    assert choice_of(local_aws) == {"auto": {}}


@pytest.mark.parametrize("model", [UNFORCEABLE[0], UNFORCEABLE[3]])
@pytest.mark.parametrize("schema", [Pallets, Pallets.model_json_schema()], ids=["class", "json"])
@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_an_answer_without_the_call_is_langchains_parser_error(
    configured: Configure, local_aws: LocalAWS, model: str, schema: Any, ask: str
) -> None:
    local_aws.reply(model, PROSE)
    llm: Any = manager_of(configured, model).chat_model("a").with_structured_output(schema)

    with pytest.raises(OutputParserException, match="answered without a tool call") as caught:
        llm.invoke("how many?") if ask == "invoke" else list(llm.stream("how many?"))

    assert "twelve" not in str(caught.value)


async def test_with_the_raw_message_the_parser_error_is_returned(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.reply(THINKER, PROSE)
    llm = manager_of(configured, THINKER, THINKING).chat_model("a")

    reply: Any = await llm.with_structured_output(Pallets, include_raw=True).ainvoke("how many?")

    assert (reply["raw"].text, reply["parsed"]) == ("There are twelve.", None)
    assert isinstance(reply["parsing_error"], OutputParserException)


def test_each_model_of_a_chain_is_forced_where_it_can_be(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = ModelManager(
        configured(f"a: {{model: '{UNFORCEABLE[0]}', fallbacks: ['{HAIKU}']}}"), sinks=[]
    )
    local_aws.fail(UNFORCEABLE[0], "ThrottlingException")

    reply: Any = (
        manager.chat_model("a").with_structured_output(Pallets, include_raw=True).invoke("12")
    )

    first, second = reply["raw"].response_metadata["model_manager"]["attempts"]
    assert first["adapted"] == [UNFORCED]
    assert second["adapted"] == []
    assert [c.body["toolConfig"].get("toolChoice") for c in local_aws.calls()] == [
        {"auto": {}},
        {"any": {}},
    ]


def test_a_model_without_tools_is_still_refused(configured: Configure) -> None:
    with pytest.raises(ModelCompatibilityError, match="Model does not support tools"):
        manager_of(configured, TITAN).chat_model("a").with_structured_output(Pallets)


# -- agents


@pytest.mark.parametrize("response_format", [ToolStrategy(Pallets), Pallets])
def test_an_agent_that_thinks_answers_by_a_schema(
    configured: Configure, local_aws: LocalAWS, response_format: Any
) -> None:
    calls = [
        ScriptedReply(tool_calls=[("count_pallets", {"warehouse": "Hamburg"})], reasoning="hm"),
        ScriptedReply(tool_calls=[("Pallets", {"count": 7})], reasoning="so"),
    ]
    for reply in calls:
        local_aws.reply(THINKER, reply)
    llm = manager_of(configured, THINKER, THINKING).chat_model("a")
    agent: Any = create_agent(llm, [count_pallets], response_format=response_format)

    state = agent.invoke({"messages": [("user", "how many pallets are in Hamburg?")]})

    assert state["structured_response"] == Pallets(count=7)
    assert choice_of(local_aws) == {"auto": {}}


# -- a choice that the user forces


@pytest.mark.parametrize("choice", ["any", "count_pallets", {"type": "any"}, True])
def test_a_choice_that_the_user_forces_is_never_weakened(
    configured: Configure, local_aws: LocalAWS, choice: Any
) -> None:
    manager = manager_of(configured, THINKER, THINKING, f"b: {{model: '{SONNET}'}}")
    llm = manager.chat_model("a").bind_tools([count_pallets], tool_choice=choice)

    with pytest.raises(ModelCompatibilityError) as caught:
        llm.invoke("how many?")

    assert "Model does not support a forced tool choice while it thinks" in str(caught.value)
    assert f"configured models that can: {SONNET}" in str(caught.value)
    assert local_aws.requests() == 0


def test_a_forced_choice_and_thinking_of_one_call_do_not_go_out_together(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = manager_of(configured, THINKER)
    forced = manager.chat_model("a").bind_tools([count_pallets], tool_choice="any")

    with pytest.raises(ModelCompatibilityError, match="no configured model can"):
        forced.invoke("how many?", **THINKING)
    with pytest.raises(ModelCompatibilityError, match="while it thinks"):
        manager.invoke_model(
            "a",
            [{"role": "user", "content": [{"text": "how many?"}]}],
            tools=[count_pallets],
            tool_choice="count_pallets",
            **THINKING,
        )

    assert local_aws.requests() == 0


def test_the_hint_never_names_the_model_that_can_not(configured: Configure) -> None:
    manager = manager_of(configured, UNFORCEABLE[0], more=f"b: {{model: '{SONNET}'}}")

    with pytest.raises(ModelCompatibilityError) as caught:
        manager.chat_model("a").bind_tools([count_pallets], tool_choice="any")

    assert str(caught.value).count(UNFORCEABLE[0]) == 1
    assert f"configured models that can: {SONNET}" in str(caught.value)


def test_check_chains_warns_if_thinking_prevents_a_forced_choice(configured: Configure) -> None:
    thinking = manager_of(configured, THINKER, THINKING).check_chains()[0]
    not_thinking = manager_of(configured, THINKER).check_chains()[0]

    report = "can't be forced to call a tool while it thinks"
    assert any(report in warning for warning in thinking.warnings)
    assert not any(report in warning for warning in not_thinking.warnings)
