"""Keeps the names inside the caller's data: langchain-aws renames keys of content blocks."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from langchain_core.messages import BaseMessage

_DATA = frozenset({"json", "input", "args"})
"""Keys of content blocks under which the caller's own data is: results and arguments of tools."""

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
"""Keys under which further blocks are."""

_CALLS = frozenset({"tool_use", "tool_call"})

_UNDERSCORE = "\ue05f"
"""Stands for an underscore of a name while langchain-aws works on it; a private character.

langchain-aws 1.9.1 makes each key of a block camelCase, at its underscores and nowhere else.
"""


_CAPITALS = {ord(letter): 0xE000 + ord(letter) for letter in string.ascii_uppercase}
_CAPITALS_BACK = {kept: letter for letter, kept in _CAPITALS.items()}
"""As the underscore, for capitals in the JSON of server tools' results, which langchain-aws makes
snake_case in a reply."""

_RESULTS = frozenset({"json", "tool_result", "server_tool_result"})


def with_kept_names(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return messages that hold no name of the caller's which langchain-aws would change.

    ``with_own_names`` takes it back, in the request that langchain-aws forms of them.

    Args:
        messages: LangChain messages; they are left as they are.

    Returns:
        The same list where no message holds such a name.
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
    """Return Converse messages in which the caller's data has its own names again."""
    return [_own(message) for message in messages]


def with_kept_results(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a reply's blocks or deltas; langchain-aws leaves names in JSON of tool results.

    ``restore_results`` takes it back, in the message that langchain-aws makes of them.
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
    """Give the JSON of tool results in a message its own names, in place."""
    if isinstance(message.content, str):
        return
    for position, block in enumerate(message.content):
        if isinstance(block, dict) and block.get("type") in _RESULTS:
            message.content[position] = _translated(block, _CAPITALS_BACK)


def _translated(block: Any, table: Mapping[int, int]) -> Any:
    """Return a block of a tool's result, the keys of its JSON translated."""
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
    """Return the ids of calls whose arguments langchain-aws takes from ``tool_calls`` instead."""
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
    """Return a key as JSON has it, without an underscore."""
    if not isinstance(key, str):
        key = json.dumps(key) if key is None or isinstance(key, bool | int | float) else str(key)
    return str(key).replace("_", _UNDERSCORE)


def _own(value: Any) -> Any:
    if isinstance(value, str):  # names, and texts that langchain-aws makes of tools' blocks
        return value.replace(_UNDERSCORE, "_")
    if isinstance(value, dict):
        return {_own(key): _own(inner) for key, inner in value.items()}
    return [_own(inner) for inner in value] if isinstance(value, list) else value
