"""Classifies AWS's error messages where one error code covers several failures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OVERFLOW = (
    "input is too long",
    "prompt is too long",
    "input tokens exceeded",
    "maximum context length",
    "context_length_exceeded",
    "exceeds the context window",
    "input tokens exceed the configured limit",
    "exceed model maximum",
    "too many input tokens",
    "is longer than the model's context length",
    "exceed context limit",
    "too many total text bytes",
)
"""The prompt is too long. Seen from Bedrock; langchain-aws 1.9.1 knows all but the last two."""

UNKNOWN_MODEL = (
    "model identifier is invalid",
    "on-demand throughput isn't supported",  # the model wants an inference profile
    "on-demand throughput is not supported",
    "support on-demand throughput",
    "could not resolve the foundation model",
    "doesn't support the model",  # "This action doesn't support the model that you provided."
    "reached the end of its life",
    "marked by provider as legacy",
    "model is not available in",
    "model isn't available in",
    "model is not supported in this region",
    "model isn't supported in this region",
)
"""The model does not exist in this region, or no longer exists."""

NO_ACCESS = (
    "unsupported countries",
    "use case details have not been submitted",
    "operation not allowed",
    "account is not authorized",
    "channel program accounts",
    "don't have access to the model",
)
"""The account may not use the model, or not from this country."""

UNABLE_MODEL = (
    "this model doesn't support",
    "this model does not support",
    "model is unsupported for",
    "unsupported model",
    "not supported by this model",
    "not supported for this model",
)
"""The model can't serve this request; another model may."""

_DENIED_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
_REQUEST_ACTIONS = (
    "bedrock:applyguardrail",
    "bedrock:getprompt",
    "bedrock:invoketool",
    "bedrock:renderprompt",
    "kms:",
    "s3:",
)
_REQUEST_PARTS = re.compile(r"\b(?:guardrail|s3|kms)\b")
"""Resources that only some requests use; if one is denied or missing, the model may be healthy."""

BAD_CREDENTIALS = ("authentication failed", "security token", "api key")

LASTING = (
    "per day",  # "Too many tokens per day, please wait before trying again."
    "daily",
    "agreement is being created",
    "subscription for this model cannot be completed",
    "if you recently fixed this issue, try again after",
)
"""The failure lasts. Unknown wordings count as passing failures."""


def plain(text: str) -> str:
    """Return a text in lower case with plain apostrophes: AWS uses both kinds."""
    return text.lower().replace("\u2019", "'")


def says(text: str, wordings: Iterable[str]) -> bool:
    """Return whether a plain text contains one of the wordings."""
    return any(words in text for words in wordings)


def is_of_the_request(text: str) -> bool:
    """Return whether a plain text says that a part of the request is denied or missing.

    A denial names the action, as ``not authorized to perform: bedrock:ApplyGuardrail``.
    """
    if action := _DENIED_ACTION.search(text):
        return action[1].startswith(_REQUEST_ACTIONS)
    return bool(_REQUEST_PARTS.search(text))
