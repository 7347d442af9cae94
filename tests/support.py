"""Local bytes for those of langchain-tests' tests that fetch files from the internet."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import pytest

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
_WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" + bytes(20)


def serve_local_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer ``httpx.get``, which langchain-tests fetches with, by small files of each kind."""

    def get(url: str, **_: Any) -> httpx.Response:
        kind = url.rpartition(".")[2].lower()
        content = {"pdf": _PDF, "wav": _WAV}.get(kind, _PNG)
        return httpx.Response(200, content=content)

    monkeypatch.setattr(httpx, "get", get)
