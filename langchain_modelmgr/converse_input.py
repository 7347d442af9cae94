"""Checks the conversation that ``invoke_model`` is given, and fills in its short forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_modelmgr.errors import ConfigurationError

_EXAMPLE = "[{'role': 'user', 'content': [{'text': 'Hello'}]}]"

_ROLES = {
    # Roles of other services' messages, and where Converse has what they are for.
    "ai": "'assistant'",
    "developer": "system_prompt",
    "function": "a 'toolResult' block of a 'user' message",
    "human": "'user'",
    "model": "'assistant'",
    "tool": "a 'toolResult' block of a 'user' message",
}


def conversation_of(messages: Any) -> list[Any]:
    """Return a conversation as a list: Converse messages with blocks, or LangChain's messages.

    A Converse message whose ``content`` is a text gets one block of it, in a copy; everything
    else is as it was given.

    Raises:
        ConfigurationError: It is no conversation; the message says which part, and what is right.
    """
    if isinstance(messages, str | bytes | Mapping | BaseMessage) or not isinstance(
        messages, Iterable
    ):
        raise _wrong(f"messages must be a list of messages, got {_kind(messages)}: give {_EXAMPLE}")
    given = list(messages)
    if not given:
        raise _wrong(f"messages is empty: give {_EXAMPLE}")
    if all(isinstance(message, BaseMessage) for message in given):
        return given
    return [_message(message, f"messages[{i}]", first=not i) for i, message in enumerate(given)]


def system_of(system_prompt: Any) -> str:
    """Return the system prompt; empty: there is none.

    Raises:
        ConfigurationError: It is no text.
    """
    if system_prompt is None or isinstance(system_prompt, str):
        return system_prompt or ""
    raise _wrong(f"system_prompt must be a text, got {_kind(system_prompt)}")


def _message(message: Any, where: str, *, first: bool) -> Mapping[str, Any]:
    if isinstance(message, BaseMessage):
        raise _wrong(f"{where} is LangChain's among Converse's own: give messages of one kind")
    if not isinstance(message, Mapping):
        raise _wrong(f"{where} must be a message, got {_kind(message)}: give {_EXAMPLE}")
    role = message.get("role")
    if not isinstance(role, str):
        raise _wrong(f"{where} has no 'role': give 'user' or 'assistant'")
    if role in _ROLES:
        raise _wrong(f"{where}: Converse has no role {role!r}: use {_ROLES[role]}")
    if role == "system" and first:
        raise _wrong(f"{where}: a conversation begins with 'user': use system_prompt")
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": [{"text": content}]}
    if not isinstance(content, list | tuple):
        what = "has no 'content'" if content is None else f"has {_kind(content)} as 'content'"
        raise _wrong(f"{where} {what}: give a text or a list of blocks, [{{'text': 'Hello'}}]")
    for i, block in enumerate(content):
        _check_block(block, f"{where}.content[{i}]")
    return message


def _check_block(block: Any, where: str) -> None:
    if not isinstance(block, Mapping):
        raise _wrong(f"{where} must be a block, got {_kind(block)}: give {{'text': 'Hello'}}")
    if "type" in block:
        raise _wrong(
            f"{where} has the key 'type', which Converse's blocks have not: give "
            "{'text': 'Hello'}, or LangChain's messages"
        )


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _wrong(text: str) -> ConfigurationError:
    return ConfigurationError(f"invoke_model: {text}")
