"""Finds content of LangChain messages that langchain-aws drops when it converts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

_REASONING = frozenset({"reasoning", "reasoning_content", "thinking", "redacted_thinking"})
_CONVERTED = _REASONING | {
    "document",
    "file",
    "guard_content",
    "image",
    "image_url",
    "invalid_tool_call",
    "json",
    "search_result",
    "server_tool_result",
    "server_tool_use",
    "text",
    "tool_call",
    "tool_call_chunk",
    "tool_result",
    "tool_use",
    "video",
    "video_url",
}
"""Types of assistant blocks that langchain-aws converts; it drops others (read in 1.9.1)."""


@dataclass(slots=True)
class Inventory:
    """Counts of content that may be dropped: reasoning, citations, tool results, foreign blocks."""

    reasoning: int = 0
    citations: int = 0
    tool_results: int = 0
    foreign: int = 0


def losses(messages: Sequence[BaseMessage], formed: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a description of each kind of content that the formed Converse messages lack."""
    given = _given(messages)
    if given == Inventory():
        return
    sent = _sent(formed)
    if sent.reasoning < given.reasoning:
        yield "reasoning of earlier turns left out"
    if sent.citations < given.citations:
        yield "citations sent as text"
    if given.tool_results and not sent.tool_results:
        yield "tool calls and results sent as text: no tools are bound"
    if given.foreign:
        yield "content blocks of another provider left out"


def _given(messages: Sequence[BaseMessage]) -> Inventory:
    given = Inventory()
    for message in messages:
        if isinstance(message, ToolMessage):
            given.tool_results += 1
        elif isinstance(message, AIMessage) and not isinstance(message.content, str):
            for block in message.content:
                if isinstance(block, dict):
                    _count(block, given)
    return given


def _count(block: dict[str, Any], given: Inventory) -> None:
    kind = block.get("type")
    if kind == "non_standard" and isinstance(value := block.get("value"), dict):
        block, kind = value, value.get("type")  # what langchain-core wrapped
    if kind in _REASONING or "reasoningContent" in block:
        given.reasoning += 1
    elif kind == "text":
        given.citations += bool(block.get("citations") or block.get("annotations"))
    elif kind is None:
        given.citations += "citationsContent" in block
    elif kind not in _CONVERTED:
        given.foreign += 1


def _sent(formed: Iterable[Mapping[str, Any]]) -> Inventory:
    sent = Inventory()
    for message in formed:
        for block in message["content"]:
            sent.reasoning += "reasoningContent" in block
            sent.citations += "citationsContent" in block
            sent.tool_results += "toolResult" in block
    return sent
