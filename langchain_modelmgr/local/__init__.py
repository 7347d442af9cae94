"""A local AWS for tests, demos and development: Bedrock and CloudWatch on loopback."""

from __future__ import annotations

try:
    import aiohttp as _aiohttp  # noqa: F401 - only to say what is missing
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the local AWS needs aiohttp: pip install 'langchain-modelmgr[local]'"
    ) from error

from langchain_modelmgr.local.aws import LocalAWS
from langchain_modelmgr.local.scripted import ScriptedReply, ScriptedRequest
from langchain_modelmgr.local.state import RecordedCall

__all__ = ["LocalAWS", "RecordedCall", "ScriptedReply", "ScriptedRequest"]
