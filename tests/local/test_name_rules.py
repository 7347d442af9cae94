"""The local Bedrock refuses the names and schemas that Bedrock and its models refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from langchain_modelmgr.local import ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
MISTRAL = "mistral.mistral-large-2407-v1:0"
QWEN = "qwen.qwen3-32b-v1:0"
OBJECT: dict[str, Any] = {"type": "object", "properties": {}}
UNION = {**OBJECT, "anyOf": [OBJECT]}


def tools(schema: dict[str, Any], name: str = "look") -> dict[str, Any]:
    return {"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": schema}}}]}


def documents(*names: str) -> list[dict[str, Any]]:
    return [{"document": {"format": "pdf", "name": n, "source": {"bytes": b"x"}}} for n in names]


def called(call_id: str) -> list[dict[str, Any]]:
    use = {"toolUse": {"toolUseId": call_id, "name": "look", "input": {}}}
    result = {"toolResult": {"toolUseId": call_id, "content": [{"text": "x"}]}}
    return [
        {"role": "user", "content": [{"text": "x"}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]


ASKED = [{"role": "user", "content": [{"text": "x"}]}]


def converse(local_aws: LocalAWS, model_id: str, **request: Any) -> Any:
    client = local_aws.client("bedrock-runtime")
    return client.converse(modelId=model_id, **{"messages": ASKED, **request})


@pytest.mark.parametrize(
    ("model_id", "request_", "words"),
    [
        (QWEN, {"toolConfig": tools(OBJECT, "files.read")}, "pattern"),
        (QWEN, {"toolConfig": tools(OBJECT, "x" * 65)}, "at most 64"),
        (
            QWEN,
            {"toolConfig": {"tools": tools(OBJECT)["tools"] * 2}},
            "tool look is already defined at toolConfig.tools.0",
        ),
        (QWEN, {"toolConfig": tools({})}, "must be one of the following: object"),
        (QWEN, {"toolConfig": tools({"anyOf": [OBJECT]})}, "must be one of the following: object"),
        (CLAUDE, {"toolConfig": tools(UNION)}, "does not support oneOf, allOf, or anyOf"),
        (CLAUDE, {"toolConfig": tools({**OBJECT, "properties": {"a b": {}}})}, "Property keys"),
        (NOVA, {"toolConfig": tools({**OBJECT, "$defs": {}})}, r"extraneous key \[\$defs\]"),
        (CLAUDE, {"toolConfig": tools(OBJECT), "messages": called("a:0")}, "tool_use.id"),
        (MISTRAL, {"toolConfig": tools(OBJECT), "messages": called("a")}, "a length of 9"),
        (QWEN, {"toolConfig": tools(OBJECT), "messages": called("a|b")}, "pattern"),
        *(
            (QWEN, {"messages": [{"role": "user", "content": documents(*names)}]}, words)
            for names, words in [
                (("a.pdf",), "document file name"),
                (("a  b",), "document file name"),
                (("é",), "document file name"),
                (("a\u3000b",), "document file name"),
                (("a", "a"), "can't contain duplicate document names"),
                (("a", "A"), "can't contain duplicate document names"),
            ]
        ),
    ],
)
def test_requests_that_bedrock_refuses_are_refused(
    local_aws: LocalAWS, model_id: str, request_: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        converse(local_aws, model_id, **request_)

    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("model_id", "request_"),
    [
        (QWEN, {"toolConfig": tools(UNION, "look-up")}),
        (CLAUDE, {"toolConfig": tools({**OBJECT, "$defs": {}, "title": "T"})}),
        (MISTRAL, {"toolConfig": tools(OBJECT), "messages": called("aB3dE6gH9")}),
        (QWEN, {"toolConfig": tools(OBJECT), "messages": called("a.b:0")}),
        (QWEN, {"messages": [{"role": "user", "content": documents("a (1) [x]-y_z", "b")}]}),
    ],
)
def test_requests_that_bedrock_accepts_are_accepted(
    local_aws: LocalAWS, model_id: str, request_: dict[str, Any]
) -> None:
    assert converse(local_aws, model_id, **request_)["stopReason"]


def test_nova_fails_when_it_calls_a_tool_with_a_hyphen(local_aws: LocalAWS) -> None:
    local_aws.reply(NOVA, ScriptedReply(tool_calls=[("look-up", {})]))

    with pytest.raises(ClientError, match="invalid sequence as part of ToolUse") as caught:
        converse(local_aws, NOVA, toolConfig=tools(OBJECT, "look-up"))

    assert caught.value.response["Error"]["Code"] == "ModelErrorException"
