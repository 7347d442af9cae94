"""Requests to the scripted model, and its replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class ScriptedRequest:
    """A request to the scripted model.

    Attributes:
        operation: ``Converse`` or ``ConverseStream``.
        model_id: The model id of the URL, decoded.
        body: The request's JSON.
    """

    operation: str
    model_id: str
    body: Mapping[str, Any]

    @cached_property
    def prompt(self) -> str:
        """The text of the last user message that has any."""
        for message in reversed(self.body.get("messages", [])):
            if message["role"] == "user":
                text = " ".join(block["text"] for block in message["content"] if "text" in block)
                if text:
                    return text
        return ""

    @cached_property
    def tool_results(self) -> list[str]:
        """The texts of the tool results since the last plain user turn, in order."""
        results: list[str] = []
        for message in self.body.get("messages", []):
            if message["role"] != "user":
                continue
            found = [b["toolResult"] for b in message["content"] if "toolResult" in b]
            results = results + [_text_of(r) for r in found] if found else []
        return results

    @cached_property
    def tools(self) -> list[Mapping[str, Any]]:
        """The specifications of the tools."""
        tools = self.body.get("toolConfig", {}).get("tools", [])
        return [tool["toolSpec"] for tool in tools if "toolSpec" in tool]


def _text_of(result: Mapping[str, Any]) -> str:
    parts = []
    for block in result.get("content", []):
        if "text" in block:
            parts.append(block["text"])
        elif "json" in block:
            parts.append(json.dumps(block["json"], ensure_ascii=False))
        else:
            parts.extend(f"[{kind}]" for kind in block)
    return "\n".join(parts)


ScriptedToolCall = tuple[str, Any] | tuple[str, Any, str | None]
"""A tool's name, its input and, if it matters, the tool-use id."""


@dataclass(frozen=True)
class ScriptedReply:
    """A scripted reply of the model.

    Attributes:
        text: The answer's text.
        tool_calls: Tools to call: name, input and, if it matters, the tool-use id. An input
            that is text is sent as it is: JSON that broke off, or is none.
        stop_reason: Bedrock's stop reason; None: what fits.
        usage: Bedrock's ``TokenUsage``; None: counted.
        reasoning: Reasoning that comes before the text.
        additional_fields: ``additionalModelResponseFields``, of any shape.
        blocks: Content blocks in Bedrock's shapes that come before the text: redacted reasoning,
            citations, images, server tools' calls and results. Bytes are given in base64.
    """

    text: str = ""
    tool_calls: Sequence[ScriptedToolCall] = ()
    stop_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    reasoning: str = ""
    additional_fields: Any = None
    blocks: Sequence[Mapping[str, Any]] = ()


@dataclass
class Answer:
    """A whole answer, with Bedrock's stop reason and blocks.

    Attributes:
        content: Converse content blocks.
        stop_reason: Bedrock's stop reason.
        usage: Bedrock's ``TokenUsage``.
        additional_fields: ``additionalModelResponseFields``, or None.
        echo: What the request chose and the reply names again: tier, latency.
    """

    content: list[dict[str, Any]]
    stop_reason: str
    usage: dict[str, Any]
    additional_fields: Any = None
    echo: dict[str, Any] = field(default_factory=dict)


Script = Callable[[ScriptedRequest], ScriptedReply | None]
"""A user's script; it returns None to get the model's default answer."""
