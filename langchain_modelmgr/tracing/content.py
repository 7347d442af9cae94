"""Prompts and answers for spans, in the shapes of OpenTelemetry's GenAI conventions."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.tracing import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ON_SPANS = frozenset({"true", "span_only", "span_and_event"})
"""Values of the variable that ask for content on spans. The first is of older instrumentations."""

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""The convention's finish reason for each of Bedrock's stop reasons."""


def is_captured() -> bool:
    """Return whether the standard environment variable asks for content on spans."""
    return os.environ.get(names.CAPTURE_CONTENT, "").strip().lower() in _ON_SPANS


def of_request(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes with a Converse request's system prompt and messages."""
    found = {names.INPUT_MESSAGES: _json([_message(m) for m in params.get("messages") or ()])}
    if system := params.get("system"):
        found[names.SYSTEM_INSTRUCTIONS] = _json(_parts(system))
    return found


def of_answer(content: Iterable[Mapping[str, Any]], stop_reason: str | None) -> dict[str, str]:
    """Return the attribute with an answer.

    Args:
        content: The answer's blocks, in Converse's shapes.
        stop_reason: Bedrock's stop reason; None if the answer broke.
    """
    reason = "error" if stop_reason is None else _FINISH_REASONS.get(stop_reason, stop_reason)
    answer = {"role": "assistant", "parts": _parts(content), "finish_reason": reason}
    return {names.OUTPUT_MESSAGES: _json([answer])}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ()
    is_tool = bool(content) and all("toolResult" in block for block in content)
    return {"role": "tool" if is_tool else message.get("role"), "parts": _parts(content)}


def _parts(content: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a message; those without text have their kind and format only."""
    return [_part(block) for block in content if "cachePoint" not in block]


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if "text" in block:
        return {"type": "text", "content": block["text"]}
    if "toolUse" in block:
        use = block["toolUse"]
        return {
            "type": "tool_call",
            "id": use.get("toolUseId"),
            "name": use.get("name"),
            "arguments": use.get("input"),
        }
    if "toolResult" in block:
        result = block["toolResult"]
        response = [each.get("json", each.get("text")) for each in result.get("content") or ()]
        return {
            "type": "tool_call_response",
            "id": result.get("toolUseId"),
            "response": response[0] if len(response) == 1 else response,
        }
    if "reasoningContent" in block:
        text = (block["reasoningContent"].get("reasoningText") or {}).get("text", "")
        return {"type": "reasoning", "content": text}
    kind = next(iter(block), "unknown")
    value = block.get(kind)
    form = value.get("format") if isinstance(value, dict) else None
    return {"type": kind, **({"format": form} if form else {})}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
