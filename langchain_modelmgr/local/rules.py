"""Bedrock's rules for a conversation that are not in its service model."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.facts import base_of, facts_of
from langchain_modelmgr.local.field_rules import field_violations
from langchain_modelmgr.local.model_rules import model_violations
from langchain_modelmgr.local.name_rules import name_violations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def rule_violation(
    model_id: str, operation: str, body: Mapping[str, Any], own_facts: Mapping[str, Any]
) -> str | None:
    """Return the text of AWS's ValidationException, or None.

    Args:
        model_id: The model id of the URL.
        operation: ``Converse`` or ``ConverseStream``.
        body: The request's JSON.
        own_facts: Facts that override those of the data file.
    """
    return next(_violations(base_of(model_id), operation, body, own_facts), None)


def _violations(
    base: str, operation: str, body: Mapping[str, Any], own_facts: Mapping[str, Any]
) -> Iterator[str]:
    facts = {**facts_of(base), **own_facts}
    if "converse" not in facts.get("served_by", ("converse",)):
        yield "This action doesn't support the model that you provided. Try again with another."
    messages = body.get("messages") or []
    if not messages:
        yield "A conversation must have at least one message."
        return
    if not isinstance(body.get("additionalModelRequestFields", {}), dict):
        yield "The additionalModelRequestFields field must be a JSON object."
        return
    if messages[0]["role"] != "user":
        yield "A conversation must start with a user message."
    for earlier, later in itertools.pairwise(messages):
        if earlier["role"] == later["role"]:
            yield "Roles must alternate between user and assistant."
    yield from _of_blocks(messages)
    yield from _of_tools(messages, body)
    yield from name_violations(facts, body)
    if facts:
        yield from model_violations(facts, operation, body)
        yield from field_violations(facts, body)


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
