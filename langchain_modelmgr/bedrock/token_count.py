"""Estimates the number of tokens in LangChain messages, without a request to AWS."""

from __future__ import annotations

import base64
import binascii
import math
from operator import is_
from typing import TYPE_CHECKING, Any

from langchain_core.messages.utils import count_tokens_approximately

from langchain_modelmgr.usage.estimate import text_bytes
from langchain_modelmgr.usage.media_tokens import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    PAGE_TOKENS,
    audio_tokens,
    document_tokens,
    image_tokens,
    video_tokens,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

_FORMATS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
}
_KINDS = {
    "audio": "audio",
    "document": "document",
    "file": "document",
    "image": "image",
    "image_url": "image",
    "input_audio": "audio",
    "input_file": "document",
    "input_image": "image",
    "text-plain": "document",
    "video": "video",
    "video_url": "video",
}
"""Kind of media by the type of a content block; Bedrock's own blocks use it as their key."""

_OWN_KINDS = ("image", "document", "video", "audio")
_RESULTS = ("toolResult", "tool_result")
_NOTHING = ("cachePoint", "cache_point")
_HEADER = 65_536
"""Number of leading bytes of an image that contain its size."""


def count_tokens(messages: Sequence[BaseMessage], tools: list[Any] | None = None) -> int:
    """Return the approximate number of tokens in messages, with media counted as models do.

    Text counts as LangChain counts it, an image by its pixels, a PDF by its pages, other office
    files by their size, a video by its length.
    """
    media = 0
    plain: list[BaseMessage] = []
    for message in messages:
        if isinstance(message.content, str):
            plain.append(message)
            continue
        kept, tokens = _without_media(message.content)
        media += tokens
        same = len(kept) == len(message.content) and all(map(is_, kept, message.content))
        plain.append(message if same else message.model_copy(update={"content": kept}))
    return media + count_tokens_approximately(plain, tools=tools)


def _without_media(blocks: Sequence[Any]) -> tuple[list[Any], int]:
    """Return the blocks to count as text, and the number of tokens in all others."""
    kept: list[Any] = []
    tokens = 0
    for block in blocks:
        if not isinstance(block, dict):
            kept.append(block)
        elif kind := _kind(block):
            tokens += _tokens(kind, block)
        elif any(key in block for key in _NOTHING):
            continue
        elif isinstance(inner := _inner(block), list):
            more, of_inner = _without_media(inner)
            kept += more
            tokens += of_inner
        else:
            kept.append(_shown(block))
    return kept, tokens


def _kind(block: Mapping[str, Any]) -> str | None:
    if (named := block.get("type")) is not None:
        return _KINDS.get(named) if isinstance(named, str) else None
    return next((kind for kind in _OWN_KINDS if kind in block), None)


def _inner(block: Mapping[str, Any]) -> Any:
    """Return the blocks inside a tool result or a block wrapped by langchain-core."""
    for key in _RESULTS:
        if isinstance(block.get(key), dict):
            return block[key].get("content")
    if block.get("type") in ("tool_result", "server_tool_result"):
        return block.get("content")
    if block.get("type") == "non_standard" and isinstance(block.get("value"), dict):
        return [block["value"]]
    return None


def _shown(block: dict[str, Any]) -> Any:
    """Return a block without signatures and encrypted reasoning, which are not prompt text."""
    reasoned = block.get("reasoning_content") or block.get("reasoningContent")
    if isinstance(reasoned, dict):
        reasoned = reasoned.get("reasoningText") or reasoned
        return {"type": "text", "text": str(reasoned.get("text", ""))}
    return block


def _tokens(kind: str, block: Mapping[str, Any]) -> int:
    holder = block[kind] if isinstance(block.get(kind), dict) else block
    text = _text(holder)
    if text is not None:
        return math.ceil(text_bytes(text) / BYTES_PER_TOKEN)
    data = _bytes(holder) or b""
    if kind == "image":
        return image_tokens(data[:_HEADER]) if data else IMAGE_TOKENS
    if kind == "document":
        form = _format(holder)
        return document_tokens(form, data) if data else PAGE_TOKENS
    return video_tokens(len(data)) if kind == "video" else audio_tokens(len(data))


def _text(holder: Mapping[str, Any]) -> str | None:
    """Return the text of a document given as text; None for others."""
    source = holder.get("source")
    for place in (holder, source if isinstance(source, dict) else {}):
        if isinstance(place.get("text"), str):
            return str(place["text"])
    if isinstance(source, dict) and isinstance(source.get("content"), list):
        return "".join(str(part.get("text", "")) for part in source["content"])
    return None


def _bytes(holder: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of a block, in any supported form; None if it only has a reference."""
    for place in _places(holder):
        for key in ("bytes", "base64", "data", "file_data", "url"):
            value = place.get(key)
            if isinstance(value, bytes | bytearray):
                return bytes(value)
            if isinstance(value, str) and (key != "url" or value.startswith("data:")):
                try:
                    return base64.b64decode(value.rpartition(",")[2])
                except (binascii.Error, ValueError):
                    return None
    return None


def _places(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = ("source", "file", "image_url", "video_url", "input_audio")
    return [holder, *(holder[key] for key in inner if isinstance(holder.get(key), dict))]


def _format(holder: Mapping[str, Any]) -> str:
    """Return Bedrock's name for the format of a document."""
    if isinstance(form := holder.get("format"), str):
        return form
    for place in _places(holder):
        mime = place.get("mime_type") or place.get("media_type")
        if mime is None and isinstance(data := place.get("file_data"), str):
            mime = data.partition(";")[0].removeprefix("data:")
        if isinstance(mime, str) and mime:
            return _FORMATS.get(mime, "txt" if mime.startswith("text/") else "pdf")
    return "pdf"
