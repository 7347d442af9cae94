"""Bedrock's own rules for a conversation, beyond what its service model says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.name_rules import name_violations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_TOOLS = ("amazon.titan-",)
_NO_SYSTEM = ("amazon.titan-", "mistral.mistral-7b", "mistral.mixtral")
_CACHE = ("anthropic.claude-3-5", "anthropic.claude-3-7", "anthropic.claude-sonnet-4",
          "anthropic.claude-opus-4", "anthropic.claude-haiku-4", "anthropic.claude-sonnet-5",
          "anthropic.claude-opus-5", "anthropic.claude-haiku-5", "amazon.nova")  # fmt: skip
_UNSIGNED_REASONING = ("openai.gpt-oss", "amazon.nova-2", "deepseek.v3", "minimax.", "moonshot")
_STATUS = ("anthropic.", "amazon.nova")
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
    yield from name_violations(base, body)
    if base.startswith(_KNOWN):
        yield from _of_model(base, messages, body)
    if "toolConfig" in body:
        yield from _of_tool_use(base, operation)
        yield from _of_tool_choice(base, body)


def _of_tool_use(base: str, operation: str) -> Iterator[str]:
    if base.startswith(_NO_TOOLS):
        yield "This model doesn't support tool use."
    if operation == "ConverseStream" and base.startswith(_NO_STREAMING_TOOLS):
        yield "This model doesn't support tool use in streaming mode."


_ANY = ("anthropic.", "amazon.nova", "mistral.mistral-large", "deepseek.v3", "openai.gpt-5",
        "openai.gpt-6")  # fmt: skip
_NAMED = ("anthropic.", "amazon.nova", "openai.gpt-5", "openai.gpt-6")
_NEVER_FORCED = ("anthropic.claude-fable-5-1", "anthropic.claude-opus-5-5",
                 "anthropic.claude-sonnet-5-5")  # fmt: skip
_NOT_FORCED_THINKING = ("anthropic.claude-3-7", "anthropic.claude-sonnet-4",
                        "anthropic.claude-opus-4", "anthropic.claude-haiku-4")  # fmt: skip
_FORCED_THINKING = ("anthropic.claude-opus-4-8",)
"""Sources: AWS's reference of ToolChoice; langchain-aws 1.9.1 on Claude that thinks; read
2026-11-26."""


def _of_tool_choice(base: str, body: Mapping[str, Any]) -> Iterator[str]:
    kind = next(iter(body["toolConfig"].get("toolChoice", {})), "auto")
    if kind == "auto" or not base.startswith(_KNOWN):
        return
    able = base.startswith(_ANY if kind == "any" else _NAMED)
    if not able or base.startswith(_NEVER_FORCED):
        yield (
            f"This model doesn't support the toolConfig.toolChoice.{kind} field. "
            f"Remove toolConfig.toolChoice.{kind} and try again."
        )
    fields = body.get("additionalModelRequestFields", {})
    thinking = fields.get("thinking") or fields.get("reasoning_config") or {}
    if (
        thinking.get("type") in ("enabled", "adaptive")
        and base.startswith(_NOT_FORCED_THINKING)
        and not base.startswith(_FORCED_THINKING)
    ):
        yield "Thinking may not be enabled when tool_choice forces tool use."


_KNOWN = ("anthropic.", "amazon.", "meta.", "mistral.", "deepseek.", "openai.", "minimax.")
"""Providers whose rules are written here; other ids are taken for models of any ability."""


def _of_model(
    base: str, messages: list[Mapping[str, Any]], body: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what this model refuses. Texts are AWS's where they are known."""
    said = [b for m in messages for b in m["content"] if m["role"] == "assistant"]
    given = [b for m in messages for b in m["content"] if m["role"] == "user"]
    sections = (
        *said,
        *given,
        *body.get("system", ()),
        *body.get("toolConfig", {}).get("tools", ()),
    )
    if body.get("system") and base.startswith(_NO_SYSTEM):
        yield "This model doesn't support the system field. Remove system and try again."
    if any("cachePoint" in b for b in sections) and not base.startswith(_CACHE):
        yield "You invoked an unsupported model or your request did not allow prompt caching."
    if not base.startswith("anthropic.") and any("citationsContent" in b for b in said):
        yield "This model doesn't support the citationsContent field."
    if not base.startswith(_STATUS) and any("status" in b.get("toolResult", ()) for b in given):
        yield "This model doesn't support the status field in toolResult."
    yield from _of_reasoning(base, messages, said, body)


def _of_reasoning(
    base: str,
    messages: list[Mapping[str, Any]],
    said: list[Mapping[str, Any]],
    body: Mapping[str, Any],
) -> Iterator[str]:
    claude = base.startswith("anthropic.")
    for block in said:
        if "reasoningContent" not in block:
            continue
        reasoned = block["reasoningContent"]
        signed = "redactedContent" in reasoned or "signature" in reasoned["reasoningText"]
        if claude and not signed:
            yield "thinking.signature: Field required"
        if not claude and (signed or not base.startswith(_UNSIGNED_REASONING)):
            yield "User messages cannot contain reasoning content. Remove it and try again."
    thinking = body.get("additionalModelRequestFields", {}).get("thinking")
    answering = any("toolResult" in b for b in messages[-1]["content"])
    if claude and thinking and answering and "reasoningContent" not in messages[-2]["content"][0]:
        yield (
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is "
            "enabled, a final `assistant` message must start with a thinking block."
        )


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
