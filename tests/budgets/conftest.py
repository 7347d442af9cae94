"""A server that writes down what it bills."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.local.scripted import ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS

INPUT, OUTPUT = 10, 20
"""Tokens of each reply of the billing server."""


@dataclass
class Bills:
    """The requests that the server's model answered, by model."""

    models: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop_reason: str | None = None

    def __call__(self, request: Any) -> ScriptedReply:
        with self.lock:
            self.models.append(request.model_id)
        usage = {
            "inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT,
        }  # fmt: skip
        return ScriptedReply(text="42", usage=usage, stop_reason=self.stop_reason)

    def tokens(self) -> int:
        return len(self.models) * (INPUT + OUTPUT)


SONNET_COST = (Decimal(INPUT) * 3 + Decimal(OUTPUT) * 15) / 1_000_000


@pytest.fixture
def bills(local_aws: LocalAWS) -> Bills:
    made = Bills()
    local_aws.script(made)
    return made
