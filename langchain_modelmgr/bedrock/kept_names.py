"""Protects keys in the caller's data from langchain-aws, which renames keys of content blocks."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from langchain_core.messages import BaseMessage

_DATA = frozenset({"json", "input", "args"})
"""Keys of content blocks that hold the caller's own data: results and arguments of tools."""

_INNER = frozenset(
    {
        "content",
        "value",
        "toolUse",
        "tool_use",
        "toolResult",
        "tool_result",
        "serverToolUse",
        "server_tool_use",
        "serverToolResult",
        "server_tool_result",
    }
)
"""Keys of content blocks that hold further blocks."""

_CALLS = frozenset({"tool_use", "tool_call"})

_UNDERSCORE = "\ue05f"
"""Replaces underscores in names while langchain-aws converts them; a private-use character.

langchain-aws 1.9.1 makes each key of a block camelCase, at its underscores and nowhere else.
"""


_CAPITALS = {ord(letter): 0xE000 + ord(letter) for letter in string.ascii_uppercase}
_CAPITALS_BACK = {kept: letter for letter, kept in _CAPITALS.items()}
"""Replacements of capitals in the JSON of server tools' results, which langchain-aws converts to
snake_case in a reply."""

_RESULTS = frozenset({"json", "tool_result", "server_tool_result"})


def with_kept_names(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return messages in which the caller's names are protected from langchain-aws.

    ``with_own_names`` restores the names in the request that langchain-aws forms.

    Args:
        messages: LangChain messages; not modified.

    Returns:
        The same list if no message holds a name that needs protection.
    """
    changed: list[BaseMessage] | None = None
    for position, message in enumerate(messages):
        if isinstance(message.content, str):
            continue
        content = _blocks(message.content, _overwritten(message))
        if content is not message.content:
            changed = list(messages) if changed is None else changed
            changed[position] = message.model_copy(update={"content": content})
    return messages if changed is None else changed


def with_own_names(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return Converse messages with the caller's original names restored."""
    return [_own(message) for message in messages]


def with_kept_results(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a reply's blocks or deltas with the names in JSON tool results protected.

    ``restore_results`` restores the names in the message that langchain-aws forms.
    """
    if not any("toolResult" in block for block in blocks):
        return blocks
    return [
        {"toolResult": _translated(block["toolResult"], _CAPITALS)}
        if "toolResult" in block
        else block
        for block in blocks
    ]


def restore_results(message: BaseMessage) -> None:
    """Restore the names in JSON tool results of a message, in place."""
    if isinstance(message.content, str):
        return
    for position, block in enumerate(message.content):
        if isinstance(block, dict) and block.get("type") in _RESULTS:
            message.content[position] = _translated(block, _CAPITALS_BACK)


def _translated(block: Any, table: Mapping[int, int]) -> Any:
    """Return a block of a tool result with the keys of its JSON translated."""
    if isinstance(block, list):
        return [_translated(part, table) for part in block]
    if not isinstance(block, dict):
        return block
    return {
        key: _with_keys(value, table)
        if key == "json"
        else _translated(value, table)
        if key == "content"
        else value
        for key, value in block.items()
    }


def _with_keys(value: Any, table: Mapping[int, int]) -> Any:
    if isinstance(value, dict):
        return {key.translate(table): _with_keys(inner, table) for key, inner in value.items()}
    return [_with_keys(inner, table) for inner in value] if isinstance(value, list) else value


def _overwritten(message: BaseMessage) -> Collection[Any]:
    """Return the ids of tool calls; langchain-aws reads their arguments from ``tool_calls``."""
    return [c["id"] for c in message.tool_calls] if isinstance(message, AIMessage) else ()


def _blocks(blocks: Sequence[Any], overwritten: Collection[Any] = ()) -> Any:
    kept = [_block(block, overwritten) if isinstance(block, dict) else block for block in blocks]
    same = all(new is old for new, old in zip(kept, blocks, strict=True))
    return blocks if same else kept


def _block(block: dict[str, Any], overwritten: Collection[Any] = ()) -> dict[str, Any]:
    if overwritten and block.get("type") in _CALLS and block.get("id") in overwritten:
        return block
    changed: dict[str, Any] = {}
    for key, value in block.items():
        if key in _DATA:
            if isinstance(value, dict | list):
                changed[key] = _kept(value)
        elif key in _INNER:
            if isinstance(value, dict):
                inner: Any = _block(value)
            else:
                inner = _blocks(value) if isinstance(value, list) else value
            if inner is not value:
                changed[key] = inner
    return {**block, **changed} if changed else block


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {_kept_name(key): _kept(inner) for key, inner in value.items()}
    return [_kept(inner) for inner in value] if isinstance(value, list) else value


def _kept_name(key: Any) -> str:
    """Return a key as JSON would write it, with underscores replaced."""
    if not isinstance(key, str):
        key = json.dumps(key) if key is None or isinstance(key, bool | int | float) else str(key)
    return str(key).replace("_", _UNDERSCORE)


def _own(value: Any) -> Any:
    if isinstance(value, str):  # names, and texts that langchain-aws makes of tools' blocks
        return value.replace(_UNDERSCORE, "_")
    if isinstance(value, dict):
        return {_own(key): _own(inner) for key, inner in value.items()}
    return [_own(inner) for inner in value] if isinstance(value, list) else value
