"""Bedrock's own rules for a conversation, beyond what its service model says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_TOOLS = ("amazon.titan-",)
_NO_STREAMING_TOOLS = ("meta.", "mistral.", "deepseek.r1")
"""Sources: langchain-aws 1.9.1's streaming rules, and AWS's table of Converse features, read
2026-11-23. By provider, since a local model id can be any."""


def rule_violation(model_id: str, operation: str, body: Mapping[str, Any]) -> str | None:
    """Return the text of AWS's ValidationException, or None."""
    return next(_violations(model_id.partition("/")[0], operation, body), None)


def _violations(model_id: str, operation: str, body: Mapping[str, Any]) -> Iterator[str]:
    base = model_id
    for prefix in ("us.", "eu.", "apac.", "global.", "jp.", "au.", "ca.", "in.", "us-gov."):
        base = base.removeprefix(prefix)
    messages = body.get("messages") or []
    if not messages:
        yield "A conversation must have at least one message."
        return
    if messages[0]["role"] != "user":
        yield "A conversation must start with a user message."
    for earlier, later in itertools.pairwise(messages):
        if earlier["role"] == later["role"]:
            yield "Roles must alternate between user and assistant."
    yield from _of_blocks(messages)
    yield from _of_tools(messages, body)
    if "toolConfig" in body:
        if base.startswith(_NO_TOOLS):
            yield "This model doesn't support tool use."
        if operation == "ConverseStream" and base.startswith(_NO_STREAMING_TOOLS):
            yield "This model doesn't support tool use in streaming mode."


def _of_blocks(messages: list[Mapping[str, Any]]) -> Iterator[str]:
    for i, message in enumerate(messages):
        if not message["content"]:
            yield f"The content field in the Message object at messages.{i} is empty."
        for block in message["content"]:
            if block.get("text", "x").strip() == "":
                yield f"messages.{i}: text content blocks must contain non-whitespace text"


def _of_tools(messages: list[Mapping[str, Any]], body: Mapping[str, Any]) -> Iterator[str]:
    used = [
        (i, kind, block[kind]["toolUseId"])
        for i, message in enumerate(messages)
        for block in message["content"]
        for kind in ("toolUse", "toolResult")
        if kind in block
    ]
    if used and "toolConfig" not in body:
        yield (
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    called = {(i, use) for i, kind, use in used if kind == "toolUse"}
    answered = {(i, use) for i, kind, use in used if kind == "toolResult"}
    for i, use in sorted(answered):
        if (i - 1, use) not in called:
            yield f"messages.{i}: unexpected toolResult for an id that no toolUse has"
    for i, use in sorted(called):
        if (i + 1, use) not in answered and i + 1 < len(messages):
            yield f"messages.{i}: Expected toolResult blocks for the toolUse ids of this turn"
