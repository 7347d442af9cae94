"""Encodes ``application/vnd.amazon.eventstream`` frames; botocore has only a decoder."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from typing import Any

_STRING = 7
"""The type code of a text header. Source: the event-stream encoding of Smithy, AWS's protocol."""

_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
"""The padding field ``p`` of real frames, which hides the size of their content."""


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """Return the frame of one event."""
    padded = {**payload, "p": _PADDING[: 8 + 7 * len(kind) % 50]}
    return _frame({":event-type": kind, ":message-type": "event"}, padded)


def exception(kind: str, message: str) -> bytes:
    """Return the frame of an error in mid-stream; ``kind`` is in lower camel case."""
    return _frame({":exception-type": kind, ":message-type": "exception"}, {"message": message})


def _frame(headers: dict[str, str], payload: dict[str, Any]) -> bytes:
    (first, kind), (last, message_type) = headers.items()
    encoded = b"".join(
        _header(name, value)
        for name, value in (
            (first, kind),
            (":content-type", "application/json"),
            (last, message_type),
        )
    )
    try:
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a stream that cuts a pair of surrogates can only escape each half
        body = json.dumps(payload, separators=(",", ":")).encode()
    prelude = struct.pack(">II", 16 + len(encoded) + len(body), len(encoded))
    frame = prelude + struct.pack(">I", crc32(prelude)) + encoded + body
    return frame + struct.pack(">I", crc32(frame))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(text)) + text
