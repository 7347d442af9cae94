"""Prompts and answers in the shapes of OpenTelemetry's convention."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_modelmgr.tracing.content import of_answer, of_request


def parts(*content: dict[str, Any]) -> Any:
    message = {"role": "user", "content": list(content)}
    (found,) = json.loads(of_request({"messages": [message]})["gen_ai.input.messages"])
    return found["parts"]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"text": "Grüße"}, {"type": "text", "content": "Grüße"}),
        ({"image": {"format": "png", "source": {"bytes": b"secret"}}},
         {"type": "image", "format": "png"}),
        ({"document": {"format": "pdf", "name": "n", "source": {"bytes": b"secret"}}},
         {"type": "document", "format": "pdf"}),
        ({"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
         {"type": "reasoning", "content": "Hm."}),
        ({"reasoningContent": {"redactedContent": b"x"}}, {"type": "reasoning", "content": ""}),
        ({"toolUse": {"toolUseId": "1", "name": "count", "input": {"where": "Hamburg"}}},
         {"type": "tool_call", "id": "1", "name": "count", "arguments": {"where": "Hamburg"}}),
        ({"toolResult": {"toolUseId": "1", "content": [{"json": {"count": 3}}]}},
         {"type": "tool_call_response", "id": "1", "response": {"count": 3}}),
        ({"toolResult": {"toolUseId": "1", "content": [{"text": "3"}, {"text": "4"}]}},
         {"type": "tool_call_response", "id": "1", "response": ["3", "4"]}),
        ({"somethingNew": "x"}, {"type": "somethingNew"}),
        ({}, {"type": "unknown"}),
    ],
)  # fmt: skip
def test_each_kind_of_block_is_a_part(block: dict[str, Any], part: dict[str, Any]) -> None:
    assert parts(block) == [part]


def test_cache_points_are_left_out() -> None:
    assert parts({"text": "a"}, {"cachePoint": {"type": "default"}}) == [
        {"type": "text", "content": "a"}
    ]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_call"),
        ("guardrail_intervened", "content_filter"),
        ("of_tomorrow", "of_tomorrow"),
        (None, "error"),
    ],
)
def test_a_stop_reason_is_the_conventions_finish_reason(
    stop_reason: str | None, finish_reason: str
) -> None:
    (answer,) = json.loads(of_answer([], stop_reason)["gen_ai.output.messages"])

    assert answer == {"role": "assistant", "parts": [], "finish_reason": finish_reason}
