"""Estimates the tokens of documents, images, video and audio."""

from __future__ import annotations

import math
import re
import struct
import zlib

BYTES_PER_TOKEN = 4
"""Bytes of UTF-8 per token: the rule of thumb of AWS's and Anthropic's documentation."""

IMAGE_TOKENS, _PIXELS_PER_TOKEN = 1_600, 750
"""Tokens of an image at most, and its pixels to a token. Source: Anthropic, "Vision": (width x
height) / 750, larger images are scaled down; read 2026-11-23."""

PAGE_TOKENS, PAGE_BYTES = 2_000, 50_000
"""Tokens of a page of a PDF or an office file, and its bytes. Source: Anthropic, "PDF support":
1,500 to 3,000 tokens a page; the size is a common one."""

_UNREAD_PAGE_BYTES = 500_000
"""Bytes of a page of a PDF whose pages can't be read: it is encrypted, or scanned."""

_VIDEO_TOKENS, _VIDEO_BYTES = 2_880, 2_500_000
"""Tokens of ten seconds of video, and its bytes at 2 Mbit/s. Source: AWS, "Video understanding"
of Amazon Nova, its table of token counts; read 2026-11-26."""

_AUDIO_TOKENS, _AUDIO_BYTES = 125, 160_000
"""Tokens of ten seconds of audio, and its bytes at 128 kbit/s. Source: Mistral, "Voxtral": 12.5
tokens a second; read 2026-11-26."""

TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_OBJECTS = re.compile(rb"/ObjStm.{0,400}?stream\r?\n", re.DOTALL)
_MOST_INFLATED, _MOST_STREAMS = 1_000_000, 1_000
"""Bytes that one stream of objects may become, and streams that are read: a PDF can be a bomb."""

_PNG, _GIF, _JPEG = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a"), b"\xff\xd8"


def document_tokens(form: str, data: bytes) -> int:
    """Estimate the tokens of a document.

    Args:
        form: Bedrock's name of its format: ``pdf``, ``docx``, ``txt``, ...
        data: Its bytes.
    """
    if form in TEXT_FORMATS:
        return math.ceil(len(data) / BYTES_PER_TOKEN)
    if form != "pdf":
        return PAGE_TOKENS * max(1, math.ceil(len(data) / PAGE_BYTES))
    unread = max(1, math.ceil(len(data) / _UNREAD_PAGE_BYTES))
    return PAGE_TOKENS * (pdf_pages(data) or unread)


def pdf_pages(data: bytes) -> int:
    """Return the number of pages of a PDF; 0 if they can't be read."""
    pages = len(_PAGE.findall(data))
    for count, found in enumerate(_OBJECTS.finditer(data)):
        if count >= _MOST_STREAMS:
            break
        try:
            inflated = zlib.decompressobj().decompress(data[found.end() :], _MOST_INFLATED)
        except zlib.error:  # another filter, or encrypted
            continue
        pages += len(_PAGE.findall(inflated))
    return pages


def image_tokens(data: bytes) -> int:
    """Estimate the tokens of an image; the maximum if its size can't be read."""
    width, height = _size(data) or (0, 0)
    if not width * height:
        return IMAGE_TOKENS
    return min(IMAGE_TOKENS, math.ceil(width * height / _PIXELS_PER_TOKEN))


def video_tokens(size: int) -> int:
    """Estimate the tokens of a video by its size in bytes."""
    return _VIDEO_TOKENS * max(1, math.ceil(size / _VIDEO_BYTES))


def audio_tokens(size: int) -> int:
    """Estimate the tokens of audio by its size in bytes."""
    return _AUDIO_TOKENS * max(1, math.ceil(size / _AUDIO_BYTES))


def _size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, GIF or JPEG."""
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data.startswith(_GIF):
            width, height = struct.unpack("<HH", data[6:10])
            return width, height
        return _size_of_jpeg(data) if data.startswith(_JPEG) else None
    except struct.error:
        return None


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 - each segment begins so
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # noqa: PLR2004
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None
