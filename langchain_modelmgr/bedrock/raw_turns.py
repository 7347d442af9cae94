"""Prepares a conversation in Bedrock's own shapes to be sent back to Bedrock.

Bedrock rejects some replies of its models when they are sent back unchanged. langchain-aws handles
this for LangChain messages, this module for conversations in Bedrock's shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_SERVER_TOOL = "server_tool_use"
"""The only ``type`` of a ``toolUse`` that requests accept (botocore 1.44.5). Claude's replies also
use ``tool_use``: recorded with Sonnet 5."""


def resendable(
    messages: Iterable[Mapping[str, Any]], note: Callable[[str], None]
) -> list[Mapping[str, Any]]:
    """Return the messages with alternating roles and without blocks that Bedrock rejects.

    Args:
        messages: Converse messages; not modified.
        note: Called with a description of each kind of change.
    """
    turns: list[Mapping[str, Any]] = []
    for message in messages:
        turn = _turn(message, note)
        if turns and turns[-1]["role"] == turn["role"]:
            note("consecutive turns of one role merged")
            turn = {**turn, "content": [*turns.pop()["content"], *turn["content"]]}
        turns.append(turn)
    return turns


def _turn(message: Mapping[str, Any], note: Callable[[str], None]) -> Mapping[str, Any]:
    content = message["content"]
    kept = [_block(block) for block in content if not _is_blank(block)]
    if len(kept) < len(content) and (kept or message["role"] == "assistant"):
        note("blank texts left out")
        return {**message, "content": kept}
    typed = any("toolUse" in block and "type" in block["toolUse"] for block in content)
    return {**message, "content": [_block(block) for block in content]} if typed else message


def _is_blank(block: Mapping[str, Any]) -> bool:
    text = block.get("text")
    return isinstance(text, str) and not text.strip()


def _block(block: Mapping[str, Any]) -> Mapping[str, Any]:
    use = block.get("toolUse")
    if use is None or use.get("type", _SERVER_TOOL) == _SERVER_TOOL:
        return block
    return {**block, "toolUse": {key: value for key, value in use.items() if key != "type"}}
