"""Puts a stream's events together into the content blocks that Converse would have answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ContentAssembler:
    """Takes ConverseStream's events, one by one, in Bedrock's shapes."""

    def __init__(self) -> None:
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event; those without content are passed over."""
        if "contentBlockStart" in event:
            started = event["contentBlockStart"]
            use = started["start"].get("toolUse")
            if use:
                self._blocks[started["contentBlockIndex"]] = {"toolUse": dict(use)}
        elif "contentBlockDelta" in event:
            changed = event["contentBlockDelta"]
            self._add(changed["contentBlockIndex"], changed["delta"])

    def content(self) -> list[dict[str, Any]]:
        """Return the blocks so far, in their order; a tool's input is parsed."""
        for index, text in self._inputs.items():
            self._blocks[index]["toolUse"]["input"] = json.loads(text or "{}")
        return [block for _, block in sorted(self._blocks.items())]

    def _add(self, index: int, delta: Mapping[str, Any]) -> None:
        if "toolUse" in delta:
            self._inputs[index] = self._inputs.get(index, "") + delta["toolUse"].get("input", "")
            return
        block = self._blocks.setdefault(index, {})
        if "text" in delta:
            block["text"] = block.get("text", "") + delta["text"]
        elif "reasoningContent" in delta:
            self._reason(block, delta["reasoningContent"])

    @staticmethod
    def _reason(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
        reasoned = block.setdefault("reasoningContent", {})
        if "redactedContent" in delta:
            kept = reasoned.get("redactedContent", b"")
            reasoned["redactedContent"] = kept + delta["redactedContent"]
            return
        text = reasoned.setdefault("reasoningText", {"text": ""})
        text["text"] += delta.get("text", "")
        if "signature" in delta:
            text["signature"] = delta["signature"]
