"""Estimates the tokens of requests that broke: they are billed, and no reply told how many."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.pricing import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BYTES_PER_TOKEN = 4
"""Bytes of UTF-8 to a token: the rule of thumb of AWS's and Anthropic's documentation."""

_IMAGE_TOKENS = 1_600
"""Tokens of a full-size image. Source: Anthropic, "Vision", (width x height) / 750 at 1.15
megapixels; read 2026-11-23."""

_PAGE_TOKENS, _PAGE_BYTES = 2_000, 50_000
"""Tokens of a page of a PDF or an office file, and its bytes. Source: Anthropic, "PDF support":
1,500 to 3,000 tokens a page; the size is a common one."""

_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})

_NOT_BILLED_BY_LENGTH = frozenset({"toolUseId", "type", "status", "signature", "citation"})
"""Members of a stream's blocks that are ids or marks, or, as a cited source, were input."""


def estimated_usage(params: Mapping[str, Any], received_bytes: int) -> TokenCounts:
    """Return what a broken attempt was probably billed for, at least.

    Args:
        params: The request in Converse's shapes.
        received_bytes: What came before it broke, as ``output_bytes`` counts it. What the model
            went on to write unheard is billed too, and not known.
    """
    blocks = [block for message in params.get("messages", ()) for block in message["content"]]
    tools = params.get("toolConfig", {}).get("tools", ())
    prompt = sum(_of_block(block) for block in (*params.get("system", ()), *blocks, *tools))
    return TokenCounts(input_tokens=prompt, output_tokens=_of_bytes(received_bytes))


def output_bytes(part: Mapping[str, Any]) -> int:
    """Return the bytes that the start or delta of a stream's block adds to what is billed."""
    if "image" in part:  # an image is billed as one, whatever its size: counted at its start
        return _IMAGE_TOKENS * _BYTES_PER_TOKEN if "format" in part["image"] else 0
    return sum(_written(value) for key, value in part.items() if key not in _NOT_BILLED_BY_LENGTH)


def _written(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return output_bytes(value)
    return sum(_written(member) for member in value) if isinstance(value, list) else 0


def least_tokens(params: Mapping[str, Any]) -> int:
    """Return what a request has at least, in a few microseconds: each text by its length."""
    size = tokens = 0
    for message in params.get("messages", ()):
        for block in message["content"]:
            if "text" in block:
                size += len(block["text"])
            elif "image" in block or "video" in block:
                tokens += _IMAGE_TOKENS
            elif "toolResult" in block:
                told = block["toolResult"].get("content", ())
                size += sum(len(part["text"]) for part in told if "text" in part)
    size += sum(len(block.get("text", "")) for block in params.get("system", ()))
    return tokens + size // _BYTES_PER_TOKEN


def _of_bytes(size: int) -> int:
    return math.ceil(size / _BYTES_PER_TOKEN)


def _of_blocks(blocks: Iterable[Mapping[str, Any]]) -> int:
    return sum(_of_block(block) for block in blocks)


def _of_block(block: Mapping[str, Any]) -> int:
    if "cachePoint" in block:
        return 0
    if "image" in block or "video" in block:
        return _IMAGE_TOKENS
    if "document" in block:
        return _of_document(block["document"])
    if "text" in block:
        return _of_bytes(len(str(block["text"]).encode()))
    if "toolResult" in block:
        return _of_blocks(block["toolResult"].get("content", ()))
    return _of_bytes(len(json.dumps(block, ensure_ascii=False, default=str).encode()))


def _of_document(document: Mapping[str, Any]) -> int:
    content = document.get("source", {})
    size = len(content.get("bytes", b"")) or len(str(content.get("text", "")).encode())
    if document.get("format") in _TEXT_FORMATS or "text" in content:
        return _of_bytes(size)
    return _PAGE_TOKENS * max(1, math.ceil(size / _PAGE_BYTES))
