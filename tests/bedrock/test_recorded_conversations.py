"""Recorded conversations go on at every family of models, and come back to their own whole."""

from __future__ import annotations

import base64
import json
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_modelmgr import ModelManager
from langchain_modelmgr.local.state import Replay
from tests.support import ROOT

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

RECORDINGS = ROOT.parent / "shared" / "recordings" / "converse.jsonl"
_LINES = RECORDINGS.read_text("utf-8").splitlines() if RECORDINGS.is_file() else []
_ALL = [json.loads(line) for line in _LINES]

pytestmark = [
    pytest.mark.skipif(not _ALL, reason="the recordings are not at hand"),
    pytest.mark.filterwarnings("ignore"),
]

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama4-maverick-17b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
OTHERS = (CLAUDE, NOVA, LLAMA, GPT_OSS)


def _bytes(value: Any) -> Any:
    """Return recorded JSON with the bytes that boto3 takes."""
    if isinstance(value, dict):
        return {
            k: base64.b64decode(v) if k in ("bytes", "redactedContent") else _bytes(v)
            for k, v in value.items()
        }
    return [_bytes(item) for item in value] if isinstance(value, list) else value


def _content(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a recorded reply's content blocks, put together without the product's code."""
    body = base64.b64decode(record["body_base64"])
    if record["operation"] == "Converse":
        content: list[dict[str, Any]] = json.loads(body)["output"]["message"]["content"]
        return content
    buffer: Any = EventStreamBuffer()
    buffer.add_data(body)
    blocks: dict[int, dict[str, Any]] = {}
    for event in buffer:
        payload = json.loads(event.payload)
        if "contentBlockIndex" in payload:
            block = blocks.setdefault(payload["contentBlockIndex"], {})
            _extend(block, payload.get("start") or {})
            _extend(block, payload.get("delta") or {})
    return [_whole(blocks[index]) for index in sorted(blocks)]


def _extend(block: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, str):
            block[key] = block.get(key, "") + value
        elif key == "citation":
            block.setdefault("citations", []).append(value)
        else:
            _extend(block.setdefault(key, {}), value)


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    if "citations" in block:
        return {
            "citationsContent": {
                "content": [{"text": block["text"]}],
                "citations": block["citations"],
            }
        }
    if "toolUse" in block:
        return {"toolUse": {**block["toolUse"], "input": json.loads(block["toolUse"]["input"])}}
    if "reasoningContent" in block:
        return {"reasoningContent": {"reasoningText": block["reasoningContent"]}}
    return block


_ANSWERED = [
    pytest.param(r, id=f"{i}-{r['operation']}-{r['model_id']}")
    for i, r in enumerate(_ALL)
    if r["status"] == 200
]
_ASKED = [
    pytest.param(r, id=f"{i}-{r['operation']}-{r['model_id']}")
    for i, r in enumerate(_ALL)
    if "." in r["model_id"]  # two were sent to a model id that does not exist
]


def _manager(configured: Configure, first: str) -> ModelManager:
    """Return a manager of agents that ask ``first``, each other model, or one after the other."""
    agents = [f"own: {{model: '{first}', fallbacks: []}}"]
    for i, other in enumerate(OTHERS):
        agents.append(f"only{i}: {{model: '{other}', fallbacks: []}}")
        if other != first:
            agents.append(f"then{i}: {{model: '{first}', fallbacks: ['{other}']}}")
    return ModelManager(configured("\n".join(agents)), sinks=[])


def _replay(aws: LocalAWS, record: dict[str, Any], operation: str | None = None) -> None:
    replay = Replay(200, record["headers"], base64.b64decode(record["body_base64"]))
    aws._state.add_replay(operation or record["operation"], record["model_id"], replay)


def _keywords(request: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {
        "system_prompt": "\n".join(block["text"] for block in request.get("system", ())),
        "tools": request.get("toolConfig", {}).get("tools"),
        "additional_model_request_fields": request.get("additionalModelRequestFields"),
        "guardrail_config": request.get("guardrailConfig"),
    }
    inference = request.get("inferenceConfig") or {}
    for name, here in (
        ("maxTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("stopSequences", "stop_sequences"),
    ):
        given[here] = inference.get(name)
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize("record", _ASKED)
def test_a_recorded_request_is_taken_by_the_models_of_other_families(
    configured: Configure, local_aws: LocalAWS, record: dict[str, Any]
) -> None:
    first, request = record["model_id"], record["request"]
    manager = _manager(configured, first)
    roles = [role for role, _ in groupby(m["role"] for m in request["messages"])]

    for i, target in enumerate(OTHERS):
        local_aws.fail(first, "ThrottlingException")
        result = manager.invoke_model(f"then{i}", _bytes(request["messages"]), **_keywords(request))

        assert result["model_id"] == target
        sent = local_aws.calls(target)[-1].body["messages"]
        assert [message["role"] for message in sent] == roles


def _sendable(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a reply's content without what no request may have."""
    return [
        {"toolUse": {k: v for k, v in block["toolUse"].items() if k != "type"}}
        if "toolUse" in block
        else block
        for block in content
        if block.get("text", "x").strip()
    ]


_INLINE_REASONING = re.compile(r"\s*<thinking>.*?</thinking>", re.DOTALL)


def _without_inline_reasoning(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return content without what langchain-aws reads as reasoning in Nova's texts."""
    texts = [_INLINE_REASONING.sub("", block.get("text", "x")) for block in content]
    return [
        {"text": text} if "text" in block else block
        for block, text in zip(content, texts, strict=True)
        if text.strip()
    ]


@pytest.mark.parametrize("record", _ANSWERED)
def test_a_recorded_reply_in_bedrocks_shapes_is_returned_whole(
    configured: Configure, local_aws: LocalAWS, record: dict[str, Any]
) -> None:
    first = record["model_id"]
    manager = _manager(configured, first)
    messages: list[Any] = [{"role": "user", "content": [{"text": "x"}]}]
    _replay(local_aws, record)
    if record["operation"] == "Converse":
        result = manager.invoke_model("own", messages)
    else:
        *_, last = manager.stream_model("own", messages)
        result = last["result"]
    assert _bytes(_content(record)) == result["content"]

    history = [*messages, {"role": "assistant", "content": result["content"]}, _next(result)]
    tools = _tools_of(result["content"])
    for i in range(len(OTHERS)):
        assert manager.invoke_model(f"only{i}", history, tools=tools)["success"]
    manager.invoke_model("own", history, tools=tools)

    came_back = local_aws.calls(first)[-1].body["messages"][1]["content"]
    assert came_back == _sendable(_content(record))


def _next(result: Any) -> dict[str, Any]:
    results = [
        {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "7"}]}}
        for use in result["tool_uses"]
    ]
    question: list[Any] = [*results] or [{"text": "and?"}]
    return {"role": "user", "content": question}


