"""Returns an upper bound of a request's prompt tokens, from the request alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.usage.estimate import text_bytes
from langchain_modelmgr.usage.media_tokens import TEXT_FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MESSAGE_TOKENS = 16
"""Tokens of a message's own marks, beyond its text."""

TOOL_TOKENS = 1_000
"""Tokens of the instructions that a model gets for tools, or for a schema. Claude adds 264 to 780.
Source: Anthropic, "Tool use", its table of token counts; read 2026-11-26."""

CITATION_TOKENS = 1_000
"""Tokens that a model adds if a document has citations on."""

IMAGE_TOKENS = 5_000
"""Tokens of an image at most."""

_NOT_TEXT = frozenset({"modelId", "inferenceConfig", "messages", "system", "guardrailConfig"})


def prompt_bound(params: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a prompt can have; None if its bytes don't bound them.

    It counts one token a byte of all text that is sent, which is 3 to 5 times the real count of
    plain English. A byte is the least that a token of any tokenizer stands for.

    Args:
        params: The request in Converse's shapes.
    """
    if ":prompt/" in str(params.get("modelId", "")):
        return None
    total = 0
    for message in params.get("messages", ()):
        size = _blocks(message["content"])
        if size is None:
            return None
        total += MESSAGE_TOKENS + size
    system = _blocks(params.get("system", ()))
    if system is None:
        return None
    total += system + (MESSAGE_TOKENS if system else 0)
    if any("systemTool" in tool for tool in (params.get("toolConfig") or {}).get("tools", ())):
        return None  # the service adds what its own tools find
    if _adds_instructions(params):
        total += TOOL_TOKENS
    for name, value in params.items():
        if name not in _NOT_TEXT:
            total += _json(value)
    return total


def _adds_instructions(params: Mapping[str, Any]) -> bool:
    """Return whether the model gets instructions of its maker's: for tools, or for a schema."""
    fields = params.get("additionalModelRequestFields")
    own_tools = isinstance(fields, dict) and "tools" in fields
    return own_tools or bool(params.get("toolConfig") or params.get("outputConfig"))


def _blocks(blocks: Iterable[Mapping[str, Any]]) -> int | None:
    total = 0
    for block in blocks:
        text = block.get("text")
        size = text_bytes(text) if isinstance(text, str) else _block(block)
        if size is None:
            return None
        total += size
    return total


def _block(block: Mapping[str, Any]) -> int | None:
    if "cachePoint" in block:
        return 0
    if "image" in block:
        return None if "s3Location" in block["image"].get("source", ()) else IMAGE_TOKENS
    if "document" in block:
        return _document(block["document"])
    if "video" in block or "audio" in block:
        return None
    if "toolResult" in block:
        content = _blocks(block["toolResult"].get("content", ()))
        rest = {k: v for k, v in block["toolResult"].items() if k != "content"}
        return None if content is None else content + _json(rest)
    return _json(block)


def _document(document: Mapping[str, Any]) -> int | None:
    source = document.get("source", {})
    added = _json({k: v for k, v in document.items() if k != "source"})
    if (document.get("citations") or {}).get("enabled"):
        added += CITATION_TOKENS
    if isinstance(text := source.get("text"), str):
        return added + text_bytes(text)
    if "content" in source:
        content = _blocks(source["content"])
        return None if content is None else added + content
    data = source.get("bytes")
    if document.get("format") in TEXT_FORMATS and isinstance(data, bytes | bytearray):
        return added + len(data)
    return None


def _json(value: Any) -> int:
    return text_bytes(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes | bytearray) else str(value)
