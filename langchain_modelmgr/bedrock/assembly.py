"""Assembles a stream's events into the content blocks that Converse would have returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.replies import parsed_input

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ContentAssembler:
    """Builds content blocks from ConverseStream events, in Bedrock's shapes.

    Every block must have an index of its own, which ``replies.StreamReader`` ensures.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Add one event; events without content are ignored."""
        if "contentBlockStart" in event:
            started = event["contentBlockStart"]
            self._blocks[started["contentBlockIndex"]] = _Block(started.get("start", {}))
        elif "contentBlockDelta" in event:
            changed = event["contentBlockDelta"]
            block = self._blocks.setdefault(changed["contentBlockIndex"], _Block({}))
            block.add(changed["delta"])

    def content(self) -> list[dict[str, Any]]:
        """Return the blocks received so far, in order.

        A tool's input that ``max_tokens`` cut off is not valid JSON and is returned as text.
        """
        blocks = (block.whole() for _, block in sorted(self._blocks.items()))
        return [block for block in blocks if block]


class _Block:
    """One content block, as far as it has been received.

    Args:
        start: The ``start`` of its contentBlockStart; empty if there was no such event.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._start = start
        self._text = ""
        self._tool_input = ""
        self._citations: list[Any] = []
        self._reasoning: dict[str, Any] = {}
        self._result: list[dict[str, Any]] = []
        self._image: dict[str, Any] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        if "text" in delta:
            self._text += delta["text"]
        elif "toolUse" in delta:
            self._tool_input += delta["toolUse"].get("input", "")
        elif "reasoningContent" in delta:
            self._reason(delta["reasoningContent"])
        elif "citation" in delta:
            self._citations.append(delta["citation"])
        elif "toolResult" in delta:
            self._add_result(delta["toolResult"])
        elif "image" in delta:
            self._add_image(delta["image"])

    def whole(self) -> dict[str, Any] | None:
        """Return the block in Converse's shape; None if nothing was received."""
        if "toolUse" in self._start:
            return {"toolUse": {**self._start["toolUse"], "input": parsed_input(self._tool_input)}}
        if "toolResult" in self._start:
            return {"toolResult": {**self._start["toolResult"], "content": self._result}}
        if "image" in self._start or self._image:
            return {"image": {**self._start.get("image", {}), **self._image}}
        if self._citations:
            written = {"content": [{"text": self._text}]} if self._text else {}
            return {"citationsContent": {**written, "citations": self._citations}}
        if self._reasoning:
            return {"reasoningContent": self._reasoning}
        return {"text": self._text} if self._text else None

    def _reason(self, delta: Mapping[str, Any]) -> None:
        if "redactedContent" in delta:
            kept = self._reasoning.get("redactedContent", b"")
            self._reasoning["redactedContent"] = kept + delta["redactedContent"]
            return
        text = self._reasoning.setdefault("reasoningText", {"text": ""})
        text["text"] += delta.get("text", "")
        if "signature" in delta:
            text["signature"] = delta["signature"]

    def _add_result(self, parts: Sequence[Mapping[str, Any]]) -> None:
        for part in parts:
            if "text" in part and self._result and "text" in self._result[-1]:
                self._result[-1]["text"] += part["text"]
            else:
                self._result.append(dict(part))

    def _add_image(self, delta: Mapping[str, Any]) -> None:
        more = delta.get("source", {}).get("bytes")
        if more is None:
            self._image |= delta
            return
        kept = self._image.get("source", {}).get("bytes", b"")
        self._image["source"] = {"bytes": kept + more}