def _tools_of(content: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    schema: dict[str, Any] = {"json": {"type": "object", "properties": {}}}
    names = sorted({block["toolUse"]["name"] for block in content if "toolUse" in block})
    tools: list[Any] = [{"toolSpec": {"name": n, "inputSchema": schema}} for n in names]
    return tools or None


@pytest.mark.parametrize("record", _ANSWERED)
def test_a_recorded_reply_in_langchains_shapes_is_returned_whole(
    configured: Configure, local_aws: LocalAWS, record: dict[str, Any]
) -> None:
    first = record["model_id"]
    manager = _manager(configured, first)
    llm = manager.chat_model("own")
    _replay(local_aws, record)
    if record["operation"] == "Converse":
        reply: Any = llm.invoke("x")
    else:
        reply = None
        for chunk in llm.stream("x"):
            reply = chunk if reply is None else reply + chunk

    results: list[Any] = [ToolMessage("7", tool_call_id=call["id"]) for call in reply.tool_calls]
    history = [HumanMessage("x"), reply, *(results or [HumanMessage("and?")])]
    tools = _tools_of(_content(record)) or []
    for i in range(len(OTHERS)):
        other = manager.chat_model(f"only{i}")
        (other.bind_tools(tools) if tools else other).invoke(history)
    (llm.bind_tools(tools) if tools else llm).invoke(history)

    came_back = local_aws.calls(first)[-1].body["messages"][1]["content"]
    recorded = _sendable(_content(record))
    if record["operation"] == "Converse" and first.startswith("amazon.nova"):
        recorded = _without_inline_reasoning(recorded)
    assert came_back == recorded
