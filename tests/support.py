"""Helpers of several tests: paths, code blocks, local files, odd replies."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from langchain_modelmgr.local import frames
from langchain_modelmgr.local.state import Replay

if TYPE_CHECKING:
    import pytest

    from langchain_modelmgr.local import LocalAWS

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""

BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
"""A code block of a Markdown page: its language and its text."""

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


def answer_with_events(aws: LocalAWS, model_id: str, *events: tuple[str, dict[str, Any]]) -> None:
    """Let the next stream of a model be these events; an ``Exception``'s name makes an error."""
    body = b"".join(
        frames.exception(kind, payload["message"])
        if kind.endswith("Exception")
        else frames.event(kind, payload)
        for kind, payload in events
    )
    headers = {"Content-Type": "application/vnd.amazon.eventstream"}
    aws._state.add_replay("ConverseStream", model_id, Replay(200, headers, body))


def answer_with_json(aws: LocalAWS, model_id: str, reply: dict[str, Any]) -> None:
    """Let the next Converse reply of a model be this JSON, whatever is wrong with it."""
    headers = {"Content-Type": "application/json"}
    body = json.dumps(reply).encode()
    aws._state.add_replay("Converse", model_id, Replay(200, headers, body))


def start(index: int, **block: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockStart", {"contentBlockIndex": index, "start": block}


def delta(index: int, **part: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": part}


def stop(index: int) -> tuple[str, dict[str, Any]]:
    return "contentBlockStop", {"contentBlockIndex": index}


BEGIN = ("messageStart", {"role": "assistant"})
USAGE = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}
TOLD = ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def end(reason: str = "end_turn") -> tuple[str, dict[str, Any]]:
    return "messageStop", {"stopReason": reason}
