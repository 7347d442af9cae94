"""Estimates token counts, always the same for the same input."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BYTES_PER_TOKEN = 4
"""UTF-8 bytes per token: the usual estimate for English."""

_MEDIA_TOKENS = 85
"""Tokens of an image, document or video, whatever its size."""

_MEDIA = frozenset({"image", "document", "video"})


def of_text(text: str) -> int:
    """Return the tokens of a text: 0 if it is empty, else at least 1."""
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def of_blocks(blocks: Iterable[Mapping[str, Any]]) -> int:
    """Return the tokens of content blocks."""
    return sum(of_block(block) for block in blocks)


def of_block(block: Mapping[str, Any]) -> int:
    """Return the tokens of one content block, tool specification, or system block."""
    if "cachePoint" in block:
        return 0
    if _MEDIA & block.keys():
        return _MEDIA_TOKENS
    if "text" in block and isinstance(block["text"], str):
        return of_text(block["text"])
    if "toolResult" in block:
        return 4 + of_blocks(block["toolResult"].get("content", []))
    return of_text(json.dumps(block, ensure_ascii=False, separators=(",", ":")))
