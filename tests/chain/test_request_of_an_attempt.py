"""An attempt owns its request: nothing of one attempt reaches the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_modelmgr import ModelManager

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

NOVA = "us.amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
THINKING = "additional_model_request_fields: {thinking: {type: enabled, budget_tokens: 2000}}"
OF_CLAUDE = {"model_provider": "bedrock_converse", "model_name": CLAUDE}
SIGNED = {"reasoningText": {"text": "hm", "signature": "sig"}}
LEFT_OUT = "reasoning of earlier turns left out"


def _reasoned() -> AIMessage:
    reasoning = {
        "type": "reasoning_content",
        "reasoning_content": {"text": "hm", "signature": "sig"},
    }
    return AIMessage([reasoning, {"type": "text", "text": "Hi"}], response_metadata=dict(OF_CLAUDE))


def _reasoned_in_v1() -> AIMessage:
    location = {"documentChar": {"documentIndex": 0, "start": 0, "end": 1}}
    cited = {"type": "citation", "title": "t", "cited_text": "c", "extras": {"location": location}}
    return AIMessage(
        [
            {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "sig"}},
            {"type": "text", "text": "Hi", "annotations": [cited]},
            {"type": "non_standard", "value": {"cachePoint": {"type": "default"}}},
        ],
        response_metadata={**OF_CLAUDE, "output_version": "v1"},
    )


def _ask(llm: Any, mode: str, history: list[Any]) -> AIMessage:
    if mode == "invoke":
        reply: AIMessage = llm.invoke(history)
        return reply
    whole: Any = None
    for chunk in llm.stream(history):
        whole = chunk if whole is None else whole + chunk
    return whole  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", ["invoke", "stream"])
@pytest.mark.parametrize("where", ["agent", "fallback"])
def test_claude_gets_its_own_signed_reasoning_after_nova_failed(
    configured: Configure, local_aws: LocalAWS, mode: str, where: str
) -> None:
    thinks = f"parameters: {{{THINKING}}}"
    config = configured(f"""
    a:
      model: {NOVA}
      cooldown_seconds: 0
      max_tokens: 4000
      {thinks if where == "agent" else "parameters: {}"}
      fallbacks:
        - model: {CLAUDE}
          {thinks if where == "fallback" else "parameters: {}"}
    """)
    llm = ModelManager(config, sinks=[]).chat_model("a")
    history = [HumanMessage("a"), _reasoned(), HumanMessage("b")]
    local_aws.fail(NOVA, "ThrottlingException")

    reply = _ask(llm, mode, history)

    body = local_aws.calls(CLAUDE)[-1].body
    assert body["messages"][1]["content"][0] == {"reasoningContent": SIGNED}
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 2000
    assert reply.response_metadata["model_manager"]["attempts"][-1]["adapted"] == []
    assert history[1] == _reasoned()


@pytest.mark.parametrize("mode", ["invoke", "stream"])
@pytest.mark.parametrize("fault", ["throttle", "reset"])
@pytest.mark.parametrize("failing", [NOVA, CLAUDE])
def test_content_of_version_1_is_converted_anew_for_each_attempt(
    configured: Configure, local_aws: LocalAWS, mode: str, fault: str, failing: str
) -> None:
    others = f"'{CLAUDE}'" if failing == NOVA else ""  # else the same model is called again
    chain = f"a: {{model: '{failing}', fallbacks: [{others}], cooldown_seconds: 0}}"
    llm = ModelManager(configured(chain), sinks=[]).chat_model("a")
    if fault == "throttle":
        local_aws.fail(failing, "ThrottlingException")
    else:
        local_aws.reset(failing, times=2 if failing == NOVA else 1)

    _ask(llm, mode, [HumanMessage("a"), _reasoned_in_v1(), HumanMessage("b")])

    reasoned, cited, point = local_aws.calls(CLAUDE)[-1].body["messages"][1]["content"]
    assert reasoned == {"reasoningContent": SIGNED}
    assert cited["citationsContent"]["citations"][0]["title"] == "t"
    assert point == {"cachePoint": {"type": "default"}}


def test_content_that_langchain_aws_removes_is_reported_like_our_changes(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(
        f"a: {{model: '{CLAUDE}', fallbacks: ['{NOVA}', '{LLAMA}'], cooldown_seconds: 0}}"
    )
    llm = ModelManager(config, sinks=[]).chat_model("a")
    searched = AIMessage(
        [{"type": "web_search_call", "id": "w"}, {"type": "text", "text": "Hi"}],
        response_metadata={"model_provider": "openai", "model_name": "gpt-5"},
    )
    foreign = "content blocks of another provider left out"
    report = []

    for history in (
        [HumanMessage("a"), _reasoned(), HumanMessage("b")],
        [HumanMessage("a"), _reasoned_in_v1(), HumanMessage("b")],
        [HumanMessage("a"), searched, HumanMessage("b")],
    ):
        local_aws.fail(CLAUDE, "ThrottlingException")
        reply = llm.invoke(history)
        report.append(reply.response_metadata["model_manager"]["attempts"][-1]["adapted"])

    assert report[0] == [LEFT_OUT]
    assert {LEFT_OUT, "citations sent as text"} <= set(report[1])
    assert report[2] == [foreign]
    assert (
        llm.invoke([HumanMessage("a"), _reasoned(), HumanMessage("b")]).response_metadata[
            "model_manager"
        ]["attempts"][-1]["adapted"]
        == []
    )


@pytest.mark.filterwarnings("ignore:Tool messages were passed:RuntimeWarning")
def test_tool_calls_without_tools_are_reported_as_sent_as_text(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = ModelManager(configured(f"a: {{model: '{CLAUDE}', fallbacks: []}}"), sinks=[]).chat_model(
        "a"
    )
    call = {"name": "look", "args": {}, "id": "t"}
    history = [
        HumanMessage("a"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("7", tool_call_id="t"),
    ]

    reply = llm.invoke(history)

    report = reply.response_metadata["model_manager"]["attempts"][-1]["adapted"]
    assert report == ["tool calls and results sent as text: no tools are bound"]


@pytest.mark.filterwarnings("ignore:Model anthropic.claude-opus-5 does not support:UserWarning")
def test_sampling_parameters_that_langchain_aws_drops_are_reported(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(
        "a: {model: anthropic.claude-opus-5, temperature: 0.2, parameters: {top_p: 0.9}}"
    )
    llm = ModelManager(config, sinks=[]).chat_model("a")

    reply = llm.invoke("x")

    assert reply.response_metadata["model_manager"]["attempts"][-1]["adapted"] == [
        "temperature not sent: the model refuses it",
        "top_p not sent: the model refuses it",
    ]
    assert not local_aws.calls()[-1].body["inferenceConfig"]
