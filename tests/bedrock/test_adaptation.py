"""Requests are adapted to each model, and the changes are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_modelmgr import ModelManager
from langchain_modelmgr.bedrock.adaptation import fitted
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, LLAMA, SONNET, TITAN

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA_33 = "us.meta.llama3-3-70b-instruct-v1:0"
CHAIN = f"""
a:
  model: {CLAUDE}
  fallbacks: ['{NOVA}', '{LLAMA_33}']
  cooldown_seconds: 0
  parameters:
    additional_model_request_fields: {{thinking: {{type: enabled, budget_tokens: 1024}}}}
"""
CATALOG = ModelCatalog()
SIGNED = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
UNSIGNED = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
REDACTED = {"reasoningContent": {"redactedContent": b"x"}}
CACHE = {"cachePoint": {"type": "default"}}
RESULT = {"toolResult": {"toolUseId": "t", "content": [{"text": "x"}], "status": "error"}}
USE = {"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}
TEXT: dict[str, Any] = {"text": "x"}
LEFT_OUT = "reasoning of earlier turns left out"
NO_THINKING = "thinking not sent: the model does not accept it"
NO_CACHE = "cache points left out: the model has no prompt cache"


def _fit(model_id: str, *turns: list[dict[str, Any]], **sections: Any) -> tuple[Any, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    params = {"messages": messages, **sections}
    before = repr(params)
    formed, changes = fitted(params, CATALOG.resolve(model_id))
    assert repr(params) == before  # what came in is left as it was
    return formed, changes


@pytest.mark.parametrize(
    ("model_id", "block", "kept"),
    [
        (CLAUDE, SIGNED, True),
        (CLAUDE, REDACTED, True),
        (CLAUDE, UNSIGNED, False),
        (NOVA, SIGNED, False),
        (NOVA, UNSIGNED, False),
        (LLAMA_33, UNSIGNED, False),
        ("deepseek.r1-v1:0", UNSIGNED, False),
        ("amazon.nova-2-lite-v1:0", UNSIGNED, True),
        ("openai.gpt-oss-120b-1:0", UNSIGNED, True),
        ("openai.gpt-oss-120b-1:0", SIGNED, False),
        ("openai.gpt-oss-120b-1:0", REDACTED, False),
    ],
)
def test_reasoning_stays_with_the_models_that_take_it(
    model_id: str, block: dict[str, Any], kept: bool
) -> None:
    formed, changes = _fit(model_id, [TEXT], [block, TEXT], [TEXT])

    assert (block in formed["messages"][1]["content"]) == kept
    assert changes == (() if kept else (LEFT_OUT,))


def test_a_turn_that_would_be_empty_gets_a_placeholder() -> None:
    formed, _ = _fit(NOVA, [TEXT], [SIGNED], [TEXT])

    assert formed["messages"][1]["content"] == [{"text": "."}]


def test_a_model_without_system_prompts_reads_it_first() -> None:
    formed, changes = _fit(TITAN, [{"text": "hi"}], system=[{"text": "be brief"}])

    assert "system" not in formed
    assert formed["messages"][0]["content"] == [{"text": "be brief"}, {"text": "hi"}]
    assert changes == ("system prompt sent as text of the first turn",)


def test_a_tools_error_status_is_sent_as_text_to_models_without_it() -> None:
    formed, changes = _fit(LLAMA_33, [TEXT], [USE], [RESULT])

    result = formed["messages"][2]["content"][0]["toolResult"]
    assert "status" not in result
    assert result["content"] == [{"text": "Error:"}, {"text": "x"}]
    assert changes == ("error status of a tool result sent as text",)
    assert _fit(CLAUDE, [TEXT], [USE], [RESULT])[1] == ()


def test_citations_become_text_for_other_families() -> None:
    cited = {"citationsContent": {"content": [{"text": "so "}, {"text": "it is"}], "citations": []}}
    document = {"document": {"format": "txt", "name": "d", "citations": {"enabled": True}}}

    formed, changes = _fit(NOVA, [document], [cited], [TEXT])

    assert formed["messages"][1]["content"] == [{"text": "so it is"}]
    assert "citations" not in formed["messages"][0]["content"][0]["document"]
    assert len(changes) == 2
    assert _fit(CLAUDE, [document], [cited], [TEXT])[1] == ()


def test_thinking_rests_while_another_models_tool_call_is_answered() -> None:
    fields = {"thinking": {"type": "enabled"}, "other": 1}

    formed, changes = _fit(
        CLAUDE, [TEXT], [TEXT, USE], [RESULT], additionalModelRequestFields=fields
    )
    alone, _ = _fit(CLAUDE, [TEXT], [USE], [RESULT], additionalModelRequestFields={"thinking": {}})

    assert formed["additionalModelRequestFields"] == {"other": 1}
    assert "additionalModelRequestFields" not in alone
    assert changes == ("thinking turned off: the tool call came from another model",)
    for turns in ([TEXT], [USE], [TEXT]), ([TEXT], [SIGNED, USE], [RESULT]):
        assert _fit(CLAUDE, *turns, additionalModelRequestFields=fields)[1] == ()


def test_an_unknown_model_gets_the_request_unchanged() -> None:
    params = {"messages": [{"role": "assistant", "content": [SIGNED, CACHE]}], "system": [CACHE]}

    for model in (
        CATALOG.resolve("acme.unheard-of"),
        replace(CATALOG.resolve(CLAUDE), base_model_id=None),
    ):
        assert fitted(params, model) == (params, ())


def test_a_model_that_the_yaml_describes_is_checked_against_the_description() -> None:
    params = {"messages": [{"role": "assistant", "content": [SIGNED, UNSIGNED, TEXT]}]}
    report = {"reasoning_history": "signed", "supports_prompt_caching": True}
    described = ModelCatalog({"acme.new": report, "acme.other": {"supports_tools": True}})

    formed, changes = fitted(params, described.resolve("acme.new"))

    assert formed["messages"][0]["content"] == [SIGNED, TEXT]
    assert changes == (LEFT_OUT,)
    assert fitted(params, described.resolve("acme.other")) == (params, ())


# -- over the wire, whose rules refuse what a model does not take


def look(place: str) -> str:
    """Look up the weather of a place."""
    return place


def _serve(local_aws: LocalAWS, model_id: str) -> None:
    """Let the chain fall to ``model_id``."""
    chain = [CLAUDE, NOVA, LLAMA_33]
    for refused in chain[: chain.index(model_id)]:
        local_aws.fail(refused, "ThrottlingException")


def _told(reply: AIMessage, model_id: str) -> list[str]:
    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == model_id
    adapted: list[str] = report["attempts"][-1]["adapted"]
    return adapted


CALL = ScriptedReply(reasoning="let me look", tool_calls=[("look", {"place": "Rome"})])


@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_a_conversation_moves_to_other_families_and_back(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = ModelManager(configured(CHAIN), sinks=[]).chat_model("a").bind_tools([look])
    history: list[Any] = [
        SystemMessage([{"type": "text", "text": "Be brief."}, CACHE]),
        HumanMessage("How is the weather?"),
    ]

    def turn(model_id: str, reply: ScriptedReply) -> tuple[AIMessage, list[str]]:
        _serve(local_aws, model_id)
        local_aws.reply(model_id, reply)
        if mode == "invoke":
            said: Any = llm.invoke(history)
        else:
            said = None
            for chunk in llm.stream(history):
                said = chunk if said is None else said + chunk
        history.append(said)
        return said, _told(said, model_id)

    def answer(said: AIMessage, status: Any = "success") -> None:
        for call in said.tool_calls:
            history.append(ToolMessage("sunny", tool_call_id=call["id"], status=status))

    said, adapted = turn(CLAUDE, CALL)  # 1: Claude thinks and calls a tool
    assert adapted == []
    answer(said, "error")
    said, adapted = turn(NOVA, CALL)  # 2: Nova takes the result, and calls another
    assert adapted == [NO_THINKING, LEFT_OUT]  # whoever left it out
    answer(said)
    said, adapted = turn(LLAMA_33, ScriptedReply(text="Sunny."))  # 3: Llama answers
    assert NO_CACHE in adapted
    assert "error status of a tool result sent as text" in adapted
    history.append(HumanMessage("And tomorrow?"))
    said, adapted = turn(NOVA, CALL)  # 4: Nova calls a tool
    answer(said)
    said, adapted = turn(CLAUDE, CALL)  # 5: Claude goes on in the middle of it
    assert "thinking turned off: the tool call came from another model" in adapted
    answer(said)
    said, adapted = turn(CLAUDE, ScriptedReply(text="Sunny too."))  # 6: its own call: it thinks
    assert adapted == [LEFT_OUT]  # Nova's, of turns 2 and 4
    assert "Sunny too." in said.text


def test_a_prompt_in_bedrocks_own_shapes_too(configured: Configure, local_aws: LocalAWS) -> None:
    manager = ModelManager(configured(CHAIN), sinks=[])
    tools = [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]
    history: list[Any] = [{"role": "user", "content": [TEXT, CACHE]}]

    def turn(model_id: str, reply: ScriptedReply) -> Any:
        _serve(local_aws, model_id)
        local_aws.reply(model_id, reply)
        result = manager.invoke_model("a", history, system_prompt="Be brief.", tools=tools)
        assert result["model_id"] == model_id
        history.append({"role": "assistant", "content": result["content"]})
        results = [
            {"toolResult": {"toolUseId": use["toolUseId"], "content": [TEXT], "status": "success"}}
            for use in result["tool_uses"]
        ]
        history.append({"role": "user", "content": results or [TEXT]})
        return result["attempts"][-1]["adapted"]

    changes = [turn(model_id, CALL) for model_id in (CLAUDE, NOVA, LLAMA_33, CLAUDE, NOVA, CLAUDE)]

    assert changes[0] == []
    assert changes[1] == [NO_THINKING, LEFT_OUT]
    assert set(changes[2]) == {NO_THINKING, LEFT_OUT, NO_CACHE}
    assert "thinking turned off: the tool call came from another model" in changes[3]
    assert changes[4] == [NO_THINKING, LEFT_OUT]


def test_a_prompt_that_is_too_long_for_a_fallback_drops_it_out(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{LLAMA}', '{HAIKU}']}}")
    local_aws.fail(SONNET, "ThrottlingException")

    reply = ModelManager(config, sinks=[]).chat_model("a").invoke("x" * 8 * 8_200)

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == HAIKU
    assert report["skipped"] == [
        {
            "model_id": LLAMA,
            "reason": "Model's context window of 8192 tokens is smaller than the prompt",
        }
    ]
