"""Replies of odd shape, which are billed like any other: unary, streamed, at both doors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import BedrockAPIError
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET
from tests.support import (
    BEGIN,
    TOLD,
    USAGE,
    answer_with_events,
    answer_with_json,
    delta,
    end,
    start,
    stop,
)

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

HI: list[Any] = [{"role": "user", "content": [{"text": "hi"}]}]
CALL = {"toolUse": {"toolUseId": "t1", "name": "count_pallets"}}
OTHER = {"toolUse": {"toolUseId": "t2", "name": "list_lanes"}}
CITED = {"title": "stock.pdf", "source": "s", "location": {"web": {"url": "https://x"}}}


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"))


def streamed(manager: ModelManager) -> dict[str, Any]:
    *_, last = manager.stream_model("a", HI)
    return dict(last["result"])


def chunks_of(manager: ModelManager) -> AIMessageChunk:
    message: Any = None
    for chunk in ManagedBedrockChat(agent_name="a", manager=manager).stream("hi"):
        message = chunk if message is None else message + chunk
    return message  # type: ignore[no-any-return]


def replied(*content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(content)}
    metrics = {"latencyMs": 1}
    return {"output": {"message": message}, "stopReason": "end_turn", "metrics": metrics} | more


# -- a tool call that max_tokens cut


@pytest.mark.parametrize("text", ['{"warehouse": "Ham', "{", '{"warehouse": "Hamburg"} and', "nil"])
def test_a_cut_tool_call_is_content_but_cannot_be_called(
    manager: ModelManager, local_aws: LocalAWS, text: str
) -> None:
    cut = ScriptedReply("", [("count_pallets", text, "t1")], stop_reason="max_tokens")
    local_aws.reply(SONNET, cut)

    result = streamed(manager)

    assert result["content"] == [{"toolUse": CALL["toolUse"] | {"input": text}}]
    assert result["tool_uses"] == []
    assert result["stop_reason"] == "max_tokens"
    assert result["usage"]["output_tokens"] > 0


def test_a_whole_tool_call_before_a_cut_one_can_be_called(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    calls = [("count_pallets", {"warehouse": "Hamburg"}, "t1"), ("list_lanes", '{"to": ', "t2")]
    local_aws.reply(SONNET, ScriptedReply("", calls, stop_reason="max_tokens"))

    result = streamed(manager)

    assert [use["toolUseId"] for use in result["tool_uses"]] == ["t1"]
    assert result["tool_uses"][0]["input"] == {"warehouse": "Hamburg"}


@pytest.mark.parametrize("given", ["nil", ["Hamburg"], '{"warehouse": "Ham'])
def test_a_reply_with_an_input_that_is_not_an_object_has_an_invalid_tool_call(
    manager: ModelManager, local_aws: LocalAWS, given: Any
) -> None:
    use = {"toolUse": CALL["toolUse"] | {"input": given}}
    answer_with_json(local_aws, SONNET, replied({"text": "I look."}, use, usage=USAGE))

    message = manager.chat_model("a").invoke("hi")

    assert message.text == "I look."
    assert message.tool_calls == []
    assert [call["id"] for call in message.invalid_tool_calls] == ["t1"]
    assert local_aws.requests() == 1


def test_an_input_that_arrives_as_json_text_is_read(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    use = {"toolUse": CALL["toolUse"] | {"input": '{"warehouse": "Hamburg"}'}}
    answer_with_json(local_aws, SONNET, replied(use, usage=USAGE))

    message = manager.chat_model("a").invoke("hi")

    assert message.tool_calls[0]["args"] == {"warehouse": "Hamburg"}


# -- citations and other blocks


def test_citations_of_a_stream_have_their_text(manager: ModelManager, local_aws: LocalAWS) -> None:
    parts = [delta(0, text="12 "), delta(0, citation=CITED), delta(0, text="pallets"), stop(0)]
    answer_with_events(local_aws, SONNET, BEGIN, *parts, end(), TOLD)

    result = streamed(manager)

    assert result["content"] == [
        {"citationsContent": {"content": [{"text": "12 pallets"}], "citations": [CITED]}}
    ]
    assert result["response"] == "12 pallets"


def test_a_block_of_citations_alone_keeps_them(manager: ModelManager, local_aws: LocalAWS) -> None:
    parts = [delta(0, text="12"), stop(0), delta(1, citation=CITED), delta(1, citation=CITED)]
    answer_with_events(local_aws, SONNET, BEGIN, *parts, stop(1), end(), TOLD)

    result = streamed(manager)

    assert result["content"] == [{"text": "12"}, {"citationsContent": {"citations": [CITED] * 2}}]


def test_a_cited_reply_has_its_text(manager: ModelManager, local_aws: LocalAWS) -> None:
    cited = {"citationsContent": {"content": [{"text": "12"}], "citations": [CITED]}}
    answer_with_json(local_aws, SONNET, replied(cited, {"text": " pallets"}, usage=USAGE))

    assert manager.invoke_model("a", HI)["response"] == "12 pallets"


def test_a_server_side_tools_result_is_content(manager: ModelManager, local_aws: LocalAWS) -> None:
    call = {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use"}
    result = {"toolUseId": "s1", "type": "nova_grounding_result", "status": "success"}
    parts = [
        start(0, toolUse=call),
        delta(0, toolUse={"input": '{"q": "x"}'}),
        stop(0),
        start(1, toolResult=result),
        delta(1, toolResult=[{"text": "fou"}]),
        delta(1, toolResult=[{"text": "nd"}, {"json": {"n": 1}}]),
        stop(1),
        start(2, image={"format": "png"}),
        delta(2, image={"source": {"bytes": "AAAA"}}),
        delta(2, image={"source": {"bytes": "AAAA"}}),
        stop(2),
        delta(3, reasoningContent={"redactedContent": "AAAA"}),
        stop(3),
    ]
    answer_with_events(local_aws, SONNET, BEGIN, *parts, end(), TOLD)

    content = streamed(manager)["content"]

    assert content == [
        {"toolUse": {**call, "input": {"q": "x"}}},
        {"toolResult": {**result, "content": [{"text": "found"}, {"json": {"n": 1}}]}},
        {"image": {"format": "png", "source": {"bytes": bytes(6)}}},
        {"reasoningContent": {"redactedContent": bytes(3)}},
    ]


def test_blocks_that_langchain_can_not_read_cost_no_answer(
    manager: ModelManager, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    audio = {"audio": {"format": "mp3", "source": {"bytes": "AAAA"}}}
    answer_with_json(
        local_aws, SONNET, replied(audio, {"hologram": {}}, {"text": "12"}, usage=USAGE)
    )
    parts = [delta(0, text="12"), stop(0), start(1, image={"format": "png"}), start(2, hologram={})]
    answer_with_events(
        local_aws, SONNET, BEGIN, *parts, delta(2, hologram={}), stop(2), end(), TOLD
    )

    llm = manager.chat_model("a")

    assert llm.invoke("hi").content == "12"
    assert chunks_of(manager).text == "12"
    assert local_aws.requests() == 2
    assert "a block 'audio' was left out" in caplog.text
    assert "the start of a block 'hologram' was left out" in caplog.text


# -- blocks that share an index


def test_two_tool_calls_with_one_index_are_two(manager: ModelManager, local_aws: LocalAWS) -> None:
    parts = [
        delta(0, text="I look."),
        start(0, **CALL),
        delta(0, toolUse={"input": '{"warehouse": '}),
        delta(0, toolUse={"input": '"Hamburg"}'}),
        stop(0),
        start(0, **OTHER),
        delta(0, toolUse={"input": "{}"}),
        stop(0),
    ]
    for _ in range(2):
        answer_with_events(local_aws, SONNET, BEGIN, *parts, end("tool_use"), TOLD)

    result, message = streamed(manager), chunks_of(manager)

    assert [(u["toolUseId"], u["input"]) for u in result["tool_uses"]] == [
        ("t1", {"warehouse": "Hamburg"}),
        ("t2", {}),
    ]
    assert result["response"] == message.text == "I look."
    assert [(c["id"], c["args"]) for c in message.tool_calls] == [
        ("t1", {"warehouse": "Hamburg"}),
        ("t2", {}),
    ]


def test_reasoning_and_text_with_one_index_are_two_blocks(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    parts = [delta(0, reasoningContent={"text": "hm"}), delta(0, text="12"), delta(0, text="!")]
    for _ in range(2):
        answer_with_events(local_aws, SONNET, BEGIN, *parts, stop(0), end(), TOLD)

    result, message = streamed(manager), chunks_of(manager)

    assert result["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"text": "12!"},
    ]
    assert message.text == "12!"


def test_input_of_a_tool_call_that_did_not_start_is_left_out(
    manager: ModelManager, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    lost = delta(1, toolUse={"input": '{"warehouse": "Hamburg"}'})
    parts = [delta(0, text="I look."), stop(0), lost, lost, stop(1)]
    for _ in range(2):
        answer_with_events(local_aws, SONNET, BEGIN, *parts, end("tool_use"), TOLD)

    result, message = streamed(manager), chunks_of(manager)

    assert result["content"] == [{"text": "I look."}]
    assert (message.text, message.tool_calls) == ("I look.", [])
    assert "the input of a tool call that did not start was left out" in caplog.text
    assert "Hamburg" not in caplog.text


# -- replies without what every reply has


@pytest.mark.parametrize(
    "output", [{}, {"output": {}}, {"output": {"message": None}}, {"output": {"message": {}}}]
)
def test_an_empty_output_is_an_empty_answer_after_one_request(
    manager: ModelManager, local_aws: LocalAWS, output: dict[str, Any]
) -> None:
    reply = {"stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}, **output}
    for _ in range(2):
        answer_with_json(local_aws, SONNET, reply)

    message, result = manager.chat_model("a").invoke("hi"), manager.invoke_model("a", HI)

    assert message.content in ("", [])
    assert message.usage_metadata
    assert message.usage_metadata["total_tokens"] == 12
    assert message.response_metadata["model_manager"]["attempts"][0]["request_id"]
    assert (result["response"], result["content"]) == ("", [])
    assert local_aws.requests() == 2
    assert manager.get_usage_summary()["total_tokens"] == 24


def test_a_reply_that_is_not_from_converse_is_still_a_failure(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: [], retries: 0}}"))
    answer_with_json(local_aws, SONNET, {"output": {}})

    with pytest.raises(BedrockAPIError, match="one and only one member"):
        manager.invoke_model("a", HI)
