"""A call reaches the wire through few frames of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

import langchain_modelmgr
from langchain_modelmgr import ModelManager
from tests.models import SONNET

if TYPE_CHECKING:
    from types import FrameType

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

PACKAGE = str(Path(langchain_modelmgr.__file__).parent)


def test_a_call_passes_six_frames_at_most_from_generate_to_the_wire(
    configured: Configure, local_aws: LocalAWS
) -> None:
    passed: list[str] = []

    def note(**_: Any) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None and "ManagedBedrockChat._generate" not in passed:
            if frame.f_code.co_filename.startswith(PACKAGE):
                passed.append(frame.f_code.co_qualname)
            frame = frame.f_back

    session = boto3.Session()
    session.events.register("before-send.bedrock-runtime", note)
    manager = ModelManager(configured(f"a: {{model: '{SONNET}'}}"), session=session, sinks=[])

    manager.chat_model("a").invoke("x")

    assert passed[-1] == "ManagedBedrockChat._generate"
    assert len(passed) <= 6, passed
    assert local_aws.requests() == 1
