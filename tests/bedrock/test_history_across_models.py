"""A history goes from Claude to Nova, to Llama and back to Claude, and is accepted everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_modelmgr import ModelManager
from langchain_modelmgr.local import ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama4-maverick-17b-instruct-v1:0"
ORDER = (CLAUDE, NOVA, LLAMA)
CHAIN = f"""
a:
  model: {CLAUDE}
  fallbacks: ['{NOVA}', '{LLAMA}']
  cooldown_seconds: 0
  max_tokens: 8000
  temperature: 1
  parameters:
    top_p: 0.95
    stop_sequences: ["\\n\\nHuman:"]
    additional_model_request_fields:
      thinking: {{type: enabled, budget_tokens: 6000}}
      anthropic_beta: [interleaved-thinking-2025-05-14]
"""
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
HOUR: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}
PNG = "iVBORw0KGgo="
CITED: dict[str, Any] = {
    "citationsContent": {
        "content": [{"text": "It has 7 pallets."}],
        "citations": [
            {
                "title": "stock",
                "sourceContent": [{"text": "7 pallets"}],
                "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 9}},
            }
        ],
    }
}
CALL = ("look", {"place": {"city_name": "Rome", "floor": 2}})
NO_THINKING = "thinking not sent: the model does not accept it"
NO_FLAGS = "anthropic_beta not sent: the model does not accept it"
LEFT_OUT = "reasoning of earlier turns left out"
AS_TEXT = "citations sent as text"
NO_CITATIONS = "citations of a document not requested"
RESTS = "thinking turned off: the tool call came from another model"


def look(place: dict[str, Any]) -> str:
    """Look at a place."""
    return str(place)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"place": {"type": "object", "properties": {"city_name": {"type": "string"}}}},
}
LOOK: dict[str, Any] = {"toolSpec": {"name": "look", "inputSchema": {"json": SCHEMA}}}


def _serve(aws: LocalAWS, model_id: str, reply: ScriptedReply) -> None:
    for refused in ORDER[: ORDER.index(model_id)]:
        aws.fail(refused, "ThrottlingException")
    aws.reply(model_id, reply)


def _sent(aws: LocalAWS) -> dict[str, Any]:
    body: dict[str, Any] = aws.calls(CLAUDE)[-1].body
    return body


def _said(body: dict[str, Any]) -> list[list[Any]]:
    return [m["content"] for m in body["messages"] if m["role"] == "assistant"]


def _check_the_last(body: dict[str, Any], first_reply: list[Any]) -> None:
    """Claude gets back what it said, byte for byte, and all that it was given."""
    assert _said(body)[0] == first_reply
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 6000
    question = body["messages"][0]["content"]
    document, image = question[0]["document"], question[1]["image"]
    assert document["citations"] == {"enabled": True}
    assert image["source"]["bytes"] == PNG
    assert question[-1] == POINT
    assert body["system"][-1] == HOUR
    result = body["messages"][2]["content"][0]["toolResult"]
    assert [next(iter(block)) for block in result["content"]] == ["text", "image"]
    assert result["status"] == "error"


FIRST = ScriptedReply(reasoning="hm", blocks=[CITED], tool_calls=[CALL])
SIGNED = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2lnbmVk"}}}


@pytest.mark.parametrize("mode", ["invoke", "stream"])
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_in_langchains_shapes(
    configured: Configure, local_aws: LocalAWS, mode: str, version: str
) -> None:
    manager = ModelManager(configured(CHAIN), sinks=[])
    llm = manager.chat_model("a", output_version=version).bind_tools([look, HOUR])
    history: list[Any] = [
        SystemMessage([{"type": "text", "text": "Be brief."}, HOUR]),
        HumanMessage(
            [
                {
                    "document": {
                        "format": "txt",
                        "name": "stock",
                        "source": {"text": "7 pallets"},
                        "citations": {"enabled": True},
                    }
                },
                {"type": "image", "base64": PNG, "mime_type": "image/png"},
                {"type": "text", "text": "How many?"},
                POINT,
            ]
        ),
    ]

    def turn(model_id: str, reply: ScriptedReply) -> set[str]:
        _serve(local_aws, model_id, reply)
        said: Any = None
        if mode == "invoke":
            said = llm.invoke(history)
        else:
            for chunk in llm.stream(history):
                said = chunk if said is None else said + chunk
        history.append(said)
        report = said.response_metadata["model_manager"]
        assert report["model_id"] == model_id
        return set(report["attempts"][-1]["adapted"])

    def answer(status: Any = "success") -> None:
        said = history[-1]
        assert isinstance(said, AIMessage)
        found: list[Any] = [
            {"type": "text", "text": "7"},
            {"type": "image", "base64": PNG, "mime_type": "image/png"},
        ]
        history.extend(
            ToolMessage(found, tool_call_id=call["id"], status=status) for call in said.tool_calls
        )

    assert turn(CLAUDE, FIRST) == {"top_p not sent: the model does not accept it with temperature"}
    answer("error")
    of_nova = turn(NOVA, ScriptedReply(text="Let me look.", tool_calls=[CALL]))
    assert of_nova >= {NO_THINKING, NO_FLAGS, LEFT_OUT, AS_TEXT, NO_CITATIONS}
    answer()
    of_llama = turn(LLAMA, ScriptedReply(text="7."))
    assert of_llama >= {
        NO_THINKING,
        LEFT_OUT,
        AS_TEXT,
        "error status of a tool result sent as text",
    }
    history.append(HumanMessage("And tomorrow?"))
    turn(NOVA, ScriptedReply(tool_calls=[CALL]))
    answer()
    assert RESTS in turn(CLAUDE, ScriptedReply(text="Still 7."))
    history.append(HumanMessage("Sure?"))
    turn(CLAUDE, ScriptedReply(reasoning="hm", text="Sure."))

    use = history[2].tool_calls[0]
    called = {"toolUse": {"toolUseId": use["id"], "name": "look", "input": dict([CALL])["look"]}}
    _check_the_last(_sent(local_aws), [SIGNED, CITED, called])


@pytest.mark.parametrize("mode", ["invoke_model", "stream_model"])
def test_in_bedrocks_shapes(configured: Configure, local_aws: LocalAWS, mode: str) -> None:
    manager = ModelManager(configured(CHAIN), sinks=[])
    png = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n"}}}
    document = {
        "format": "txt",
        "name": "stock",
        "source": {"text": "7 pallets"},
        "citations": {"enabled": True},
    }
    question = [{"document": document}, png, {"text": "How many?"}, POINT]
    messages: list[Any] = [{"role": "user", "content": question}]

    def turn(model_id: str, reply: ScriptedReply, status: str = "success") -> set[str]:
        _serve(local_aws, model_id, reply)
        given: dict[str, Any] = {"system_prompt": "Be brief.", "tools": [LOOK, POINT]}
        if mode == "invoke_model":
            result: Any = manager.invoke_model("a", messages, **given)
        else:
            *_, last = manager.stream_model("a", messages, **given)
            result = last["result"]
        assert result["model_id"] == model_id
        messages.append({"role": "assistant", "content": result["content"]})
        results = [
            {"toolUseId": u["toolUseId"], "content": [{"text": "7"}, png], "status": status}
            for u in result["tool_uses"]
        ]
        content: list[Any] = [{"toolResult": found} for found in results]
        content = content or [{"text": "Sure?"}]
        messages.append({"role": "user", "content": content})
        return set(result["attempts"][-1]["adapted"])

    turn(CLAUDE, FIRST, "error")
    of_nova = turn(NOVA, ScriptedReply(text="Let me look.", tool_calls=[CALL]))
    assert of_nova >= {NO_THINKING, NO_FLAGS, LEFT_OUT, AS_TEXT, NO_CITATIONS}
    of_llama = turn(LLAMA, ScriptedReply(text="7."))
    assert of_llama >= {
        NO_THINKING,
        LEFT_OUT,
        AS_TEXT,
        "error status of a tool result sent as text",
    }
    turn(NOVA, ScriptedReply(tool_calls=[CALL]))
    assert RESTS in turn(CLAUDE, ScriptedReply(text="Still 7."))
    turn(CLAUDE, ScriptedReply(reasoning="hm", text="Sure."))

    body = _sent(local_aws)
    body["system"].append(HOUR)  # a system prompt is text here; the points of the rest are kept
    _check_the_last(body, messages[1]["content"])
    assert body["toolConfig"]["tools"][-1] == POINT
