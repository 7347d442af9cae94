"""Recognizes content in a stream's block starts and deltas."""

from __future__ import annotations

from typing import Any


def has_content(part: Any) -> bool:
    """Return whether a block's start or delta, in Bedrock's shapes, contains content of any kind.

    Text, reasoning (redacted too), tool calls, server tools' results, citations and images are
    content; so are kinds that this version does not know. An empty text is not.
    """
    if isinstance(part, dict):
        return any(map(has_content, part.values()))
    if isinstance(part, list):
        return any(map(has_content, part))
    return bool(part) or isinstance(part, int | float)
