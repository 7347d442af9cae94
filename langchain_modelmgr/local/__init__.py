"""A local AWS for tests, demos and development: Bedrock and CloudWatch on loopback."""

from __future__ import annotations

from langchain_modelmgr.local.aws import LocalAWS
from langchain_modelmgr.local.scripted import ScriptedReply, ScriptedRequest
from langchain_modelmgr.local.state import RecordedCall

__all__ = ["LocalAWS", "RecordedCall", "ScriptedReply", "ScriptedRequest"]
