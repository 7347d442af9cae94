"""Estimates the tokens of requests that broke: they are billed, but came without token counts."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.usage.media_tokens import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    PAGE_BYTES,
    PAGE_TOKENS,
    TEXT_FORMATS,
    pdf_pages,
)
from langchain_modelmgr.usage.pricing import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOT_BILLED_BY_LENGTH = frozenset({"toolUseId", "type", "status", "signature", "citation"})
"""Keys of a stream's blocks that are ids or marks, or, like a cited source, were input."""


def estimated_usage(params: Mapping[str, Any], received_bytes: int) -> TokenCounts:
    """Return the tokens that a broken attempt was probably billed for, at least.

    Args:
        params: The request in Converse's shapes.
        received_bytes: The bytes received before it broke, as ``output_bytes`` counts them. What
            the model wrote afterwards is billed too, but not known.
    """
    blocks = [block for message in params.get("messages", ()) for block in message["content"]]
    tools = params.get("toolConfig", {}).get("tools", ())
    prompt = sum(_of_block(block) for block in (*params.get("system", ()), *blocks, *tools))
    return TokenCounts(input_tokens=prompt, output_tokens=_of_bytes(received_bytes))


def text_bytes(text: str) -> int:
    """Return the bytes of a text in UTF-8; half of a surrogate pair, which has none, counts as 3.

    A stream may cut an emoji in two: JSON can hold each half.
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def output_bytes(part: Mapping[str, Any]) -> int:
    """Return the bytes that the start or delta of a stream's block adds to what is billed."""
    if "image" in part:  # an image is billed by the image, whatever its size: counted at its start
        return IMAGE_TOKENS * BYTES_PER_TOKEN if "format" in part["image"] else 0
    return sum(_written(value) for key, value in part.items() if key not in _NOT_BILLED_BY_LENGTH)


def _written(value: Any) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return output_bytes(value)
    return sum(_written(item) for item in value) if isinstance(value, list) else 0


def least_tokens(params: Mapping[str, Any]) -> int:
    """Return a lower bound of a request's tokens, in a few microseconds, by the length of texts."""
    size = tokens = 0
    for message in params.get("messages", ()):
        for block in message["content"]:
            if "text" in block:
                size += len(block["text"])
            elif "image" in block or "video" in block:
                tokens += IMAGE_TOKENS
            elif "toolResult" in block:
                parts = block["toolResult"].get("content", ())
                size += sum(len(part["text"]) for part in parts if "text" in part)
    size += sum(len(block.get("text", "")) for block in params.get("system", ()))
    return tokens + size // BYTES_PER_TOKEN


def _of_bytes(size: int) -> int:
    return math.ceil(size / BYTES_PER_TOKEN)


def _of_blocks(blocks: Iterable[Mapping[str, Any]]) -> int:
    return sum(_of_block(block) for block in blocks)


def _of_block(block: Mapping[str, Any]) -> int:
    if "cachePoint" in block:
        return 0
    if "image" in block or "video" in block:
        return IMAGE_TOKENS
    if "document" in block:
        return _of_document(block["document"])
    if "text" in block:
        return _of_bytes(text_bytes(str(block["text"])))
    if "toolResult" in block:
        return _of_blocks(block["toolResult"].get("content", ()))
    return _of_bytes(text_bytes(json.dumps(block, ensure_ascii=False, default=str)))


def _of_document(document: Mapping[str, Any]) -> int:
    content = document.get("source", {})
    data = content.get("bytes", b"")
    size = len(data) or text_bytes(str(content.get("text", "")))
    if document.get("format") in TEXT_FORMATS or "text" in content:
        return _of_bytes(size)
    pages = pdf_pages(data) if document.get("format") == "pdf" and isinstance(data, bytes) else 0
    return PAGE_TOKENS * (pages or max(1, math.ceil(size / PAGE_BYTES)))
